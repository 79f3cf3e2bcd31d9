"""Two policies on the same episodes: the paired differences, and whether one is not worse than the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.comparison import ComparisonDTO
from townlet_core.errors import UsageError
from townlet_core.services.statistics import (
    MIN_EPISODES,
    NUM_RESAMPLES,
    estimate,
    interquartile_mean,
    probability_of_improvement,
)

if TYPE_CHECKING:
    from townlet_core.dto.comparison import Verdict
    from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO


def compare(
    result: EvaluationResultDTO, other: EvaluationResultDTO, *, margin: float = 0.0, resamples: int = NUM_RESAMPLES
) -> ComparisonDTO:
    """Compare two evaluations; everything follows from what stands in them.

    Args:
        result: of the policy that is judged.
        other: of the one that it is held against.
        margin: how much worse still counts as not worse, in units of the score.
        resamples: of each interval.

    Raises:
        UsageError: they are not of the same episodes, or are scored differently; or the margin is negative.
    """
    if margin < 0:
        raise UsageError(f"a margin says how much worse is still not worse, so it is at least 0, not {margin:g}")
    _require_same_episodes(result, other)
    own, others = np.array(result.scores), np.array(other.scores)
    difference = estimate(own - others, resamples=resamples)
    verdict, reason = judge(difference, margin)
    return ComparisonDTO(
        other=other,
        differences=tuple((own - others).tolist()),
        difference=difference,
        iqm_difference=float(interquartile_mean(own) - interquartile_mean(others)),
        probability_of_improvement=probability_of_improvement(own - others),
        metrics=_metric_differences(result, other, resamples),
        resamples=resamples,
        margin=margin,
        verdict=verdict,
        reason=reason,
    )


def judge(difference: Estimate, margin: float) -> tuple[Verdict, str]:
    """Return the verdict of non-inferiority, and why.

    PASS where the whole interval of the mean difference is at or above -margin, FAIL where the whole of it is below,
    HOLD where it is too wide to tell. Of fewer episodes than `MIN_EPISODES` an interval says too little.

    Args:
        difference: of the scores, paired by episode.
        margin: at least 0, in units of the score.
    """
    low, high, least = difference.low, difference.high, -margin + 0.0
    interval = f"{low:+.4g} to {high:+.4g}"
    if difference.num_episodes < MIN_EPISODES:
        return "HOLD", f"{difference.num_episodes} episodes are too few to tell; it takes {MIN_EPISODES}"
    if low >= least:
        return "PASS", f"not worse: all of the interval, {interval}, is at or above {least:g}"
    if high < least:
        return "FAIL", f"worse: all of the interval, {interval}, is below {least:g}"
    return "HOLD", f"cannot tell: the interval, {interval}, is on both sides of {least:g}"


def _require_same_episodes(result: EvaluationResultDTO, other: EvaluationResultDTO) -> None:
    if result.score_name != other.score_name:
        raise UsageError(f"one evaluation is scored by {result.score_name}, the other by {other.score_name}")
    suites = [None if one.suite is None else one.suite.digest for one in (result, other)]
    episodes = [[(episode.part, episode.seed) for episode in one.episodes] for one in (result, other)]
    if (suites[0], episodes[0], result.environment) != (suites[1], episodes[1], other.environment):
        raise UsageError("the two evaluations are not of the same episodes; run both on the same suite")


def _metric_differences(result: EvaluationResultDTO, other: EvaluationResultDTO, resamples: int) -> dict[str, Estimate]:
    """Return the differences of every metric, over the episodes in which both have it."""
    pairs = list(zip(result.episodes, other.episodes, strict=True))
    found: dict[str, Estimate] = {}
    for name in result.metrics.keys() & other.metrics.keys():
        differences = [
            one.metrics[name] - two.metrics[name] for one, two in pairs if name in one.metrics and name in two.metrics
        ]
        if differences:
            found[name] = estimate(differences, resamples=resamples)
    return dict(sorted(found.items()))
