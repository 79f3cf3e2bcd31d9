"""Where telemetry goes: a file, the terminal, and whatever plugins offer; and how it is read and judged.

- `base`: the `Tracker` protocol, and `Trackers`, several as one
- `jsonl`: `TelemetryLog`, one line of JSON for each record
- `console`: progress for people

And what reads it again, of this version and of older ones:

- `telemetry_reader`: `read_telemetry`, and `TelemetryTail` for files that grow
- `telemetry_record`, `telemetry_versions`: a line, and which fields it has to have
- `telemetry_summary`, `measures`, `thresholds`: what a log amounts to, and limits for it
- `log_watch`: all of that for one file
"""

from __future__ import annotations

from townlet_core.tracking.base import Tracker, Trackers

__all__ = ["Tracker", "Trackers"]
