"""A suite: an explicit list of environments and seeds, on which policies are evaluated and compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from townlet_core.config.base import Settings
from townlet_core.config.environment import EnvironmentConfig

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
MAX_EPISODES = 1_000_000
"""Most episodes of a suite. [episodes]"""


class SuiteEntry(Settings):
    """Episodes in one environment: under the seeds that are listed, or under `count` of them, drawn from `seed`."""

    environment: EnvironmentConfig = Field(
        default_factory=EnvironmentConfig, description="Where, as in the section `environment` of a configuration."
    )
    seeds: tuple[Seed, ...] = Field(default=(), max_length=MAX_EPISODES, description="Seeds of the episodes. [1]")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="What seeds are drawn from. [1]")
    count: int = Field(default=0, ge=0, le=MAX_EPISODES, description="How many seeds are drawn. [episodes]")


class SuiteConfig(Settings):
    """A suite file."""

    name: str = Field(default="suite", max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="Its name.")
    description: str = Field(default="", max_length=500, description="What it shows, in one line.")
    score: Literal["episode_return", "reward_mean"] | None = Field(
        default=None,
        description="What policies are compared by: the return, or the mean reward of a present agent in a step. Null: "
        "reward_mean in the town, episode_return elsewhere.",
    )
    entries: tuple[SuiteEntry, ...] = Field(default=(), max_length=1000, description="The episodes.")
