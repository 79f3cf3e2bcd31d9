"""What `replay validate` finds wrong with a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase

Severity = Literal["error", "warning", "note"]


class Place(ResultBase):
    """Where something was found; what does not apply is None."""

    file: str | None = Field(default=None, description="File, relative to the dataset.")
    episode: int | None = Field(default=None, description="Number of the episode, counted over all shards.")
    row: int | None = Field(default=None, description="Row of the episode, from 0.")
    column: str | None = Field(default=None, description="Name of the column.")
    detail: str = Field(default="", description="What was found there.")


class Finding(ResultBase):
    """One thing that is wrong, wherever it was found."""

    code: str = Field(description="Its code, such as D101.")
    name: str = Field(description="Its name.")
    severity: Severity = Field(
        description="error: training would fail or lie; warning: worth a look; note: good to know."
    )
    meaning: str = Field(description="What it means.")
    remedy: str = Field(description="What to do.")
    count: int = Field(ge=1, description="How often it was found: rows, episodes, files or columns.")
    places: tuple[Place, ...] = Field(description="The first places.")


class ValidationReport(ResultBase):
    """What was found in a dataset, errors first."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    path: str = Field(description="Directory of the dataset.")
    digest: str = Field(description="Its digest; empty where the manifest cannot be read.")
    against: str | None = Field(default=None, description="The dataset that it was compared with.")
    errors: int = Field(ge=0, description="Codes of severity error that were found.")
    warnings: int = Field(ge=0, description="Codes of severity warning that were found.")
    notes: int = Field(ge=0, description="Codes of severity note that were found.")
    findings: tuple[Finding, ...] = Field(description="Errors first, then warnings and notes, each by code.")
