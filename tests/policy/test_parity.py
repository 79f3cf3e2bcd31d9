"""NumPy acts with the network that torch learns: one description, two libraries, numbers equal to 1e-5."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.policy import network
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.inputs import Moments, empty_normalizer, prepare
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.operations import NumpyOperations
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.spaces import flatten_space
from townlet_core.torch.heads import log_prob_and_entropy
from townlet_core.torch.network import TorchNetwork

TOLERANCE = 1e-5
WIDTHS = st.lists(st.integers(1, 24), max_size=2).map(tuple)


def shapes(max_dims=3):
    return st.lists(st.integers(1, 3), max_size=max_dims).map(tuple)


LEAVES = st.one_of(
    shapes().map(lambda shape: spaces.Box(-np.inf, np.inf, shape, np.float32)),
    shapes().map(lambda shape: spaces.Box(-2.0, 3.0, shape, np.float64)),
    shapes().map(lambda shape: spaces.Box(0, 255, shape, np.uint8)),
    st.tuples(st.integers(1, 6), st.integers(-3, 3)).map(lambda pair: spaces.Discrete(pair[0], start=pair[1])),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 4).map(spaces.MultiBinary),
)
OBSERVATIONS = st.recursive(
    LEAVES,
    lambda children: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), children, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(children, min_size=1, max_size=2).map(spaces.Tuple),
    ),
    max_leaves=4,
)
ACTIONS = st.one_of(
    st.integers(1, 7).map(spaces.Discrete),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 3).map(lambda size: spaces.Box(-1.0, 1.0, (size,), np.float32)),
)


@st.composite
def cases(draw):
    """A spec, the sizes (shards, worlds per shard, agents), and a seed for all numbers."""
    spec = PolicySpec.for_spaces(
        flatten_space(draw(OBSERVATIONS)),
        draw(ACTIONS),
        shared_hidden=draw(WIDTHS),
        actor_hidden=draw(WIDTHS),
        critic_hidden=draw(WIDTHS),
        activation=draw(st.sampled_from(["tanh", "relu"])),
        normalize_observations=draw(st.booleans()),
    )
    sizes = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)))
    return spec, sizes, draw(st.integers(0, 2**31)), draw(st.booleans())


def random_observations(spec, leading, rng):
    arrays = {}
    for name, space in spec.observation_spaces.items():
        shape = (*leading, *space.shape)
        if isinstance(space, spaces.Discrete):
            arrays[name] = rng.integers(0, space.n, shape)
        elif isinstance(space, spaces.MultiDiscrete):
            arrays[name] = rng.integers(0, space.nvec, shape)
        elif isinstance(space, spaces.MultiBinary):
            arrays[name] = rng.integers(0, 2, shape, dtype=np.int8)
        elif space.dtype == np.uint8:
            arrays[name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            arrays[name] = rng.normal(size=shape).astype(np.float32)
    return arrays


def random_weights(spec, rng):
    weights = initial_weights(spec, FlattenEncoder(), seed=int(rng.integers(2**31)), log_std=-0.3)
    return {name: value + rng.normal(0, 0.05, value.shape).astype(np.float32) for name, value in weights.items()}


def random_normalizer(spec, rng):
    if not spec.normalize_observations:
        return {}
    return {
        name: Moments(10.0, rng.normal(size=empty.mean.shape), rng.uniform(0.5, 2.0, empty.mean.shape))
        for name, empty in empty_normalizer(spec.observation_spaces).items()
    }


def random_masks(spec, leading, rng):
    """Masks with a choice in every part for those present; whoever is absent may have none."""
    agent_mask = rng.random(leading) < 0.8
    mask = rng.random((*leading, spec.head.num_outputs)) < 0.6
    for segment in spec.head.segments:
        stuck = agent_mask & ~mask[..., segment].any(axis=-1)
        mask[stuck, segment.start] = True
    return mask, agent_mask


def close(first, second):
    return np.abs(first - second) <= TOLERANCE * np.maximum(1.0, np.abs(second))


@settings(deadline=None, max_examples=120)
@given(cases())
def test_numpy_and_torch_agree_on_random_specs(case):
    spec, (num_shards, worlds_per_shard, agents), seed, is_masked = case
    rng = np.random.default_rng(seed)
    leading = (num_shards * worlds_per_shard, agents)
    observations, weights = random_observations(spec, leading, rng), random_weights(spec, rng)
    normalizer = random_normalizer(spec, rng)
    mask, agent_mask = random_masks(spec, leading, rng)
    action_mask = mask if is_masked and spec.head.kind != "gaussian" else None
    policy = NumpyPolicy(spec, FlattenEncoder(), weights, normalizer, worlds_per_shard=worlds_per_shard)
    noise = rng.random((*leading, policy.noise_size))
    decision = policy.act(observations, action_mask, agent_mask, noise)

    flat = layout(spec, FlattenEncoder()).flatten(weights)
    learner = TorchNetwork(spec, FlattenEncoder(), flat, device=torch.device("cpu"))
    prepared = prepare(spec.observation_spaces, observations, normalizer)

    def stacked(array):
        return torch.from_numpy(np.ascontiguousarray(array).reshape(num_shards, -1, *array.shape[2:]))

    inputs = {name: stacked(values) for name, values in prepared.items()}
    outputs = learner(learner.shard_weights(num_shards), inputs)
    log_probs, entropies = log_prob_and_entropy(
        spec.head, outputs, stacked(decision.actions), None if action_mask is None else stacked(action_mask)
    )

    layers = network.Layers.of(spec, weights)
    features = network.encoded(
        NumpyOperations(), spec, FlattenEncoder(), layers, {name: values.numpy() for name, values in inputs.items()}
    )
    logits = network.actor_outputs(NumpyOperations(), spec, layers, features)
    assert close(logits, outputs.actor.detach().numpy()).all()
    present = agent_mask.reshape(num_shards, -1)
    assert close(decision.values, outputs.values.detach().numpy().reshape(leading)).all()
    ours = decision.log_probs.reshape(num_shards, -1)
    assert close(ours[present], log_probs.detach().numpy()[present]).all()
    assert np.isfinite(decision.log_probs).all()
    assert torch.isfinite(log_probs).all()
    assert torch.isfinite(entropies).all()
    assert decision.log_probs.dtype == decision.values.dtype == np.float32
    assert decision.log_probs.shape == decision.values.shape == leading
    assert decision.actions.shape == (*leading, *spec.action_space.shape)


def test_the_forward_pass_is_what_a_textbook_writes():
    space = {"observation": spaces.Box(-np.inf, np.inf, (3,), np.float32)}
    spec = PolicySpec.for_spaces(
        space, spaces.Discrete(2), shared_hidden=(5,), actor_hidden=(4,), critic_hidden=(6,), activation="relu"
    )
    rng = np.random.default_rng(1)
    weights = random_weights(spec, rng)
    rows = rng.normal(size=(2, 1, 3)).astype(np.float32)
    decision = NumpyPolicy(spec, FlattenEncoder(), weights, {}).act(
        {"observation": rows}, None, np.ones((2, 1), bool), None
    )
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    shared = np.maximum(rows[:, 0] @ w["shared.0.weight"] + w["shared.0.bias"], 0)
    actor = np.maximum(shared @ w["actor.0.weight"] + w["actor.0.bias"], 0) @ w["actor.1.weight"] + w["actor.1.bias"]
    critic = (
        np.maximum(shared @ w["critic.0.weight"] + w["critic.0.bias"], 0) @ w["critic.1.weight"] + w["critic.1.bias"]
    )
    probabilities = np.exp(actor) / np.exp(actor).sum(axis=1, keepdims=True)
    assert decision.actions[:, 0].tolist() == actor.argmax(axis=1).tolist()
    assert np.exp(decision.log_probs[:, 0]) == pytest.approx(probabilities.max(axis=1), rel=1e-5)
    assert decision.values[:, 0] == pytest.approx(critic[:, 0], rel=1e-5)
