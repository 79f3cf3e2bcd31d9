"""The loss, its derivatives and the distributions under it, against closed forms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rollouts import CPU, make_case

from townlet_core.policy.encoder import built_in_encoder
from townlet_core.torch.heads import masked_log_softmax
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.batch import normalized_advantages
from townlet_strategies_ppo.loss import LossCoefficients, ppo_terms
from townlet_strategies_ppo.update import REPORTED

F64 = torch.float64
POLICY_ONLY = LossCoefficients(0.2, None, 0.0, 0.0)


def loss_of(log_probs: torch.Tensor, advantages, *, old=None, coefficients=POLICY_ONLY, **fields) -> SimpleNamespace:
    """What is reported of a minibatch; what is not given is 0, and every row is present."""
    zeros = torch.zeros_like(log_probs.detach())
    given = {
        "old_log_probs": zeros if old is None else old,
        "old_values": zeros,
        "returns": zeros,
        "weights": torch.ones_like(zeros),
        "count": zeros.numel(),
    } | fields
    values = given.pop("values", zeros)
    entropies = given.pop("entropies", zeros)
    count = given.pop("count")
    minibatch = SimpleNamespace(count=count, num_learned=count, deviation=0.0)
    sums = ppo_terms(
        log_probs,
        entropies,
        values,
        zeros,
        advantages=torch.as_tensor(advantages, dtype=F64).reshape(zeros.shape),
        coefficients=coefficients,
        **given,
    )
    return SimpleNamespace(**dict(zip(REPORTED, sums.reported(minibatch, coefficients), strict=True)))


def test_at_ratio_1_the_gradient_is_that_of_the_plain_policy_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 50, 4, dtype=F64, requires_grad=True)
    actions = torch.randint(4, (1, 50))
    advantages = torch.randn(1, 50, dtype=F64)
    picked = masked_log_softmax(logits, None).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    (surrogate,) = torch.autograd.grad(
        loss_of(picked, advantages, old=picked.detach()).total, logits, retain_graph=True
    )
    (plain,) = torch.autograd.grad(-(picked * advantages).mean(), logits)
    np.testing.assert_allclose(surrogate, plain, atol=1e-15)


@settings(deadline=None)
@given(
    ratio=st.floats(0.05, 4).filter(lambda ratio: min(abs(ratio - 0.8), abs(ratio - 1.2)) > 1e-6),
    advantage=st.floats(-5, 5).filter(lambda advantage: abs(advantage) > 1e-3),
)
@example(ratio=1.3, advantage=2.0)
@example(ratio=1.3, advantage=-2.0)
@example(ratio=0.7, advantage=2.0)
@example(ratio=0.7, advantage=-2.0)
def test_the_gradient_is_0_exactly_where_the_ratio_has_gone_far_enough(ratio, advantage) -> None:
    log_probs = torch.tensor([[math.log(ratio)]], dtype=F64, requires_grad=True)
    terms = loss_of(log_probs, [[advantage]])
    (gradient,) = torch.autograd.grad(terms.total, log_probs)
    far_enough = (advantage > 0 and ratio > 1.2) or (advantage < 0 and ratio < 0.8)
    if far_enough:
        assert gradient.item() == 0.0
    else:
        assert gradient.item() == pytest.approx(-advantage * ratio, rel=1e-9)
    assert terms.clip_fraction.item() == float(abs(ratio - 1) > 0.2)
    assert terms.kl.item() == pytest.approx(-math.log(ratio), abs=1e-12)
    assert terms.kl_k3.item() == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "limit", "expected", "slope", "old", "target"),
    [
        (3.0, None, 2.0, 2.0, 0.0, 1.0),  # 0.5 (3 - 1)^2
        (3.0, 0.5, 2.0, 2.0, 0.0, 1.0),  # the clipped one, 2.5, is nearer to the target: the greater error counts
        (-1.0, 0.5, 2.0, -2.0, 0.0, 1.0),
        (0.8, 0.5, 0.125, 0.0, 0.0, 1.0),  # old 0, held at 0.5: moved far enough towards 1, no more gradient
        (0.4, 0.5, 0.18, -0.6, 0.0, 1.0),  # within the limit
        (1.0, 0.5, 1.125, 0.0, 2.0, 0.0),  # held at 1.5 on the way down
    ],
)
def test_the_value_loss_is_the_greater_of_the_free_and_the_held_error(
    value, limit, expected, slope, old, target
) -> None:
    values = torch.tensor([[value]], dtype=F64, requires_grad=True)
    terms = loss_of(
        torch.zeros(1, 1, dtype=F64),
        [[0.0]],
        values=values,
        old_values=torch.full((1, 1), old, dtype=F64),
        returns=torch.full((1, 1), target, dtype=F64),
        coefficients=LossCoefficients(0.2, limit, 0.0, 0.25),
    )
    assert terms.value.item() == pytest.approx(expected)
    assert terms.total.item() == pytest.approx(0.25 * expected)
    (gradient,) = torch.autograd.grad(terms.total, values)
    assert gradient.item() == pytest.approx(0.25 * slope)


@pytest.mark.parametrize("value_clip_range", [None, 0.2])
@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(4), spaces.MultiDiscrete([3, 2]), spaces.Box(-1.0, 1.0, (2,), np.float32)],
    ids=["categorical", "multi", "gaussian"],
)
def test_the_whole_loss_has_the_gradient_of_finite_differences(space, value_clip_range) -> None:
    case = make_case(
        space, masked=not isinstance(space, spaces.Box), steps=3, worlds=2, agents=1, drift=0.1, absent=0.2
    )
    network = TorchNetwork(case.spec, built_in_encoder("flatten"), case.start, device=CPU)
    batch = case.batch(worlds_per_shard=1)
    (minibatch,) = batch.minibatches(np.arange(2, dtype=np.uint64), 1)
    coefficients = LossCoefficients(0.2, value_clip_range, 0.03, 0.5)
    gradient, reported = AutogradGradient(network)(batch, minibatch, coefficients)
    parameters = network.parameters.numpy()
    for index in range(0, parameters.size, 5):
        losses = []
        for step in (1e-6, -2e-6):
            parameters[index] += step
            losses.append(AutogradGradient(network)(batch, minibatch, coefficients)[1][0].item())
        parameters[index] += 1e-6
        assert gradient[index].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-7)
    assert torch.isfinite(reported).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 20))
def test_k3_is_never_negative(seed, rows) -> None:
    rng = np.random.default_rng(seed)
    new, old = (torch.from_numpy(rng.normal(size=(1, rows)) * 3) for _ in range(2))
    assert loss_of(new, np.zeros((1, rows)), old=old).kl_k3.item() >= 0.0


def test_k3_and_the_mean_difference_estimate_the_kl_divergence() -> None:
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    exact = float((old * np.log(old / new)).sum())
    counts = np.array([50, 30, 20])  # a sample that is the expectation
    old_log_probs, new_log_probs = (torch.from_numpy(np.log(p).repeat(counts)[None]) for p in (old, new))
    terms = loss_of(new_log_probs, np.zeros((1, 100)), old=old_log_probs)
    assert terms.kl.item() == pytest.approx(exact, abs=1e-12)
    assert terms.kl_k3.item() == pytest.approx(exact, abs=1e-12)


def test_absent_rows_are_in_no_term() -> None:
    weights = torch.tensor([[1.0, 0.0, 1.0]], dtype=F64)
    log_probs = torch.tensor([[0.1, -1e9, -0.1]], dtype=F64, requires_grad=True)
    values = torch.tensor([[1.0, 1e6, 2.0]], dtype=F64, requires_grad=True)
    entropies = torch.tensor([[0.3, 1e6, 0.5]], dtype=F64)
    terms = loss_of(
        log_probs,
        [[1.0, 1e6, -2.0]],
        values=values,
        entropies=entropies,
        weights=weights,
        count=2,
        coefficients=LossCoefficients(0.2, None, 0.1, 0.5),
    )
    policy = -(math.exp(0.1) - 2 * math.exp(-0.1)) / 2
    assert terms.policy.item() == pytest.approx(policy)
    assert terms.value.item() == pytest.approx(0.5 * (1 + 4) / 2)
    assert terms.entropy.item() == pytest.approx(0.4)
    assert terms.total.item() == pytest.approx(policy + 0.5 * 1.25 - 0.1 * 0.4)
    for gradient in torch.autograd.grad(terms.total, [log_probs, values]):
        assert gradient[0, 1].item() == 0.0


def test_a_minibatch_of_uneven_shards_is_one_mean_and_not_a_mean_of_means() -> None:
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=F64)
    entropies = torch.tensor([[1.0, 2.0, 3.0], [10.0, 0.0, 0.0]], dtype=F64)
    terms = loss_of(torch.zeros(2, 3, dtype=F64), np.zeros((2, 3)), entropies=entropies, weights=weights, count=4)
    assert terms.entropy.item() == 4.0


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), shards=st.integers(1, 3), rows=st.integers(1, 8))
def test_advantages_are_normalised_over_present_rows_with_n_minus_1(seed, shards, rows) -> None:
    rng = np.random.default_rng(seed)
    advantages = rng.normal(size=(shards, rows)) * 5 + 3
    present = rng.random((shards, rows)) < 0.7
    present[0, 0] = True
    count = int(present.sum())
    got, deviation = normalized_advantages(advantages, present * 1.0, count)
    if count == 1:
        np.testing.assert_array_equal(got, advantages)
        assert deviation == 0.0
        return
    own = advantages[present]
    assert deviation == pytest.approx(own.std(ddof=1), rel=1e-12)
    np.testing.assert_allclose(got[present], (own - own.mean()) / (own.std(ddof=1) + 1e-8), atol=1e-12, rtol=0)
    assert (got[~present] == 0).all()


def test_equal_advantages_become_0_and_not_infinite() -> None:
    got, deviation = normalized_advantages(np.full((1, 4), 3.0), np.ones((1, 4)), 4)
    assert (got == 0).all()
    assert deviation == 0
