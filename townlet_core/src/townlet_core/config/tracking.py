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
    progress: Literal["auto", "rich", "plain", "off"] = Field(
        default="auto",
        description="Progress display: rich (live), plain (lines), off, or auto (rich on a terminal, else plain).",
    )
