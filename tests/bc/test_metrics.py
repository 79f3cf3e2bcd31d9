"""Held-out metrics against their definitions, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from bc_cases import ACTIONS, Case
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_strategies_bc.batch import Batch
from townlet_strategies_bc.metrics import NUM_BINS, HeldOutMetrics, output_names


def part_of(batch, rows):
    return Batch(
        features=batch.features[:, rows],
        inputs={},
        actions=batch.actions[:, rows],
        action_mask=None if batch.action_mask is None else batch.action_mask[:, rows],
        returns=None if batch.returns is None else batch.returns[:, rows],
    )


def measured(case, outputs, values=None, log_std=None, pieces=3):
    """Return the fields of a batch that comes in pieces."""
    head = case.spec.head
    metrics = HeldOutMetrics(head, output_names(head, ()))
    count = case.batch.count
    values = np.zeros(count) if values is None else values
    for rows in np.array_split(np.arange(count), pieces):
        metrics.add(part_of(case.batch, rows), outputs[rows], values[rows], log_std)
    return metrics.fields()


def probabilities(logits, legal):
    weights = np.exp(logits - logits[legal].max()) * legal
    return weights / weights.sum()


@given(seed=st.integers(0, 10**6), name=st.sampled_from(["choice", "choices"]), masked=st.booleans())
@settings(max_examples=40, deadline=None)
def test_choices_are_measured_as_defined(seed, name, masked):
    case = Case(ACTIONS[name], rows=40, masked=masked, seed=seed)
    head, rng = case.spec.head, np.random.default_rng(seed)
    outputs = rng.normal(0, 2, (40, head.num_outputs))
    found = measured(case, outputs)
    right, nll, confidence = np.zeros(40), 0.0, np.ones(40)
    likely = np.zeros((40, len(head.counts)), int)
    taken = case.batch.actions[0].reshape(40, -1)
    for row in range(40):
        for part, segment in enumerate(head.segments):
            legal = np.ones(40, bool)[: head.counts[part]]
            if masked:
                legal = case.batch.action_mask[0, row, segment]
            probs = probabilities(outputs[row, segment], legal)
            likely[row, part] = probs.argmax()
            nll -= np.log(probs[taken[row, part]])
            confidence[row] *= probs.max()
        right[row] = (likely[row] == taken[row]).all()
    assert found.accuracy == right.mean()
    assert found.nll == pytest.approx(nll / 40, rel=1e-9)
    ece = 0.0
    for number in range(NUM_BINS):
        inside = (confidence >= number / NUM_BINS) & (confidence < (number + 1) / NUM_BINS)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.ece == pytest.approx(ece, abs=1e-9)
    names = iter(found.actions)
    for part, count in enumerate(head.counts):
        for action in range(count):
            of = found.actions[next(names)]
            support, predicted = taken[:, part] == action, likely[:, part] == action
            assert (of.support, of.predicted) == (support.sum(), predicted.sum())
            assert of.recall == (pytest.approx((support & predicted).sum() / support.sum()) if support.any() else None)
            share = (support & predicted).sum() / predicted.sum() if predicted.any() else None
            assert of.precision == (None if share is None else pytest.approx(share))


def test_a_certain_policy_is_as_calibrated_as_it_is_right():
    case = Case(ACTIONS["choice"], rows=100)
    sure = np.full((100, 4), -50.0)
    sure[:, 2] = 50.0
    found = measured(case, sure)
    assert found.accuracy == (case.batch.actions[0] == 2).mean()
    assert found.ece == pytest.approx(1 - found.accuracy)


def test_continuous_actions_have_a_likelihood_and_a_distance():
    case = Case(ACTIONS["continuous"], rows=50)
    rng = np.random.default_rng(0)
    means, log_std = rng.normal(size=(50, 2)), np.array([-0.3, 0.5])
    found = measured(case, means, log_std=log_std)
    actions = case.batch.actions[0]
    density = np.exp(-0.5 * ((actions - means) / np.exp(log_std)) ** 2) / (np.exp(log_std) * np.sqrt(2 * np.pi))
    assert found.nll == pytest.approx(-np.log(density).sum(axis=1).mean(), rel=1e-12)
    assert found.mean_absolute_error == pytest.approx(np.abs(actions - means).mean(), rel=1e-12)
    assert (found.accuracy, found.ece, found.actions) == (None, None, {})


def test_values_are_measured_by_the_variance_that_they_explain():
    case = Case(ACTIONS["choice"], rows=60, returns=True)
    returns = case.batch.returns[0]
    values = returns + np.random.default_rng(0).normal(1.0, 0.5, 60)
    found = measured(case, np.zeros((60, 4)), values)
    assert found.value_explained_variance == pytest.approx(1 - (returns - values).var() / returns.var(), rel=1e-9)
    case.batch.returns[:] = 3.0
    assert measured(case, np.zeros((60, 4)), values).value_explained_variance is None
    without = Case(ACTIONS["choice"], rows=60)
    assert measured(without, np.zeros((60, 4)), values).value_explained_variance is None
