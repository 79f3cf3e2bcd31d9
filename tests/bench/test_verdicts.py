"""The truth table of verdicts: 2,000 comparisons of a known effect are wrong as seldom as they say."""

import pytest

from townlet_core.bench.verdicts import measure_verdicts
from townlet_core.errors import UsageError

LIMIT = 0.05
"""Of 2.5 % that each bound promises, with what 200 resamples and few episodes add."""


def judged(**options):
    return measure_verdicts(**{"margin": 0.5, "draws": 2000, "resamples": 200, **options})


@pytest.mark.parametrize("episodes", [8, 32])
def test_a_policy_that_is_worse_by_the_margin_seldom_passes_and_seldom_fails(episodes):
    row = judged(effect=-0.5, episodes=episodes)
    assert row["wrong"] == max(row["pass"], row["fail"]) < LIMIT
    assert row["hold"] > 0.9


def test_a_margin_of_nothing_is_no_different():
    assert judged(effect=0.0, margin=0.0, episodes=16)["wrong"] < LIMIT


def test_what_is_clear_is_told_and_the_clearer_the_more_episodes_there_are():
    few, many = (judged(effect=0.0, episodes=episodes, draws=300) for episodes in (8, 64))
    assert few["wrong"] == many["wrong"] == 0.0
    assert few["pass"] < 0.5 < 0.9 < many["pass"]
    worse = judged(effect=-1.0, episodes=64, draws=300)
    assert worse["fail"] > 0.9
    assert worse["wrong"] == worse["pass"] == 0.0


def test_rare_disasters_are_missed_more_often_than_the_interval_says():
    few, many = (judged(effect=-0.5, episodes=episodes, distribution="skewed") for episodes in (8, 128))
    assert few["pass"] > LIMIT > many["pass"]


def test_too_few_episodes_hold_whatever_they_show():
    assert judged(effect=100.0, episodes=7, draws=20)["hold"] == 1.0


def test_an_unknown_distribution_is_refused():
    with pytest.raises(UsageError, match="normal or skewed"):
        judged(effect=0.0, episodes=8, distribution="other", draws=1)
