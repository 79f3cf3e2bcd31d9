"""Limits that telemetry is held against, and where it left them. What is not finite leaves every limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from townlet_core.dto.watch import Exceedance
from townlet_core.errors import UsageError, suggestion
from townlet_core.tracking.measures import MEASURES, measure
from townlet_core.tracking.telemetry_versions import NUMERIC_FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from townlet_core.tracking.telemetry_record import TelemetryRecord

_MOST_FIELDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One limit.

    Attributes:
        name: a field of the telemetry, or one of `MEASURES`.
        bound: whether values may not lie above the limit (`max`) or below it (`min`).
        limit: a finite number.
    """

    name: str
    bound: Literal["max", "min"]
    limit: float

    def __post_init__(self) -> None:
        """Refuse a limit that nothing, or everything, would exceed.

        Raises:
            UsageError: it is not finite.
        """
        if not math.isfinite(self.limit):
            raise UsageError(f"the limit of {self.name} is {self.limit:g}, and a finite number is needed")

    def excess(self, value: float) -> float:
        """Return by how much a value lies outside, 0 or less inside, and infinity if it is not finite."""
        if not math.isfinite(value):
            return math.inf
        return value - self.limit if self.bound == "max" else self.limit - value


@dataclass(slots=True)
class _Places:
    """Where one limit was left: the first time, the worst, and how often."""

    first: tuple[float, int | None, int]
    worst: tuple[float, int | None, int]
    most_excess: float
    count: int = 1


class ThresholdCheck:
    """Holds records against limits, one after the other; that all numbers are finite is always one of them.

    Args:
        thresholds: the limits.
        after: updates up to this epoch are not judged.
    """

    def __init__(self, thresholds: Sequence[Threshold], *, after: int = 0) -> None:
        self.thresholds = tuple(thresholds)
        self.num_judged = 0
        self._after = after
        self._measured: set[str] = set()
        self._places: dict[Threshold | str, _Places] = {}

    @property
    def is_exceeded(self) -> bool:
        """Whether any limit was left."""
        return bool(self._places)

    def add(self, record: TelemetryRecord) -> None:
        """Judge a record."""
        if record.epoch is not None and record.epoch <= self._after:
            return
        self.num_judged += 1
        limited = set()
        for threshold in self.thresholds:
            value = measure(record, threshold.name)
            if value is not None:
                self._measured.add(threshold.name)
                limited.add(threshold.name)
                self._judge(threshold, threshold.excess(value), value, record)
        for name, value in record.numbers():
            if not math.isfinite(value) and name not in limited:
                self._judge(name, math.inf, value, record)

    def _judge(self, key: Threshold | str, excess: float, value: float, record: TelemetryRecord) -> None:
        if excess <= 0.0:
            return
        place = (value, record.epoch, record.line)
        known = self._places.get(key)
        if known is None:
            if len(self._places) < _MOST_FIELDS + len(self.thresholds):
                self._places[key] = _Places(first=place, worst=place, most_excess=excess)
            return
        known.count += 1
        if excess > known.most_excess:
            known.worst, known.most_excess = place, excess

    def exceedances(self) -> Iterator[Exceedance]:
        """Yield each limit that was left, in the order in which they were."""
        for key, places in self._places.items():
            (value, epoch, line), (worst, worst_epoch, worst_line) = places.first, places.worst
            yield Exceedance(
                name=key if isinstance(key, str) else key.name,
                bound="finite" if isinstance(key, str) else key.bound,
                limit=None if isinstance(key, str) else key.limit,
                value=value if math.isfinite(value) else None,
                epoch=epoch,
                line=line,
                count=places.count,
                worst_value=worst if math.isfinite(worst) else None,
                worst_epoch=worst_epoch,
                worst_line=worst_line,
            )

    def unmeasured(self) -> list[str]:
        """Return the names of limits that no judged record had a value for."""
        return list(dict.fromkeys(t.name for t in self.thresholds if t.name not in self._measured))

    def require_known(self, seen: Collection[str]) -> None:
        """Check that every limit is one for a field that there is, in some version or in the log.

        Args:
            seen: numeric fields that the log has.

        Raises:
            UsageError: one is not; the text suggests the closest name.
        """
        known = {*NUMERIC_FIELDS, *MEASURES, *seen}
        for threshold in self.thresholds:
            if threshold.name not in known | self._measured and "." not in threshold.name:
                hint = suggestion(threshold.name, sorted(known)) or "; '--json' shows all fields of the log"
                raise UsageError(f"telemetry has no number '{threshold.name}'{hint}")
