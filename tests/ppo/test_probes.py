"""P1 to P12: what has to be learned is known exactly, and each probe fails when one part of PPO is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from probes import Arms, ForeverNextStep, Poison, SmallProcess, TwoAgents
from training import train

from townlet_core.context import BuiltInResolver
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo.advantages import generalized_advantages
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.batch import RolloutBatch
from townlet_strategies_ppo.closed_form import ClosedFormGradient
from townlet_strategies_ppo.loss import LossCoefficients

if TYPE_CHECKING:
    from townlet_core.policy.base import PolicyStep


def test_p1_one_action_and_reward_1_is_worth_1(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:OneAction")
    assert trained.values([[0.0]]) == pytest.approx(1.0, abs=1e-3)
    assert trained.probabilities([[0.0]]) == pytest.approx(1.0, abs=0.0)


def test_p2_a_value_is_what_is_seen(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:SeenReward")
    assert trained.values([[-1.0], [1.0]]) == pytest.approx([-1.0, 1.0], abs=1e-2)


def test_p3_a_reward_one_step_later_is_worth_gamma(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:Delayed")
    assert trained.values([[0.0], [1.0]]) == pytest.approx([0.9, 1.0], abs=1e-2)


def test_p4_the_better_of_two_actions_is_taken(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:TwoActions")
    assert trained.probabilities([[0.0]])[0, 1] > 0.99
    assert trained.values([[0.0]]) == pytest.approx(1.0, abs=2e-2)


def test_p5_the_action_depends_on_what_is_seen(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:SeenAction")
    probabilities = trained.probabilities([[-1.0], [1.0]])
    assert probabilities[0, 0] > 0.99
    assert probabilities[1, 1] > 0.99
    assert trained.values([[-1.0], [1.0]]) == pytest.approx([1.0, 1.0], abs=3e-2)


class Stratified:
    """A policy whose noise covers [0, 1) evenly over the worlds, so that N samples are an exact expectation."""

    def __init__(self, policy: NumpyPolicy) -> None:
        self.policy, self.noise_size, self.values = policy, policy.noise_size, policy.values

    def act(self, observations, action_mask, agent_mask, noise, state=None) -> PolicyStep:
        even = (np.arange(noise.size).reshape(noise.shape) + 0.5) / noise.size
        return self.policy.act(observations, action_mask, agent_mask, even, state)


def test_p6_the_gradient_of_a_softmax_bandit_is_the_exact_expected_one(context_of) -> None:
    context = context_of("python:probes:Arms", num_worlds=64)
    environment = context.resolver.environment(context.config.environment)
    spec = PolicySpec.for_spaces(
        environment.observation_spaces, environment.action_space, actor_hidden=(), critic_hidden=()
    )
    encoder = built_in_encoder("flatten")
    shape = layout(spec, encoder)
    flat = np.zeros(shape.size, np.float32)
    weights = shape.views(flat)
    probabilities = np.array([8, 8, 16, 32]) / 64  # of 64 even samples each arm gets exactly its share
    weights["actor.0.bias"][:] = np.log(probabilities)
    baseline = float(probabilities @ Arms.PAYS)
    weights["critic.0.bias"][:] = baseline
    policy = Stratified(NumpyPolicy(spec, encoder, weights, {}, worlds_per_shard=8))
    service = RolloutCaptureService()
    rollout = service.start(environment, policy, seeds=0)
    buffer = service.allocate(rollout, 3)
    rollout.fill(buffer)
    assert np.bincount(buffer.actions.ravel()).tolist() == [24, 24, 48, 96]
    advantages = generalized_advantages(
        buffer.rewards,
        buffer.values,
        terminations=buffer.terminations,
        truncations=buffer.truncations,
        bootstrap_values=buffer.bootstrap_values,
        last_values=buffer.last_values,
        agent_mask=buffer.agent_mask,
        gamma=0.9,
        gae_lambda=0.95,
    )
    batch = RolloutBatch(
        buffer, advantages, spec.observation_spaces, {}, worlds_per_shard=8, normalize_advantages=False
    )
    (minibatch,) = batch.minibatches(np.arange(8, dtype=np.uint64), 1)
    network = TorchNetwork(spec, encoder, flat, device=torch.device("cpu"))
    coefficients = LossCoefficients(0.2, None, 0.0, 0.0)
    for differentiate in (AutogradGradient(network), ClosedFormGradient(network)):
        gradient, _ = differentiate(batch, minibatch, coefficients)
        slopes = shape.views(np.asarray(gradient))["actor.0.bias"]
        expected = -probabilities * (np.array(Arms.PAYS) - baseline)  # of -E[pay], by the logits
        np.testing.assert_allclose(slopes, expected, atol=2e-6, rtol=0)


FOREVER = {"gae_lambda": 1.0, "learning_rate": 2e-2}
ENDING = FOREVER | {"num_steps": 30}  # whole episodes, so that nothing is bootstrapped at the end of a rollout
FIVE_LEFT = np.mean([(1 - 0.9**left) / (1 - 0.9) for left in range(1, 6)])  # all five steps look alike


def test_p7_a_time_limit_does_not_change_what_a_state_is_worth(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:Forever", settings=FOREVER)
    assert trained.values([[0.0]]) == pytest.approx(1.0 / (1.0 - 0.9), abs=0.02)


def test_p7_a_termination_does(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:Forever", options={"terminates": True}, settings=ENDING)
    assert trained.values([[0.0]]) == pytest.approx(FIVE_LEFT, abs=0.02)


def test_p7_holds_where_the_reset_takes_a_step_of_its_own(tmp_path) -> None:
    trained = train(tmp_path, made=ForeverNextStep(8), settings=FOREVER)
    assert trained.values([[0.0, 0.0]]) == pytest.approx(10.0, abs=0.02)


def test_p7_a_termination_does_where_the_reset_takes_a_step_of_its_own(tmp_path) -> None:
    trained = train(tmp_path, made=ForeverNextStep(8, terminates=True), settings=ENDING)
    assert trained.values([[0.0, 0.0]]) == pytest.approx(FIVE_LEFT, abs=0.02)


def test_p8_a_masked_action_is_never_taken_and_the_best_other_one_is(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:Poison")
    probabilities = trained.probabilities([[0.0]], [Poison.MASK])
    assert probabilities[0, 3] == 0.0
    assert probabilities[0, 2] > 0.99
    assert trained.records[0]["kl_k3"] < 1e-2


def test_p9_agents_share_what_they_learn_whatever_their_order(tmp_path) -> None:
    trained = train(tmp_path, made=TwoAgents(8))
    kinds = np.eye(2, dtype=np.float32)
    probabilities = trained.probabilities(kinds)
    assert probabilities[0, 0] > 0.99
    assert probabilities[1, 1] > 0.99
    assert trained.values(kinds) == pytest.approx([1.0, 2.0], abs=5e-2)
    policy = trained.artefact.policy()
    order = np.stack([kinds, kinds[::-1]])
    step = policy.act({"observation": order}, None, np.ones((2, 2), bool), None)
    np.testing.assert_array_equal(step.actions, [[0, 1], [1, 0]])
    np.testing.assert_allclose(step.values[0], step.values[1][::-1], rtol=1e-6)


def test_p10_the_advantages_of_a_random_process_are_those_of_a_linear_solve(context_of) -> None:
    context = context_of("python:probes:SmallProcess", num_worlds=8)
    environment = context.resolver.environment(context.config.environment)
    spec = PolicySpec.for_spaces(
        environment.observation_spaces, environment.action_space, actor_hidden=(), critic_hidden=()
    )
    encoder = built_in_encoder("flatten")
    shape = layout(spec, encoder)
    weights = shape.views(np.zeros(shape.size, np.float32))
    logits = np.random.default_rng(0).normal(size=(5, 2))
    weights["actor.0.weight"][:] = logits
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    values, exact = SmallProcess.solve(probabilities, 0.9)
    weights["critic.0.weight"][:, 0] = values
    service = RolloutCaptureService()
    rollout = service.start(environment, NumpyPolicy(spec, encoder, weights, {}, worlds_per_shard=8), seeds=0)
    buffer = service.allocate(rollout, 500)
    rollout.fill(buffer)
    fields = {
        name: getattr(buffer, name)
        for name in ("terminations", "truncations", "bootstrap_values", "last_values", "agent_mask")
    }
    states, actions = buffer.observations["observation"], buffer.actions
    np.testing.assert_allclose(buffer.values, values[states], atol=1e-5)
    one_step = generalized_advantages(buffer.rewards, buffer.values, gamma=0.9, gae_lambda=0.0, **fields)
    np.testing.assert_allclose(one_step, exact[states, actions], atol=1e-5)
    assert np.unique(states * 2 + actions).size == 10
    longer = generalized_advantages(buffer.rewards, buffer.values, gamma=0.9, gae_lambda=0.95, **fields)
    for state in range(5):
        for action in range(2):
            sample = longer[(states == state) & (actions == action)]
            assert sample.mean() == pytest.approx(exact[state, action], abs=5 * sample.std() / np.sqrt(sample.size))


def test_p10_the_values_of_a_random_process_are_those_of_a_linear_solve(tmp_path) -> None:
    trained = train(
        tmp_path,
        name="python:probes:SmallProcess",
        max_episode_steps=3,
        settings={"total_steps": 9000, "hidden": (32,)},
    )
    probabilities = trained.probabilities(range(5))
    values, advantages = SmallProcess.solve(probabilities, 0.9)
    assert trained.values(range(5)) == pytest.approx(values, abs=0.05)
    best, _ = SmallProcess.solve(np.eye(2)[advantages.argmax(axis=1)], 0.9)
    assert values == pytest.approx(best, abs=0.05)


def test_p11_the_opposite_reward_teaches_the_opposite(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:TwoActions", options={"sign": -1.0})
    assert trained.probabilities([[0.0]])[0, 0] > 0.99


def test_p12_a_target_out_of_reach_is_approached_up_to_the_bound(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:Target", settings={"initial_log_std": -0.5})
    assert trained.outputs([[0.0]])[0, 0] >= 1.0
    assert trained.values([[0.0]]) == pytest.approx(-4.0, abs=0.1)


@pytest.fixture
def context_of():
    from training import context_for

    def build(name: str, **fields):
        context = context_for(None, name=name, **fields)
        assert isinstance(context.resolver, BuiltInResolver)
        return context

    return build
