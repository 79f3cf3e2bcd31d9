"""What episodes say about a policy, and about the difference of two: means, and intervals by bootstrap.

Resampling is drawn by key, so that the same episodes always give the same interval.

Legend: E episodes, B resamples.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.dto.evaluation import Estimate
from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array

    Statistic = Callable[[Array], Array]

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_EPISODES = 8
"""Episodes that a verdict takes: no resample of fewer is far from them, however far the truth is."""
_NUMBERS_AT_ONCE = 1 << 20


def mean(values: Array) -> Array:
    """Return the mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def interquartile_mean(values: Array) -> Array:
    """Return the mean over the last axis of what is left without its lowest and highest quarter.

    Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice": it needs fewer episodes
    than the median, and outliers move it less than the mean. A quarter is rounded down.
    """
    count = values.shape[-1]
    cut = count // 4
    return mean(np.sort(values, axis=-1)[..., cut : count - cut])


def bootstrap_interval(
    values: Array, statistic: Statistic = mean, *, confidence: float = CONFIDENCE, resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Return the bounds of a statistic of (E,) values, by the percentiles of resampled ones (Efron 1979).

    The percentiles are those further out that make up for few values (Hesterberg 2015, "What teachers should know about
    the bootstrap", 5.3): as they stand, intervals of 8 values would hold the truth in 89 % of cases instead of 95 %.

    Of two policies that ran the same episodes, give the differences: an interval of them is much shorter than that of
    two means, because what is luck of an episode is taken out.

    Args:
        values: one for each episode; episodes are independent, what happens within one is not.
        statistic: of the last axis.
        confidence: share of the resamples between the bounds.
        resamples: B.

    Raises:
        UsageError: there are no values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise UsageError(f"an interval needs finite numbers in one row, not {values}")
    count = values.size
    rows = max(1, _NUMBERS_AT_ONCE // count)
    found = [
        statistic(values[_resampled(np.arange(first, min(first + rows, resamples)), count)])
        for first in range(0, resamples, rows)
    ]
    tail = 100.0 * _tail(count, confidence)
    low, high = np.percentile(np.concatenate(found), [tail, 100.0 - tail])
    return float(low), float(high)


def estimate(values: Array | Sequence[float], *, resamples: int = NUM_RESAMPLES) -> Estimate:
    """Return mean, interquartile mean, and the interval of the mean of (E,) values; see `bootstrap_interval`."""
    row = np.asarray(values, dtype=np.float64)
    low, high = bootstrap_interval(row, resamples=resamples)
    middle = float(mean(row))
    return Estimate(
        mean=middle,
        iqm=float(interquartile_mean(row)),
        low=min(low, middle),  # means of equal numbers in another order may differ in the last digit
        high=max(high, middle),
        confidence=CONFIDENCE,
        num_episodes=row.size,
    )


def probability_of_improvement(differences: Array) -> float:
    """Return how likely an episode is better than its counterpart; half of what is equal counts."""
    differences = np.asarray(differences)
    return float(np.mean(differences > 0) + 0.5 * np.mean(differences == 0))


def _tail(count: int, confidence: float) -> float:
    """Return the share of resamples beyond each bound: Phi(-sqrt(E / (E - 1)) t), t the quantile with E - 1 degrees.

    The quantile is expanded around the normal one (Abramowitz and Stegun 26.7.5; from 5 values on within 0.3 %).
    """
    normal = NormalDist()
    z, degrees = normal.inv_cdf(0.5 + confidence / 2), count - 1
    if degrees == 0:
        return 0.0
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return normal.cdf(-t * (count / degrees) ** 0.5)


def _resampled(numbers: Array, count: int) -> Array:
    """Return indices below `count` of the resamples called `numbers`, (B, count)."""
    uniform = randomness.uniform(randomness.key(0, "bootstrap", numbers)[:, None], np.arange(count))
    return (uniform * count).astype(np.int64)
