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
        description="What HOLD does to the streak of policies that passed: interval leaves it as it is, legacy ends it, "
        "as the earlier simulator did.",
    )
