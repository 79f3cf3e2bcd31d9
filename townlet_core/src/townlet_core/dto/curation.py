"""What `replay curate` kept, and what it left out by which rule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase
from townlet_core.dto.dataset_summary import PartCount


class SplitCount(PartCount):
    """One part of a split."""

    groups: int = Field(ge=1, description="World-episodes, which are never cut.")
    wanted: float = Field(gt=0, le=1, description="Share of the groups that was asked for.")
    share: float = Field(gt=0, le=1, description="Share of the groups that it has.")


class CurationReport(ResultBase):
    """A dataset that was made, or with `dry_run` would be made, from others."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    path: str = Field(description="Directory of the new dataset.")
    digest: str | None = Field(description="Its digest; None if it was not written.")
    dry_run: bool = Field(description="Whether nothing was written.")
    parents: tuple[str, ...] = Field(description="Directories of the datasets that it is made from.")
    before: PartCount = Field(description="What those have.")
    after: PartCount = Field(description="What the new one has.")
    failed: dict[str, int] = Field(description="Episodes by the first rule that they did not pass.")
    rejected: int = Field(ge=0, description="Episodes in the new dataset that are marked as not accepted.")
    splits: dict[str, SplitCount] = Field(description="Parts of the split; empty without one.")
