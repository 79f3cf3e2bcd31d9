"""Means and intervals: known answers, equal bytes, and how often an interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.errors import UsageError
from townlet_core.services.statistics import (
    bootstrap_interval,
    estimate,
    interquartile_mean,
    mean,
    probability_of_improvement,
)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    assert interquartile_mean(np.array([1000.0, 1.0, 2.0, -1000.0])) == 1.5
    assert interquartile_mean(np.arange(9.0)) == 4.0  # two of nine at each end
    assert interquartile_mean(np.array([3.0])) == 3.0
    np.testing.assert_array_equal(interquartile_mean(np.array([[0.0, 1, 2, 9], [5, 5, 5, 5]])), [1.5, 5.0])


def test_the_probability_of_improvement_counts_half_of_what_is_equal() -> None:
    assert probability_of_improvement(np.array([1.0, -1.0, 0.0, 2.0])) == 0.625
    assert probability_of_improvement(np.zeros(3)) == 0.5


def test_an_interval_is_that_of_the_normal_distribution_where_episodes_are_many() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)
    narrower = bootstrap_interval(values, confidence=0.5)
    assert low < narrower[0] < values.mean() < narrower[1] < high


def test_equal_values_have_an_interval_without_width() -> None:
    assert bootstrap_interval(np.full(5, 2.5)) == (2.5, 2.5)
    assert bootstrap_interval(np.array([7.0])) == (7.0, 7.0)


@settings(deadline=None, max_examples=20)
@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_an_interval_lies_within_the_values_and_is_the_same_twice(values) -> None:
    array = np.array(values)
    low, high = bootstrap_interval(array, interquartile_mean, resamples=200)
    assert array.min() - 1e-9 <= low <= high <= array.max() + 1e-9
    assert bootstrap_interval(array, interquartile_mean, resamples=200) == (low, high)


def test_how_many_are_resampled_at_once_changes_nothing(monkeypatch) -> None:
    values = np.random.default_rng(1).normal(size=16)
    whole = bootstrap_interval(values, resamples=500)
    monkeypatch.setattr("townlet_core.services.statistics._NUMBERS_AT_ONCE", 50)
    assert bootstrap_interval(values, resamples=500) == whole


def test_an_interval_of_32_differences_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(1.0, 3.0, 32), mean, resamples=1000)
        inside += low <= 1.0 <= high
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], [[1.0, 2.0]]])
def test_what_has_no_interval_is_refused(values) -> None:
    with pytest.raises(UsageError, match="an interval needs finite numbers in one row"):
        bootstrap_interval(np.array(values))


def test_intervals_of_few_values_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(1.0, 3.0, 8), mean, resamples=500) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= 1.0 <= high for low, high in intervals]) <= 0.97


def test_an_estimate_has_its_mean_within_its_interval() -> None:
    found = estimate([0.1] * 7)
    assert found.low <= found.mean <= found.high
    assert found == estimate(np.full(7, 0.1))
    assert (found.num_episodes, found.confidence) == (7, 0.95)
    assert estimate([1.0, 1.0, 1.0, 50.0, -50.0, 1.0, 1.0, 1.0]).iqm == 1.0
