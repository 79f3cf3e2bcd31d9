"""What an evaluation returns: one row per episode, so that every summary can be recomputed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from townlet_core.dto.base import ResultBase

ScoreName = Literal["episode_return", "reward_mean"]
"""The field of an `EpisodeResult` that policies are compared by."""


class Estimate(ResultBase):
    """What episodes say about a number, with a bootstrap interval of its mean."""

    mean: float = Field(description="Mean over the episodes.")
    iqm: float = Field(description="Interquartile mean: without the lowest and the highest quarter of the episodes.")
    low: float = Field(description="Lower bound of the interval of the mean.")
    high: float = Field(description="Upper bound of it.")
    confidence: float = Field(gt=0.0, lt=1.0, description="Share of resamples between the bounds.")
    num_episodes: int = Field(ge=1, description="Episodes that have the number.")


class EpisodeResult(ResultBase):
    """One seed, run once.

    A world-episode lasts until the world begins anew. In a population that changes, `episode_return`, `length` and
    `truncated` are those of the first life in each slot, and all else is of every agent at every step.
    """

    seed: int = Field(ge=0, description="Seed of the episode.")
    part: int = Field(default=0, ge=0, description="Part of the suite that it belongs to, from 0.")
    episode_return: float = Field(description="Sum of rewards, mean over the agent slots; first lives alone.")
    length: int = Field(ge=1, description="Steps of the world until every first life had ended.")
    truncated: bool = Field(description="Whether a time limit, and not the process itself, ended one of them.")
    reward_mean: float = Field(description="Mean reward of a present agent in a step, over the world-episode.")
    num_steps: int = Field(ge=1, description="Steps of the world-episode.")
    agent_steps: int = Field(ge=1, description="Steps of present agents in it.")
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="Behaviour: sums of the environment's event counts by name, and ratios and means of them.",
    )


class SuitePart(ResultBase):
    """One environment of a suite."""

    environment: dict[str, JsonValue] = Field(description="The settings of the environment, as in a configuration.")
    scenario_digest: str = Field(description="SHA-256 of the town's scenario; empty in other environments.")
    num_episodes: int = Field(ge=1, description="Episodes; their seeds stand with the results.")


class SuiteRecord(ResultBase):
    """Which episodes were run."""

    name: str = Field(description="Name of the suite.")
    digest: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 over environments, scenarios, seeds, and what is the score."
    )
    parts: tuple[SuitePart, ...] = Field(min_length=1, description="Its environments.")


class EvaluationResultDTO(ResultBase):
    """Every seed of the list, in its order, each run exactly once."""

    schema_version: Literal["2.0"] = Field(default="2.0", description="Version of this record.")
    policy: str = Field(default="", description="What was evaluated: a script's name, or where the artefact lay.")
    environment: str = Field(description="Name of the environment; of several, with commas.")
    artefact_digest: str = Field(description="Digest of the evaluated artefact; empty for a policy that is not one.")
    deterministic: bool = Field(description="Whether the most likely action was taken, instead of a sample.")
    suite: SuiteRecord | None = Field(default=None, description="Which episodes; None for a plain list of seeds.")
    episodes: tuple[EpisodeResult, ...] = Field(min_length=1, description="One result for each seed.")
    score_name: ScoreName = Field(description="Which number of an episode is its score.")
    score: Estimate = Field(description="The scores.")
    return_mean: float = Field(description="Mean of the episode returns.")
    return_std: float = Field(ge=0.0, description="Their standard deviation (n in the denominator).")
    return_min: float = Field(description="The smallest.")
    return_max: float = Field(description="The largest.")
    reward_mean: float = Field(description="Mean of the episodes' mean rewards.")
    length_mean: float = Field(gt=0.0, description="Mean episode length, in steps.")
    metrics: dict[str, float] = Field(
        default_factory=dict, description="Mean of each metric over the episodes that have it."
    )
    duration_sec: float = Field(ge=0.0, description="Wall-clock seconds.")

    @property
    def scores(self) -> tuple[float, ...]:
        """The score of each episode."""
        return tuple(float(getattr(episode, self.score_name)) for episode in self.episodes)
