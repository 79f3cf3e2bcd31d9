"""Mean, deviation, extremes and a sample of numbers that pass by block after block, in float64 and bounded memory.

Blocks are merged by Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", eq. 1.5: exact to
rounding however far the mean is from 0.

Legend: R rows, F features.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core import randomness
from townlet_core.dto.dataset_summary import Histogram, Quartiles, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.arrays import Array

NUM_BINS = 24
SAMPLE_ROWS = 4096
_BLOCK_NUMBERS = 1 << 17


class RunningSpread:
    """The spread of each of F features; numbers that are not finite are counted, and left out of everything else.

    Args:
        num_features: F.

    Attributes:
        count: (F,) int64, finite numbers.
        non_finite: (F,) int64, the others.
        mean: (F,) float64.
        squares: (F,) float64, sum of squared distances from the mean.
        low: (F,) float64, the smallest; inf before any.
        high: (F,) float64, the largest; -inf before any.
    """

    def __init__(self, num_features: int) -> None:
        self.count, self.non_finite = np.zeros(num_features, np.int64), np.zeros(num_features, np.int64)
        self.mean, self.squares = np.zeros(num_features), np.zeros(num_features)
        self.low, self.high = np.full(num_features, np.inf), np.full(num_features, -np.inf)

    def add(self, rows: Array) -> None:
        """Take in rows (R, F) of any number type."""
        with np.errstate(invalid="ignore", over="ignore"):  # a sum that overflows is told as unknown
            for block in blocks(rows):
                self._add_block(block)

    def _add_block(self, block: Array) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # casting a signalling NaN warns too
            numbers = block.astype(np.float64)
            means = numbers.mean(axis=0)
        if np.isfinite(means).all():
            low, high = block.min(axis=0), block.max(axis=0)
            numbers -= means
            self._merge(np.full(len(means), len(block)), means, _squares(numbers), low, high)
            return
        finite = np.isfinite(numbers)
        counts = np.count_nonzero(finite, axis=0)
        self.non_finite += len(block) - counts
        means = np.where(finite, numbers, 0.0).sum(axis=0) / np.maximum(counts, 1)
        squares = (np.where(finite, numbers - means, 0.0) ** 2).sum(axis=0)
        low, high = np.where(finite, numbers, np.inf).min(axis=0), np.where(finite, numbers, -np.inf).max(axis=0)
        self._merge(counts, means, squares, low, high)

    def _merge(self, counts: Array, means: Array, squares: Array, low: Array, high: Array) -> None:
        total = self.count + counts
        weight = counts / np.maximum(total, 1)
        distance = means - self.mean
        self.squares += squares + distance**2 * self.count * weight
        self.mean += distance * weight
        self.count = total
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)

    def fields(self, index: int) -> dict[str, Any]:
        """Return the fields of a `Spread` for one feature."""
        count = int(self.count[index])
        fields: dict[str, Any] = {"count": count, "non_finite": int(self.non_finite[index])}
        if count:
            fields |= {"mean": _known(self.mean[index]), "std": _known(np.sqrt(self.squares[index] / count))}
            fields |= {"min": float(self.low[index]), "max": float(self.high[index])}
        return fields


def _known(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _squares(numbers: Array) -> Array:
    """Return the sum of squares of each column of (R, F), (F,)."""
    if numbers.shape[1] == 1:  # the general form is slow at a single column, and a dot product starts threads
        return np.array([np.einsum("r,r->", numbers[:, 0], numbers[:, 0])])
    return np.asarray(np.einsum("rf,rf->f", numbers, numbers))


def blocks(rows: Array) -> Iterator[Array]:
    """Yield consecutive parts of (R, ...), each small enough that copies of it stay in the processor's cache."""
    size = max(1, _BLOCK_NUMBERS // max(1, math.prod(rows.shape[1:])))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def sampled_rows(num_rows: int) -> Array:
    """Return the numbers of at most `SAMPLE_ROWS` random rows, ascending; the same for the same count."""
    if num_rows <= SAMPLE_ROWS:
        return np.arange(num_rows)
    places = randomness.uniform(randomness.key(0, "summary"), np.arange(SAMPLE_ROWS))
    return np.unique((places * num_rows).astype(np.int64))


def histogram(numbers: Array) -> Histogram | None:
    """Return the histogram of the finite ones among (R,) numbers; None without any."""
    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())  # of Python, whose differences overflow without a warning
    if not (low < high and math.isfinite(high - low)):
        return Histogram(low=low, high=high, counts=(len(finite),))
    places = ((finite - low) / (high - low) * NUM_BINS).astype(np.int64)
    counts = np.bincount(np.minimum(places, NUM_BINS - 1), minlength=NUM_BINS)
    return Histogram(low=low, high=high, counts=tuple(counts.tolist()))


def quartiles(numbers: Array) -> Quartiles:
    """Return how (R,) numbers are distributed."""
    running = RunningSpread(1)
    running.add(numbers.reshape(-1, 1))
    finite = numbers[np.isfinite(numbers)]
    places: list[float] = []
    if len(finite):
        with np.errstate(invalid="ignore", over="ignore"):
            places = np.quantile(finite, [0.25, 0.5, 0.75]).tolist()
    lower, median, upper = map(_known, places) if places else (None, None, None)
    return Quartiles(**running.fields(0), histogram=histogram(numbers), q25=lower, median=median, q75=upper)


def spread(running: RunningSpread, sample: Array, index: int = 0) -> Spread:
    """Return the spread of one feature with the histogram of a sample (R,)."""
    return Spread(**running.fields(index), histogram=histogram(sample))
