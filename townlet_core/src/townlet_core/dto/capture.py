"""What a capture returns: how much was recorded, and where it lies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase


class CaptureResultDTO(ResultBase):
    """One capture; with `--append`, what it added."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    dataset: str = Field(description="Directory of the dataset.")
    dataset_digest: str = Field(description="SHA-256 of its dataset.json, which stands for every byte of it.")
    dataset_bytes: int = Field(ge=0, description="Bytes of all its shards.")
    environment: str = Field(description="Name of the environment.")
    policy: str = Field(description="Who acted.")
    policy_digest: str = Field(description="Digest of the artefact that acted; empty for a script.")
    deterministic: bool = Field(description="Whether the most likely action was taken, instead of a sample.")
    world_episodes: int = Field(ge=0, description="World-episodes that were recorded, each under its own seed.")
    episodes: int = Field(ge=0, description="Lives of agents that were recorded, and stretches of long ones.")
    agent_steps: int = Field(ge=0, description="Steps of agents that were recorded.")
    terminated: int = Field(ge=0, description="Episodes that ended by themselves.")
    truncated: int = Field(ge=0, description="Episodes that a time limit ended.")
    cut: int = Field(ge=0, description="Episodes in which the recording stopped, or goes on in the next one.")
    return_mean: float | None = Field(description="Mean return of the lives that ended; None where none did.")
    return_std: float | None = Field(description="Their standard deviation (n in the denominator).")
    return_min: float | None = Field(description="The smallest.")
    return_max: float | None = Field(description="The largest.")
    duration_sec: float = Field(ge=0.0, description="Wall-clock seconds.")
    steps_per_sec: float = Field(ge=0.0, description="Agent-steps that were recorded in a second.")
