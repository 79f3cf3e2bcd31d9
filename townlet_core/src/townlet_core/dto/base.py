"""The base of every result: frozen, versioned, and closed to unknown fields."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ResultBase(BaseModel):
    """What every DTO shares; numbers may be NaN only where a field's description says so (as None)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArtefactReference(ResultBase):
    """Where a trained policy lies, and what it is down to the byte."""

    path: str = Field(description="Directory of the artefact, relative to the run directory.")
    digest: str = Field(
        description="SHA-256 over the artefact's files, as hexadecimal digits.", pattern="^[0-9a-f]{64}$"
    )
    kind: Literal["last", "best"] = Field(description="Whether these are the last weights or the best evaluated ones.")


class TrainingResultBase(ResultBase):
    """What every strategy returns; third parties subclass it and add their own fields."""

    schema_version: Literal["2.0"] = Field(
        default="2.0", description="Version of the result and telemetry field names."
    )
    strategy: str = Field(description="Name of the strategy that produced this result.")
    duration_sec: float = Field(ge=0.0, description="Wall-clock seconds that the strategy ran.")
    artefact: ArtefactReference | None = Field(
        default=None, description="The trained policy; None when nothing was saved."
    )


CLOCK_FIELDS = frozenset(
    {"duration_sec", "epoch_duration_sec", "steps_per_sec", "samples_per_sec", "log_stream_offset"}
)
"""Fields that measure time or place in a file: left out wherever two runs are compared for equality."""


def without_clock(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` without its clock fields, at every depth."""
    return {name: _without_clock(value) for name, value in record.items() if name not in CLOCK_FIELDS}


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return without_clock(value)
    return [_without_clock(part) for part in value] if isinstance(value, list) else value
