"""Where telemetry goes: a file, the terminal, and whatever plugins offer.

- `base`: the `Tracker` protocol, and `Trackers`, several as one
- `jsonl`: `TelemetryLog`, one line of JSON for each record
- `console`: progress for people
"""

from __future__ import annotations

from townlet_core.tracking.base import Tracker, Trackers

__all__ = ["Tracker", "Trackers"]
