"""Log-probabilities and entropies that the learner differentiates, in torch and in NumPy, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.policy.head_gradients import ActionTerms
from townlet_core.policy.heads import ActionHead, log_prob, sample
from townlet_core.torch.heads import log_prob_and_entropy, masked_log_softmax
from townlet_core.torch.network import NetworkOutputs

F64 = torch.float64


def head_terms(space, outputs: np.ndarray, actions, *, mask=None, log_std=None) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probability and entropy of each row, on which both implementations have to agree."""
    rows = torch.from_numpy(outputs)[None]
    by_hand = ActionTerms(
        ActionHead.for_space(space),
        outputs[None],
        np.asarray(actions)[None],
        None if mask is None else np.asarray(mask)[None],
        None if log_std is None else np.asarray(log_std),
    )
    log_std = None if log_std is None else torch.tensor(log_std, dtype=F64)[None]
    log_prob, entropy = log_prob_and_entropy(
        ActionHead.for_space(space),
        NetworkOutputs(rows, torch.zeros(rows.shape[:2], dtype=F64), log_std),
        torch.as_tensor(actions)[None],
        None if mask is None else torch.as_tensor(mask)[None],
    )
    np.testing.assert_allclose(by_hand.log_prob, log_prob, atol=1e-12)
    np.testing.assert_allclose(by_hand.entropy, entropy, atol=1e-12)
    return log_prob[0].numpy(), entropy[0].numpy()


def test_a_categorical_equals_its_closed_form() -> None:
    chances = np.array([[0.5, 0.25, 0.125, 0.125]])
    log_prob, entropy = head_terms(spaces.Discrete(4), np.log(chances) + 7.0, [2])
    assert log_prob == pytest.approx(-3 * math.log(2))
    assert entropy == pytest.approx(1.75 * math.log(2))


def test_a_uniform_choice_among_legal_actions_has_the_log_of_their_number_as_entropy() -> None:
    mask = np.array([[True, False, True, True]])
    log_prob, entropy = head_terms(spaces.Discrete(4), np.zeros((1, 4)), [3], mask=mask)
    assert log_prob == pytest.approx(-math.log(3))
    assert entropy == pytest.approx(math.log(3))


def test_parts_of_several_choices_add_up() -> None:
    logits = np.log(np.array([[0.5, 0.5, 0.9, 0.1]]))
    log_prob, entropy = head_terms(spaces.MultiDiscrete([2, 2]), logits, [[1, 0]])
    assert log_prob == pytest.approx(math.log(0.5 * 0.9))
    assert entropy == pytest.approx(math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1))


def test_a_gaussian_equals_torch_distributions() -> None:
    rng = np.random.default_rng(0)
    mean, actions, log_std = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), np.array([-1.0, 0.3, 0.0])
    log_prob, entropy = head_terms(spaces.Box(-1, 1, (3,)), mean, actions, log_std=log_std)
    normal = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(log_std)))
    np.testing.assert_allclose(log_prob, normal.log_prob(torch.from_numpy(actions)).sum(-1), atol=1e-12)
    np.testing.assert_allclose(entropy, normal.entropy().sum(-1), atol=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_a_masked_action_has_probability_0_and_gradient_0(seed, dtype) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(1, 5, 6)) * 30, dtype=dtype, requires_grad=True)
    mask = torch.from_numpy(rng.random((1, 5, 6)) < 0.5)
    mask[..., 2] = True
    log_probs = masked_log_softmax(logits, mask)
    assert (log_probs.exp()[~mask] == 0).all()
    np.testing.assert_allclose(log_probs.exp().sum(-1).detach(), 1, rtol=1e-5)
    log_prob, entropy = log_prob_and_entropy(
        ActionHead.for_space(spaces.Discrete(6)),
        NetworkOutputs(logits, torch.zeros(1, 5, dtype=dtype), None),
        torch.full((1, 5), 2),
        mask,
    )
    assert torch.isfinite(entropy).all()
    slopes = torch.tensor(rng.normal(size=(2, 1, 5)), dtype=dtype)
    (gradient,) = torch.autograd.grad((slopes[0] * log_prob + slopes[1] * entropy).sum(), logits)
    assert (gradient[~mask] == 0).all()
    assert torch.isfinite(gradient).all()
    terms = ActionTerms(
        ActionHead.for_space(spaces.Discrete(6)), logits.detach().numpy(), np.full((1, 5), 2), mask.numpy(), None
    )
    by_hand, _ = terms.backward(slopes[0].numpy(), slopes[1].numpy())
    assert (by_hand[~mask.numpy()] == 0).all()
    np.testing.assert_allclose(by_hand, gradient, atol=1e-4 if dtype is torch.float32 else 1e-12)


def test_what_a_masked_logit_says_does_not_matter() -> None:
    mask = np.array([[True, True, False]])
    logits = np.array([[0.3, -0.2, 5.0]])
    before = head_terms(spaces.Discrete(3), logits, [0], mask=mask)
    logits[0, 2] = 1e8
    after = head_terms(spaces.Discrete(3), logits, [0], mask=mask)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e3])
def test_the_log_probability_of_a_gaussian_action_is_that_of_the_action_as_it_was_recorded(mean) -> None:
    log_std = np.full(2, -4.0, np.float32)
    means = np.full((1, 200, 2), mean, np.float32)
    noise = np.random.default_rng(0).random((1, 200, 4))
    head = ActionHead.for_space(spaces.Box(-1, 1, (2,)))
    actions = sample(head, means, log_std, None, noise)
    acted = log_prob(head, means, log_std, None, actions)
    learned, _ = log_prob_and_entropy(
        head,
        NetworkOutputs(torch.from_numpy(means), torch.zeros(1, 200), torch.from_numpy(log_std)[None]),
        torch.from_numpy(actions),
        None,
    )
    np.testing.assert_allclose(np.exp(learned.numpy() - acted), 1.0, atol=1e-5)
