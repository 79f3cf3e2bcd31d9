"""Actor and critic in one product per layer: the same bytes as one after the other, and the newest weights."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy import network
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.operations import NumpyOperations
from townlet_core.policy.paired_layers import paired_layers
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout

OBSERVATIONS = {"observation": spaces.Box(-1, 1, (5,), np.float32)}


def spec_of(**fields):
    return PolicySpec.for_spaces(OBSERVATIONS, spaces.Discrete(3), **fields)


def views_of(spec):
    shape = layout(spec, FlattenEncoder())
    flat = shape.flatten(initial_weights(spec, FlattenEncoder(), seed=1))
    flat += np.random.default_rng(0).normal(size=flat.shape).astype(np.float32) * 0.1
    return flat, shape.views(flat)


def act(policy, seed=2):
    rng = np.random.default_rng(seed)
    rows = {"observation": rng.normal(size=(6, 2, 5)).astype(np.float32)}
    decision = policy.act(rows, None, np.ones((6, 2), bool), rng.random((6, 2, 1)))
    return [part.tobytes() for part in (decision.actions, decision.log_probs, decision.values)]


@pytest.mark.parametrize("worlds_per_shard", [1, 3, 6])
@pytest.mark.parametrize("shared", [(), (7,)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_policy_whose_weights_lie_in_one_memory_acts_as_one_whose_weights_do_not(
    worlds_per_shard, shared, activation
):
    spec = spec_of(actor_hidden=(16, 8), critic_hidden=(16, 8), shared_hidden=shared, activation=activation)
    flat, views = views_of(spec)
    together = NumpyPolicy(spec, FlattenEncoder(), views, {}, worlds_per_shard=worlds_per_shard)
    copies = {name: view.copy() for name, view in views.items()}
    apart = NumpyPolicy(spec, FlattenEncoder(), copies, {}, worlds_per_shard=worlds_per_shard)
    assert act(together) == act(apart)
    flat *= 1.5  # a learner writes
    assert act(together) != act(apart)
    for name, view in views.items():
        copies[name][...] = view
    assert act(together) == act(apart)


def test_paired_layers_are_views_of_both():
    flat, views = views_of(spec_of(actor_hidden=(16,), critic_hidden=(16,)))
    layers = network.Layers.of(spec_of(actor_hidden=(16,), critic_hidden=(16,)), views)
    ((weights, biases),) = paired_layers(layers.actor, layers.critic)
    assert (weights.shape, biases.shape) == ((2, 1, 5, 16), (2, 1, 1, 16))
    for number, (weight, bias) in enumerate((layers.actor[0], layers.critic[0])):
        assert (weights[number, 0] == weight).all()
        assert (biases[number, 0, 0] == bias).all()
    assert np.shares_memory(weights, flat)
    features = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    both = network.hidden(NumpyOperations(), spec_of(), ((weights, biases),), features)
    for stack, alone in zip(both, (layers.actor, layers.critic), strict=True):
        assert (stack == network.hidden(NumpyOperations(), spec_of(), alone[:1], features)).all()


@pytest.mark.parametrize(("actor", "critic"), [((16,), (8,)), ((16,), (16, 16)), ((), (16,)), ((), ())])
def test_layers_of_different_size_are_not_paired(actor, critic):
    spec = spec_of(actor_hidden=actor, critic_hidden=critic)
    layers = network.Layers.of(spec, views_of(spec)[1])
    assert paired_layers(layers.actor, layers.critic) == ()
    act(NumpyPolicy(spec, FlattenEncoder(), views_of(spec)[1], {}))


def test_layers_in_different_memories_are_not_paired():
    spec = spec_of()
    layers, others = (network.Layers.of(spec, views_of(spec)[1]) for _ in range(2))
    assert len(paired_layers(layers.actor, layers.critic)) == 2
    assert paired_layers(layers.actor, others.critic) == ()
