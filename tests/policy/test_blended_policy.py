"""A script that acts in a learner's place in a share of the steps: who acts, and what is recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy.base import PolicyStep
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.heads import masked_log_softmax, pick
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.services import blend
from townlet_core.services.blend import BlendedPolicy
from townlet_core.services.scripts import IdlePolicy, RandomPolicy

SHARE = 0.3
SHAPE = (500, 4)


class LastPolicy(IdlePolicy):
    """Takes the last allowed action."""

    def choose(self, observations: Any, action_mask: Any, noise: Any) -> Any:
        del observations, noise
        return action_mask.shape[-1] - 1 - action_mask[..., ::-1].argmax(axis=-1)


def acted(action_space: spaces.Space[Any], script: Any, *, share: float = SHARE) -> tuple[Any, ...]:
    """Let a blend act once; return the learner, what it saw, the mask, the noise, and the step."""
    seen = {"observation": spaces.Box(-9.0, 9.0, (3,), np.float32)}
    spec, encoder = PolicySpec.for_spaces(seen, action_space, actor_hidden=(4,)), built_in_encoder("flatten")
    weights = initial_weights(spec, encoder, seed=0)
    rng = np.random.default_rng(0)
    weights = {name: array + rng.normal(size=array.shape).astype(np.float32) for name, array in weights.items()}
    learner = NumpyPolicy(spec, encoder, weights, {})
    observations = {"observation": rng.normal(size=(*SHAPE, 3)).astype(np.float32)}
    mask = rng.random((*SHAPE, spec.head.num_outputs)) < 0.7
    mask[..., -1] = True
    if isinstance(action_space, spaces.MultiDiscrete):
        mask = None
    policy = BlendedPolicy(learner, script)
    policy.share = share
    noise = rng.random((*SHAPE, policy.noise_size))
    step = policy.act(observations, mask, np.ones(SHAPE, bool), noise)
    assert isinstance(step, PolicyStep)
    return learner, observations, mask, noise, step


def test_the_script_acts_in_its_share_of_the_steps_and_the_learner_draws_in_the_others() -> None:
    learner, observations, mask, noise, step = acted(spaces.Discrete(5), RandomPolicy(5))
    scripted = step.blend.is_scripted
    assert abs(scripted.mean() - SHARE) < 4 * np.sqrt(SHARE * (1 - SHARE) / scripted.size)
    alone = learner.act(observations, mask, np.ones(SHAPE, bool), noise[..., 2:])
    script = RandomPolicy(5).act(observations, mask, np.ones(SHAPE, bool), noise[..., 1:2])
    np.testing.assert_array_equal(step.actions, np.where(scripted, script.actions, alone.actions))
    assert 0.1 < (script.actions != alone.actions).mean() < 0.9
    np.testing.assert_array_equal(step.values, alone.values)


@pytest.mark.parametrize("share", [0.0, SHARE, 1.0])
def test_what_is_recorded_is_the_probability_under_the_blend(share) -> None:
    learner, observations, mask, _, step = acted(spaces.Discrete(5), LastPolicy(5), share=share)
    each = masked_log_softmax(learner.outputs(observations), mask)
    np.testing.assert_allclose(step.blend.learner_log_probs, pick(each, step.actions), atol=1e-6)
    chances = (1 - share) * np.exp(pick(each, step.actions).astype(np.float64)) + share * (step.actions == 4)
    np.testing.assert_allclose(np.exp(step.log_probs), chances, atol=1e-6)
    assert step.log_probs.dtype == np.float32
    assert step.blend.is_scripted.mean() == pytest.approx(share, abs=0.05)


def test_the_probabilities_of_all_actions_sum_to_1() -> None:
    log_probs = masked_log_softmax(np.random.default_rng(0).normal(size=(7, 6)), None)
    for chosen in range(6):
        mixed = blend._mixture(log_probs, np.arange(6) == chosen, 0.4)
        np.testing.assert_allclose(np.exp(mixed).sum(axis=-1), 1.0)


def test_several_choices_are_the_scripts_only_if_all_of_them_are() -> None:
    class Zeros(IdlePolicy):
        def choose(self, observations: Any, action_mask: Any, noise: Any) -> Any:
            return np.zeros((*SHAPE, 2), np.int64)

    learner, observations, _, _, step = acted(spaces.MultiDiscrete([3, 2]), Zeros(5))
    outputs = learner.outputs(observations)
    parts = [masked_log_softmax(outputs[..., :3], None), masked_log_softmax(outputs[..., 3:], None)]
    expected = sum(pick(part, step.actions[..., index]) for index, part in enumerate(parts))
    np.testing.assert_allclose(step.blend.learner_log_probs, expected, atol=1e-6)
    is_same = (step.actions == 0).all(axis=-1)
    assert is_same[step.blend.is_scripted].all()
    assert (step.actions == 0).any(axis=-1)[~is_same].any()
    np.testing.assert_allclose(np.exp(step.log_probs), (1 - SHARE) * np.exp(expected) + SHARE * is_same, atol=1e-6)
