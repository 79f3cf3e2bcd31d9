"""Which environment, how many worlds of it, and how they are stepped."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from townlet_core.config.base import Settings
from townlet_core.config.town import TownConfig

DEFAULT_SHARD_WORLDS = 8
"""Upper limit of the number of worlds in a shard that nobody chose. [worlds]"""


class EnvironmentConfig(Settings):
    """The section `environment`."""

    name: str | None = Field(
        default="town",
        min_length=1,
        max_length=256,
        description="The environment: 'town' (the built-in one), 'gymnasium:ID' (such as gymnasium:CartPole-v1), "
        "'pettingzoo:MODULE' (such as pettingzoo:mpe2.simple_spread_v3), a plugin's name, or 'python:module:factory' "
        "(which runs that code, so in a file it needs --trust-config).",
    )
    scenario: str = Field(
        default="default",
        min_length=1,
        max_length=4096,
        description="The town's scenario: the name of a shipped one (`townlet scenarios` lists them), or a YAML file.",
    )
    town: TownConfig = Field(default_factory=TownConfig, description="The constants of the town.")
    num_worlds: int = Field(
        default=8,
        ge=1,
        le=65536,
        description="Copies of the environment that are stepped together; part of the experiment. [worlds]",
    )
    worlds_per_shard: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="Worlds in a logical shard, the unit of exactness; must divide num_worlds, part of the experiment. "
        f"Null: the largest divisor of num_worlds that is at most {DEFAULT_SHARD_WORLDS}. [worlds]",
    )
    vectorization: Literal["sync", "workers", "entry_point"] = Field(
        default="sync",
        description="How Gymnasium worlds are stepped: sync (in this process), workers (in num_workers processes, same "
        "bytes), or entry_point (the environment's own batch version: faster, outside the promise of exactness).",
    )
    num_workers: int = Field(default=2, ge=1, le=256, description="Processes for vectorization 'workers'. [processes]")
    step_timeout_sec: float = Field(
        default=60.0, gt=0, le=86400, description="Longest time that a worker may take for one reset or step. [seconds]"
    )
    max_episode_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Time limit of an episode; null keeps the environment's own. [steps]",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keyword arguments for the environment's constructor, such as {g: 9.8}; it checks them.",
    )

    @field_validator("name", "scenario")
    @classmethod
    def _is_printable(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError("it holds a character that cannot be printed")
        return name

    @field_validator("worlds_per_shard")
    @classmethod
    def _divides(cls, worlds_per_shard: int | None, info: ValidationInfo) -> int | None:
        num_worlds = info.data.get("num_worlds")
        if worlds_per_shard is not None and num_worlds is not None and num_worlds % worlds_per_shard:
            lower = _largest_divisor(num_worlds, limit=worlds_per_shard)
            raise ValueError(f"it does not divide num_worlds = {num_worlds}; {lower} does, and null chooses one")
        return worlds_per_shard

    @property
    def shard_worlds(self) -> int:
        """Worlds in a shard, `worlds_per_shard` or what its default resolves to, in worlds."""
        return self.worlds_per_shard or _largest_divisor(self.num_worlds, limit=DEFAULT_SHARD_WORLDS)


def _largest_divisor(number: int, *, limit: int) -> int:
    return next(divisor for divisor in range(min(limit, number), 0, -1) if number % divisor == 0)
