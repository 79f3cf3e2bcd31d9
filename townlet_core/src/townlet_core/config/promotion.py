"""How policies become releases: where those are kept, and what a promotion takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from townlet_core.config.base import Settings


class PromotionConfig(Settings):
    """The section `promotion`."""

    releases_dir: Path | None = Field(
        default=None, description="Directory of the releases; null = `releases` beside `training.runs_dir`."
    )
    required_passes: int = Field(
        default=2,
        ge=1,
        le=1_000_000,
        description="Different policies that have to pass in a row before one of them may be promoted. [policies]",
    )
    guardrails: Literal["interval", "legacy"] = Field(
        default="interval",
        description="Whose rules decide: interval, or legacy, those of the earlier simulator: in anneal its three "
        "flags alone, and HOLD ends the streak of policies that passed, which interval leaves as it is.",
    )
    suite: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Suite, by name or file, on which a policy is compared with the champion; null = the suite town "
        "for policies of the town, for others episodes of their own environment.",
    )
    episodes: int = Field(
        default=100,
        ge=1,
        le=1_000_000,
        description="Episodes of such a comparison in the policy's own environment. [episodes]",
    )
    margin: float = Field(
        default=0.0,
        ge=0.0,
        le=1e12,
        description="How much worse than the champion still counts as not worse, in units of the score. [score]",
    )
    deterministic: bool = Field(
        default=False,
        description="Whether policies take the most likely action when they are compared, instead of a sample: in the "
        "town, the most likely action alone may wait for ever.",
    )
