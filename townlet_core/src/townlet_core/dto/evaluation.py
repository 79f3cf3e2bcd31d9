"""What an evaluation returns: one row per episode, so that every summary can be recomputed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase


class EpisodeResult(ResultBase):
    """One seed, run once."""

    seed: int = Field(ge=0, description="Seed of the episode.")
    episode_return: float = Field(description="Sum of rewards, mean over the agent slots.")
    length: int = Field(ge=1, description="Steps of the world until every agent's episode had ended.")
    reward_mean: float | None = Field(
        default=None,
        description="Mean reward of an agent in a step; comparable where lives are of different lengths.",
    )
    truncated: bool = Field(description="Whether a time limit, and not the process itself, ended it.")


class EvaluationResultDTO(ResultBase):
    """Every seed of the list, in its order, each run exactly once."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    environment: str = Field(description="Name of the environment.")
    artefact_digest: str = Field(description="Digest of the evaluated artefact; empty for a policy that is not one.")
    deterministic: bool = Field(description="Whether the most likely action was taken, instead of a sample.")
    episodes: tuple[EpisodeResult, ...] = Field(min_length=1, description="One result for each seed.")
    return_mean: float = Field(description="Mean of the episode returns.")
    return_std: float = Field(ge=0.0, description="Their standard deviation (n in the denominator).")
    return_min: float = Field(description="The smallest.")
    return_max: float = Field(description="The largest.")
    reward_mean: float | None = Field(default=None, description="Mean of the episodes' mean rewards.")
    length_mean: float = Field(gt=0.0, description="Mean episode length, in steps.")
    duration_sec: float = Field(ge=0.0, description="Wall-clock seconds.")
