"""The limit counts each product that learning needs, once; times those of a whole update; and is no limit of others."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.bench import products
from townlet_core.bench.products import ProductTimer, UpdateShape, dense_layers, multiply_adds
from townlet_core.bench.town_ppo import measure_town_ppo
from townlet_core.config.town import TownConfig
from townlet_core.environments.town import town_spaces
from townlet_core.plugins.registry import Registry
from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.spaces import flatten_space

ENCODER = built_in_encoder("flatten")


def spec(**fields):
    box = spaces.Box(-1, 1, (5,), np.float32)
    return PolicySpec.for_spaces({"observation": box}, spaces.Discrete(3), **fields)


def test_separate_networks_need_no_gradient_of_the_observations():
    """Actor 5-4-3, critic 5-6-1: 32 and 36 forward, twice that backward less 20 and 30."""
    layers = dense_layers(spec(actor_hidden=(4,), critic_hidden=(6,)), ENCODER)
    assert multiply_adds(layers, num_epochs=0) == 32 + 36
    assert multiply_adds(layers, num_epochs=7) == 68 + 7 * (3 * 68 - 20 - 30)


def test_below_a_shared_layer_only_its_own_inputs_need_none():
    """Shared 5-8, actor 8-4-3, critic 8-1: 40 + 44 + 8 forward."""
    layers = dense_layers(spec(shared_hidden=(8,), actor_hidden=(4,), critic_hidden=()), ENCODER)
    assert multiply_adds(layers, num_epochs=1) == 92 + 3 * 92 - 40


@pytest.mark.parametrize("fields", [{}, {"shared_hidden": (8,)}, {"actor_hidden": (), "critic_hidden": (16, 4)}])
def test_what_is_timed_is_what_is_counted_and_what_the_closed_form_multiplies(monkeypatch, fields):
    network, made = spec(**fields), []
    multiply = np.matmul

    def counting(left, right, out):
        made.append(left.shape[-2] * left.shape[-1] * right.shape[-1])
        return multiply(left, right, out=out)

    layers = dense_layers(network, ENCODER)
    rows = 10
    own = products._ShardProducts(layers, rows)
    flat = layout(network, ENCODER).flatten(initial_weights(network, ENCODER, seed=0))
    monkeypatch.setattr(np, "matmul", counting)
    own.act()
    assert sum(made) == rows * multiply_adds(layers, num_epochs=0)
    made.clear()
    own.learn()
    own.act()
    timed = sum(made)
    second_columns = rows * sum(layer.inputs for layer in layers if layer.outputs == 1 and layer.has_learner_below)
    assert timed == rows * multiply_adds(layers, num_epochs=1) + second_columns
    made.clear()
    closed = ClosedFormNetwork(network, ENCODER, flat, num_shards=1)
    outputs, values = closed.forward(np.ones((1, rows, 5), np.float32))
    closed.backward(outputs, values)
    biases = rows * sum(layer.outputs for layer in layers)
    assert timed - rows * multiply_adds(layers, num_epochs=0) == sum(made) - biases


class Steady:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        self.time += 1.0
        return self.time


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_each_shard_is_multiplied_once_in_a_turn_by_one_of_the_threads(monkeypatch, num_threads):
    acts = []

    def act(own):
        acts.append(own)

    monkeypatch.setattr(products._ShardProducts, "act", act)
    shape = UpdateShape(num_steps=6, num_shards=5, shard_rows=2, num_minibatches=4, num_epochs=10)
    timer = ProductTimer(dense_layers(spec(), ENCODER), shape, num_threads=num_threads, clock=Steady())
    timer.sample(seconds=0)
    assert len(acts) == 2 * 5
    assert len(set(acts)) == num_threads


def test_the_time_of_an_update_is_that_of_its_steps_and_of_the_rows_of_its_passes():
    """6 steps of 2 rows in 5 minibatches: 2 rows of 2.4, so that a pass is 6 of the timed minibatches, not 5."""
    shape = UpdateShape(num_steps=6, num_shards=1, shard_rows=2, num_minibatches=5, num_epochs=10)
    timer = ProductTimer((), shape, num_threads=1, clock=Steady())
    timer.act_sec, timer.learn_sec = [(1.0, 2.0), (3.0, 2.0)], [(10.0, 20.0)]
    assert timer.update_sec() == (6 * 2.0 + 60 * 10.0, 6 * 2.0 + 60 * 20.0)


def test_the_town_says_how_near_its_limit_an_update_is():
    row = measure_town_ppo(Registry.discover({}), num_worlds=4, num_steps=8, variant="compact", seconds=0)
    assert 0 < row["product_sec"] < row["update_sec"]
    assert row["share_of_limit"] == pytest.approx(row["product_sec"] / row["update_sec"], rel=0.1)
    assert 0 < row["share_of_limit_cpu"] < 1
    observation_space, action_space = town_spaces(TownConfig(variant="compact"))
    default = PolicySpec.for_spaces(flatten_space(observation_space), action_space)
    assert row["gflop_per_agent_step"] == pytest.approx(
        2e-9 * multiply_adds(dense_layers(default, ENCODER), num_epochs=10), abs=1e-6
    )
