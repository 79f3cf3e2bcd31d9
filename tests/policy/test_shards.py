"""Exactness: with a fixed number of worlds per shard, a shard's bytes do not depend on what stands beside it."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.torch.network import TorchNetwork

ACTIONS = [spaces.Discrete(5), spaces.MultiDiscrete([3, 2]), spaces.Box(-1, 1, (3,), np.float32)]


def policy_for(space, *, features=11, worlds_per_shard=1):
    spec = PolicySpec.for_spaces({"observation": spaces.Box(-9, 9, (features,), np.float32)}, space)
    weights = initial_weights(spec, FlattenEncoder(), seed=4)
    return NumpyPolicy(spec, FlattenEncoder(), weights, {}, worlds_per_shard=worlds_per_shard)


def decide(policy, rows, noise):
    worlds, agents = rows.shape[:2]
    decision = policy.act({"observation": rows}, None, np.ones((worlds, agents), bool), noise)
    return decision.actions, decision.log_probs, decision.values, policy.values({"observation": rows})


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(ACTIONS),
    st.integers(1, 9),
    st.integers(1, 2),
    st.integers(1, 7),
    st.integers(0, 6),
    st.integers(1, 90),
    st.integers(0, 2**31),
)
def test_a_shard_decides_the_same_bytes_alone_and_among_others(
    space, worlds_per_shard, agents, shards, place, features, seed
):
    rng = np.random.default_rng(seed)
    policy = policy_for(space, features=features, worlds_per_shard=worlds_per_shard)
    rows = rng.normal(size=(shards * worlds_per_shard, agents, features)).astype(np.float32)
    noise = rng.random((*rows.shape[:2], policy.noise_size))
    own = slice(place % shards * worlds_per_shard, (place % shards + 1) * worlds_per_shard)
    among = decide(policy, rows, noise)
    alone = decide(policy, rows[own].copy(), noise[own].copy())
    other = np.full_like(rows, 1e6)
    other[own] = rows[own]
    beside_others = decide(policy, other, noise)
    for first, second, third in zip(among, alone, beside_others, strict=True):
        assert first[own].tobytes() == second.tobytes() == third[own].tobytes()


def test_the_order_of_shards_only_orders_their_results():
    policy = policy_for(spaces.Discrete(5), worlds_per_shard=4)
    rng = np.random.default_rng(0)
    rows, noise = rng.normal(size=(12, 1, 11)).astype(np.float32), rng.random((12, 1, 1))
    order = np.r_[8:12, 0:4, 4:8]
    for first, second in zip(decide(policy, rows, noise), decide(policy, rows[order], noise[order]), strict=True):
        assert first[order].tobytes() == second.tobytes()


@pytest.fixture(params=[1, 2])
def num_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("space", ACTIONS)
@pytest.mark.parametrize("rows", [8, 36, 256])
def test_the_gradient_of_a_shard_is_the_same_in_every_stack(space, rows):
    """Two stacks of two shards and one of four; what is not promised is said in `torch.network`."""
    spec = policy_for(space).spec
    flat = layout(spec, FlattenEncoder()).flatten(initial_weights(spec, FlattenEncoder(), seed=4))
    learner = TorchNetwork(spec, FlattenEncoder(), flat, device=torch.device("cpu"))
    inputs = torch.from_numpy(np.random.default_rng(1).normal(size=(4, rows, 11)).astype(np.float32))

    def gradient(shards):
        weights = learner.shard_weights(len(shards))
        outputs = learner(weights, {"observation": shards})
        loss = (outputs.actor**2).sum(dim=(1, 2)) + (outputs.values**3).sum(dim=1)
        if outputs.log_std is not None:
            loss = loss + torch.exp(outputs.log_std).sum(dim=1)
        return learner.shard_gradients(loss.sum(), weights).numpy()

    first, second, whole = gradient(inputs[:2]), gradient(inputs[2:]), gradient(inputs)
    assert whole.tobytes() == first.tobytes() + second.tobytes()
    assert np.count_nonzero(whole) > 0.9 * whole.size


def test_weights_are_read_from_the_learners_own_memory():
    spec = policy_for(spaces.Discrete(5)).spec
    shapes = layout(spec, FlattenEncoder())
    flat = shapes.flatten(initial_weights(spec, FlattenEncoder(), seed=4))
    policy = NumpyPolicy(spec, FlattenEncoder(), shapes.views(flat), {})
    learner = TorchNetwork(spec, FlattenEncoder(), flat, device=torch.device("cpu"))
    rows = np.ones((2, 1, 11), np.float32)
    before = policy.values({"observation": rows})
    learner.parameters.add_(0.1)
    assert (policy.values({"observation": rows}) != before).all()
