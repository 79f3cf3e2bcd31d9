"""Telemetry as version 1.2 wrote it, for programs that read that: its names and no others, every number a float."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.tracking.telemetry_versions import PPO_1_2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.tracking.base import Tracker

TelemetryVersion = Literal["2.0", "1.2"]

_CONFLICT = "conflict."


def in_version(tracker: Tracker, version: TelemetryVersion) -> Tracker:
    """Return a tracker that passes records on to `tracker` in a telemetry version."""
    return tracker if version == "2.0" else EarlierTelemetry(tracker)


class EarlierTelemetry:
    """Passes records of PPO on as version 1.2. Others stay what they are: 1.2 has no names for them.

    Args:
        tracker: who gets them.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass one record on; raises what `tracker` raises."""
        self._tracker.log(as_1_2(record) if record.keys() >= PPO_1_2.required else record)

    def close(self) -> None:
        """Close `tracker`."""
        self._tracker.close()


def as_1_2(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the telemetry line of version 1.2 that says the same as `record`, a line of PPO of version 2.0.

    Every name is there; what has no value is None.
    """
    names = [*PPO_1_2.fields, *(name for name in record if name.startswith(_CONFLICT))]
    return {"telemetry_version": "1.2", **{name: _number(record.get(name)) for name in names}}


def _number(value: Any) -> Any:
    """Return numbers as floats; flags and text as they are."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
