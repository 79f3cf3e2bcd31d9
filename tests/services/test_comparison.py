"""Two evaluations of the same episodes: differences that are paired, and a verdict that follows from their interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from townlet_core.dto.comparison import ComparisonDTO
from townlet_core.dto.evaluation import EpisodeResult, Estimate, EvaluationResultDTO
from townlet_core.errors import UsageError
from townlet_core.services.comparison import compare, judge
from townlet_core.services.statistics import MIN_EPISODES, bootstrap_interval, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence


def evaluation(scores: Sequence[float], metrics: Sequence[dict[str, float]] | None = None) -> EvaluationResultDTO:
    """Return an evaluation with these returns; rewards are of no account."""
    episodes = tuple(
        EpisodeResult(
            seed=seed,
            episode_return=score,
            length=1,
            truncated=False,
            reward_mean=0.0,
            num_steps=1,
            agent_steps=1,
            metrics={} if metrics is None else metrics[seed],
        )
        for seed, score in enumerate(scores)
    )
    names = {name for episode in episodes for name in episode.metrics}
    return EvaluationResultDTO(
        environment="e",
        artefact_digest="",
        deterministic=True,
        episodes=episodes,
        score_name="episode_return",
        score=estimate(scores),
        return_mean=float(np.mean(scores)),
        return_std=0.0,
        return_min=min(scores),
        return_max=max(scores),
        reward_mean=0.0,
        length_mean=1.0,
        metrics=dict.fromkeys(names, 0.0),
        duration_sec=0.0,
    )


LUCK = np.random.default_rng(0).normal(0.0, 100.0, 20)


def test_what_is_luck_of_an_episode_is_taken_out() -> None:
    better, worse = evaluation(list(LUCK + 1 + 0.01 * LUCK)), evaluation(list(LUCK))
    found = compare(better, worse)
    assert found.differences == pytest.approx(list(1 + 0.01 * LUCK))
    assert found.difference.mean == pytest.approx(np.mean(1 + 0.01 * LUCK))
    assert (found.difference.low, found.difference.high) == bootstrap_interval(np.array(found.differences))
    assert found.difference.high - found.difference.low < 0.05 * (better.score.high - better.score.low)
    assert found.iqm_difference == pytest.approx(better.score.iqm - worse.score.iqm)
    assert found.probability_of_improvement == np.mean(1 + 0.01 * LUCK > 0)
    assert (found.verdict, compare(worse, better).verdict) == ("PASS", "FAIL")
    assert compare(worse, better).difference.mean == pytest.approx(-found.difference.mean)


def test_the_same_policy_is_not_worse_than_itself() -> None:
    found = compare(evaluation(list(LUCK)), evaluation(list(LUCK)))
    assert (found.verdict, found.difference.low, found.difference.high) == ("PASS", 0.0, 0.0)
    assert found.probability_of_improvement == 0.5


def test_a_margin_makes_a_little_worse_not_worse() -> None:
    worse, reference = evaluation(list(LUCK - 1 + 0.01 * LUCK)), evaluation(list(LUCK))
    assert [compare(worse, reference, margin=margin).verdict for margin in (0.0, 1.1, 3.0)] == ["FAIL", "HOLD", "PASS"]
    with pytest.raises(UsageError, match="at least 0, not -1"):
        compare(worse, reference, margin=-1.0)


def interval(low: float, high: float, num_episodes: int = 30) -> Estimate:
    middle = (low + high) / 2
    return Estimate(mean=middle, iqm=middle, low=low, high=high, confidence=0.95, num_episodes=num_episodes)


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (0.1, 0.2, 0.0, "PASS"),
        (0.0, 0.2, 0.0, "PASS"),
        (-0.1, 0.2, 0.0, "HOLD"),
        (-0.1, 0.0, 0.0, "HOLD"),
        (-0.2, -0.1, 0.0, "FAIL"),
        (-0.1, 0.2, 0.1, "PASS"),
        (-0.11, 0.2, 0.1, "HOLD"),
        (-0.3, -0.1, 0.1, "HOLD"),
        (-0.3, -0.11, 0.1, "FAIL"),
        (-0.05, -0.01, 0.1, "PASS"),
    ],
)
def test_the_verdict_is_that_of_the_whole_interval(low: float, high: float, margin: float, verdict: str) -> None:
    assert judge(interval(low, high), margin)[0] == verdict
    found, reason = judge(interval(low, high, MIN_EPISODES - 1), margin)
    assert (found, reason) == ("HOLD", f"{MIN_EPISODES - 1} episodes are too few to tell; it takes {MIN_EPISODES}")


def test_a_reason_has_the_rule_and_the_numbers() -> None:
    assert judge(interval(-0.5, 0.25), 0.1)[1] == "cannot tell: the interval, -0.5 to +0.25, is on both sides of -0.1"
    assert judge(interval(0.5, 1.0), 0.0)[1] == "not worse: all of the interval, +0.5 to +1, is at or above 0"
    assert judge(interval(-2.0, -1.0), 0.5)[1] == "worse: all of the interval, -2 to -1, is below -0.5"


def test_a_metric_is_compared_where_both_have_it() -> None:
    one = evaluation([1.0, 2.0, 3.0], [{"a": 1.0, "b": 1.0}, {"a": 5.0}, {"b": 2.0}])
    two = evaluation([1.0, 2.0, 3.0], [{"a": 0.5, "c": 1.0}, {"a": 1.5, "b": 1.0}, {}])
    found = compare(one, two).metrics
    assert list(found) == ["a"]
    assert (found["a"].mean, found["a"].num_episodes) == (2.0, 2)


def test_evaluations_of_other_episodes_are_not_compared() -> None:
    one = evaluation([1.0, 2.0])
    moved = [episode.model_copy(update={"seed": episode.seed + 1}) for episode in one.episodes]
    for other in (
        evaluation([1.0, 2.0, 3.0]),
        one.model_copy(update={"episodes": tuple(moved)}),
        one.model_copy(update={"episodes": one.episodes[::-1]}),
        one.model_copy(update={"environment": "f"}),
    ):
        with pytest.raises(UsageError, match="not of the same episodes"):
            compare(one, other)
    with pytest.raises(UsageError, match="one evaluation is scored by episode_return, the other by reward_mean"):
        compare(one, one.model_copy(update={"score_name": "reward_mean"}))


def test_a_claim_can_be_recomputed_from_what_is_stored() -> None:
    one, two = evaluation(list(LUCK + 1)), evaluation(list(LUCK))
    found = compare(one, two, margin=0.5)
    stored = ComparisonDTO.model_validate_json(found.model_dump_json())
    again = compare(EvaluationResultDTO.model_validate_json(one.model_dump_json()), stored.other, margin=stored.margin)
    assert again == stored == found
