"""The settings of PPO; importing them needs no torch.

Defaults are those with which CartPole-v1 is solved from 10 seeds of 10 (`docs/explanation/ppo.md` has the runs).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from townlet_core.config.network import NetworkSettings


class PPOSettings(NetworkSettings):
    """The section `strategies.ppo`. Names are the field's standard terms (Schulman et al. 2017)."""

    data_mode: Literal["rollout", "replay", "mixed"] = Field(
        default="rollout",
        description="What is learned from: rollout (what the policy does in the environment), replay (a dataset, "
        "without an environment), or mixed (in turns one pass over the dataset and one rollout).",
    )
    dataset: Path | None = Field(
        default=None,
        description="Recorded episodes for replay, mixed and demonstration_coef: the directory of a dataset, or a "
        "manifest or capture directory of the earlier format, which is imported into the run's directory first.",
    )
    allow_scripts: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(),
        max_length=1_000,
        description="Scripts, and policies that took the most likely action every time, whose recorded rows may be "
        "learned from, by the name that the dataset gives them; others are refused, because they did not draw their "
        "actions from the probabilities that were recorded.",
    )
    total_steps: int = Field(
        default=100_000,
        ge=1,
        le=10**13,
        description="Agent-steps to learn from, recorded ones included; the last update is finished, so there may be a "
        "few more. [agent-steps]",
    )
    num_updates: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Updates to make, those of an earlier stage included, instead of total_steps; null = as many as "
        "total_steps take. [updates]",
    )
    num_steps: int = Field(
        default=64, ge=1, le=1_000_000, description="Steps of each world between two updates. [steps]"
    )
    num_epochs: int = Field(default=10, ge=1, le=1_000, description="Passes over each rollout. [passes]")
    num_minibatches: int = Field(default=4, ge=1, le=100_000, description="Minibatches of each pass. [minibatches]")
    learning_rate: float = Field(default=1e-3, gt=0, le=10, description="Step size of Adam. [1]")
    learning_rate_schedule: Literal["constant", "linear"] = Field(
        default="linear", description="Whether the learning rate falls linearly to 0 over total_steps."
    )
    gamma: float = Field(default=0.98, ge=0, le=1, description="Discount of the reward one step later. [1]")
    gae_lambda: float = Field(
        default=0.95, ge=0, le=1, description="Weight of longer returns in the advantage (GAE). [1]"
    )
    clip_range: float = Field(default=0.2, gt=0, le=10, description="How far the probability ratio may leave 1. [1]")
    clip_range_schedule: Literal["constant", "linear"] = Field(
        default="constant", description="Whether the clip range falls linearly to 0 over total_steps."
    )
    value_clip_range: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="How far a value may leave the old one in an update; null = off. [reward]",
    )
    entropy_coef: float = Field(default=0.0, ge=0, le=100, description="Weight of the entropy bonus. [1]")
    value_coef: float = Field(default=0.5, ge=0, le=100, description="Weight of the value loss. [1]")
    max_grad_norm: float | None = Field(
        default=0.5, gt=0, le=1e9, description="Global gradient norm; null = no limit. [1]"
    )
    target_kl: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Stop the passes of an update when kl_k3 of a pass exceeds this; null = off. [nats]",
    )
    adam_epsilon: float = Field(default=1e-5, gt=0, le=1, description="Added to Adam's denominator. [1]")
    critic_warmup_updates: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Updates, at most, in which the critic alone learns, so that a policy that was cloned is not lost "
        "to a critic that knows nothing; actor, shared layers and normaliser stay as they are. [updates]",
    )
    critic_warmup_variance: float = Field(
        default=0.5,
        ge=-1e9,
        le=1,
        description="Explained variance of a rollout's returns that ends this earlier, twice in a row. [1]",
    )
    critic_warmup_rate: float = Field(
        default=10.0,
        gt=0,
        le=1e6,
        description="What the learning rate is multiplied by while the critic learns alone: it has far to go, and "
        "nothing else moves. [1]",
    )
    actor_ramp_updates: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Updates over which the learning rate of all but the critic then rises to its full size. [updates]",
    )
    reference_kl_coef: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Weight of the divergence KL(policy that the run began from || policy), in what is seen. [1]",
    )
    demonstration_coef: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Weight of the mean of -log probability of what the demonstrator did, in rows of `dataset`; "
        "without one, of what the script of blend_share did in the rollout. [1]",
    )
    demonstration_rows: int = Field(
        default=256, ge=1, le=1_048_576, description="Rows of demonstrations beside each minibatch. [rows]"
    )
    protection_schedule: Literal["constant", "linear"] = Field(
        default="linear",
        description="Whether reference_kl_coef and demonstration_coef fall linearly to 0 over total_steps.",
    )
    blend_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the agent-steps of rollouts in which a script acts in the policy's place, drawn for "
        "every agent in every step; those rows teach the critic, and the policy only as demonstrations. [1]",
    )
    blend_policy: str = Field(
        default="scripted",
        min_length=1,
        max_length=256,
        description="Name of that script: random, idle, or one that the environment brings along, as the town does "
        "with scripted.",
    )
    blend_schedule: Literal["constant", "linear"] = Field(
        default="linear", description="Whether blend_share falls linearly to 0 over total_steps."
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        default="float32",
        description="Arithmetic of the matrix products that torch differentiates, as on a GPU: tf32 (19 bits, on a GPU "
        "that has it), bfloat16 (16 bits; weights, losses and gradients stay float32). What NumPy multiplies, acting "
        "and closed forms on the CPU, is float32.",
    )
    normalize_advantages: bool = Field(
        default=True,
        description="Whether each minibatch's advantages are shifted and scaled to mean 0 and deviation 1.",
    )
    normalize_rewards: bool = Field(
        default=False, description="Whether rewards are divided by the running deviation of the discounted return."
    )
    reward_clip: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Limit of a (normalised) reward's size in the update; 10 is usual with normalize_rewards; "
        "null = off. [reward]",
    )
