"""What a whole log amounts to, in memory that does not grow with it: statistics, trends, and what stands out."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from townlet_core.dto.watch import Extreme, FieldStatistics
from townlet_core.tracking.measures import measure

if TYPE_CHECKING:
    from townlet_core.tracking.telemetry_record import TelemetryRecord

MAX_FIELDS = 1000
MAX_POINTS = 24


class FieldSeries:
    """Statistics of a series, and the means of at most `MAX_POINTS` stretches of it.

    A stretch covers 1, then 2, then 4 ... values: when there are too many, two neighbours become one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = self.least = self.most = self.mean = 0.0
        self._means: list[float] = []
        self._filled = 0
        self._length = 1

    def add(self, value: float) -> None:
        """Take in one finite value."""
        self.count += 1
        if self.count == 1:
            self.first = self.least = self.most = value
        self.last = value
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.mean = _mean_with(self.mean, value, self.count)
        if self._filled in (0, self._length):
            if len(self._means) == MAX_POINTS:
                self._means = [a / 2 + b / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
                self._length *= 2
            self._means.append(0.0)
            self._filled = 0
        self._filled += 1
        self._means[-1] = _mean_with(self._means[-1], value, self._filled)

    def statistics(self) -> FieldStatistics:
        """Return what is known."""
        return FieldStatistics(
            count=self.count,
            first=self.first,
            last=self.last,
            min=self.least,
            max=self.most,
            mean=self.mean,
            trend=tuple(self._means),
        )


def _mean_with(mean: float, value: float, count: int) -> float:
    """Return the mean of `count` values from that of all but the last; no sum can overflow."""
    return mean + (value / count - mean / count)


class LogSummary:
    """Records taken in one after the other."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.series: dict[str, FieldSeries] = {}
        self.best_return: Extreme | None = None
        self.largest_kl: Extreme | None = None
        self.zero_std_batches = 0
        self.non_finite_values = 0
        self.first_non_finite = ""
        self.epochs_repeated = 0
        self.fields_left_out = 0
        self._epochs: dict[str, int] = {}

    @property
    def updates(self) -> int:
        """Records so far."""
        return self.kinds.total()

    def add(self, record: TelemetryRecord) -> None:
        """Take in a record."""
        self.kinds[record.model.title] += 1
        self._follow_epochs(record)
        for name, value in record.numbers():
            if not math.isfinite(value):
                self.non_finite_values += 1
                self.first_non_finite = self.first_non_finite or f"{name}, line {record.line}"
            elif (series := self._series_of(name)) is not None:
                series.add(value)
        self.best_return = _larger(self.best_return, record, "episode_return_mean")
        self.largest_kl = _larger(self.largest_kl, record, "kl_divergence_max")
        batches = record.number("adv_zero_std_batches")
        if batches is not None and math.isfinite(batches):
            self.zero_std_batches += int(batches)

    def _series_of(self, name: str) -> FieldSeries | None:
        """Return the series of a field, or None, and count that, for a new one when there are too many."""
        series = self.series.get(name)
        if series is None and len(self.series) < MAX_FIELDS:
            series = self.series[name] = FieldSeries()
        self.fields_left_out += series is None
        return series

    def _follow_epochs(self, record: TelemetryRecord) -> None:
        """Count epochs that do not rise, apart for each algorithm: a schedule's stages take turns in one file."""
        if record.epoch is not None:
            before = self._epochs.get(record.model.algorithm)
            self.epochs_repeated += before is not None and record.epoch <= before
            self._epochs[record.model.algorithm] = record.epoch


def _larger(best: Extreme | None, record: TelemetryRecord, name: str) -> Extreme | None:
    value = measure(record, name)
    if value is None or not math.isfinite(value) or (best is not None and value <= best.value):
        return best
    return Extreme(value=value, epoch=record.epoch, line=record.line)
