"""Where telemetry goes besides the run directory, and how progress is shown."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from townlet_core.config.base import Settings


class TrackingConfig(Settings):
    """The section `tracking`."""

    trackers: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict,
        description="Further trackers: a plugin tracker's name and its options, such as {mytracker: {url: ...}}.",
    )
    telemetry: Literal["2.0", "1.2"] = Field(
        default="2.0",
        description="Version of the names in telemetry.jsonl. 1.2 is for programs that read the earlier format: PPO "
        "then writes the names of 1.2 and no others, every number as a float. The earlier format has no names for "
        "other strategies, whose lines stay as they are; trackers get the names of 2.0 always.",
    )
    progress: Literal["auto", "rich", "plain", "off"] = Field(
        default="auto",
        description="Progress display: rich (live), plain (lines), off, or auto (rich on a terminal, else plain).",
    )
