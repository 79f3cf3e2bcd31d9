"""What a PPO update reports, field by field; one record per update is the telemetry, the last one is the result.

The names of telemetry 1.0 to 1.2 keep their meaning. `kl_divergence` is mean(old - new log-probability), which may be
negative; `kl_k3` is mean(ratio - 1 - log ratio), which may not, and is what the target-KL stop uses.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.anneal_fields import AnnealFields
from townlet_core.dto.base import ResultBase, TrainingResultBase


class TownFields(ResultBase):
    """Event counts of the town over the rollout; None in environments that do not count them."""

    queue_conflict_events: float | None = Field(default=None, description="Queue conflicts.")
    queue_conflict_intensity_sum: float | None = Field(default=None, description="Sum of their intensities.")
    shared_meal_events: float | None = Field(default=None, description="Meals eaten together.")
    late_help_events: float | None = Field(default=None, description="Shifts covered for a late friend.")
    shift_takeover_events: float | None = Field(default=None, description="Shifts taken over from an absent colleague.")
    chat_success_events: float | None = Field(default=None, description="Chats that went well.")
    chat_failure_events: float | None = Field(default=None, description="Chats that did not.")
    chat_quality_mean: float | None = Field(default=None, description="Mean quality of the chats that went well.")


class BaselineFields(ResultBase):
    """Aggregates of the recorded dataset that a run learns from; None where it learns from rollouts only."""

    baseline_sample_count: float | None = Field(default=None, description="Episodes that are learned from.")
    baseline_reward_mean: float | None = Field(default=None, description="Mean of the episodes' mean rewards.")
    baseline_reward_sum: float | None = Field(default=None, description="Sum of all rewards.")
    baseline_reward_sum_mean: float | None = Field(default=None, description="Mean of the episodes' returns.")
    baseline_log_prob_mean: float | None = Field(
        default=None, description="Mean of the episodes' mean recorded log-probabilities."
    )


class EvaluationFields(ResultBase):
    """How the policy does on the fixed seeds of `training.evaluate_every`; None where it was not evaluated."""

    evaluation_return_mean: float | None = Field(
        default=None, description="Mean return of the evaluation after this update; None where there was none."
    )
    evaluation_return_std: float | None = Field(default=None, description="Its standard deviation over the episodes.")
    evaluation_reward_mean: float | None = Field(
        default=None, description="The same evaluation: mean reward of an agent in a step."
    )
    best_update: int | None = Field(
        default=None, ge=1, description="Update after which the best policy so far was evaluated; of equals, the last."
    )
    best_score: float | None = Field(
        default=None, description="Its evaluation_reward_mean in the town, its evaluation_return_mean elsewhere."
    )


class PPOTelemetry(EvaluationFields, AnnealFields, TownFields, BaselineFields):
    """One update of PPO. Counts are of the whole run where they say so, else of this update."""

    telemetry_version: Literal["2.0"] = Field(default="2.0", description="Version of these names.")
    epoch: int = Field(ge=1, description="Number of this update, from 1 (the name is that of the earlier format).")
    updates: int = Field(ge=0, description="Optimiser steps made in this update (minibatches).")
    transitions: int = Field(ge=0, description="Agent-steps learned from in this update.")
    loss_policy: float = Field(description="Clipped surrogate loss, mean over minibatches weighted by their size.")
    loss_value: float = Field(description="Value loss, 0.5 x squared error.")
    loss_entropy: float = Field(description="Minus the entropy.")
    loss_total: float = Field(
        description="loss_policy + value_coef x loss_value + entropy_coef x loss_entropy + reference_kl_coef x "
        "reference_kl; the demonstrations have a loss of their own."
    )
    clip_fraction: float = Field(ge=0.0, le=1.0, description="Share of samples whose ratio left the clip range.")
    clip_fraction_max: float = Field(ge=0.0, le=1.0, description="Largest clip fraction of a minibatch.")
    clip_triggered_minibatches: int = Field(ge=0, description="Minibatches in which any ratio was clipped.")
    adv_mean: float = Field(description="Mean advantage before normalisation.")
    adv_std: float = Field(ge=0.0, description="Standard deviation of the advantages before normalisation.")
    adv_zero_std_batches: int = Field(ge=0, description="Minibatches whose advantages have a deviation below 1e-8.")
    adv_min_std: float = Field(ge=0.0, description="Smallest deviation of a minibatch's advantages.")
    grad_norm: float = Field(ge=0.0, description="Mean global gradient norm before clipping.")
    grad_norm_max: float = Field(ge=0.0, description="Largest gradient norm of a minibatch.")
    kl_divergence: float = Field(description="mean(old - new log-probability) over all minibatches.")
    kl_divergence_max: float = Field(description="Largest such mean of a minibatch.")
    kl_k3: float = Field(
        description="Estimator k3 of the KL divergence over the last epoch; at least 0 up to rounding."
    )
    lr: float = Field(ge=0.0, description="Learning rate of this update.")
    clip_range: float = Field(ge=0.0, description="Clip range of this update.")
    actor_share: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="What the learning rate of all but the critic was multiplied by; 0 while the critic learns alone.",
    )
    reference_kl: float | None = Field(
        default=None,
        description="Mean divergence KL(policy that the run began from || policy), in nats; None without a weight.",
    )
    demonstration_loss: float | None = Field(
        default=None, description="Mean of -log probability of the demonstrations; None without any."
    )
    scripted_share: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Share of the agent-steps in which a script acted in the policy's place; None without a blend.",
    )
    steps: int = Field(ge=0, description="Optimiser steps made in the whole run.")
    entropy: float = Field(description="Mean entropy of the policy over legal actions, in nats.")
    batch_entropy_mean: float = Field(description="Mean of the minibatches' entropies.")
    batch_entropy_std: float = Field(ge=0.0, description="Standard deviation of the minibatches' entropies.")
    reward_advantage_corr: float = Field(
        ge=-1.0, le=1.0, description="Correlation of rewards and advantages; 0 when either is constant."
    )
    explained_variance: float | None = Field(
        description="1 - var(returns - values) / var(returns); None when returns are constant."
    )
    rollout_ticks: int = Field(
        ge=0, description="Steps of each world in the rollout; 0 where an update learned from recorded rows."
    )
    data_mode: Literal["rollout", "replay", "mixed"] = Field(
        default="rollout",
        description="Where the run's samples came from; in a mixed run, `rollout_ticks` tells which an update had.",
    )
    cycle_id: int = Field(
        default=0,
        ge=0,
        description="Number of the training cycle, from 0: that of the schedule in an anneal; else the pass over the "
        "dataset, or without one the updates made before.",
    )
    num_epochs_done: int = Field(
        ge=0, description="Passes over the rollout; fewer than asked when the target KL was reached."
    )
    stop_reason: Literal["epochs", "target_kl"] = Field(description="Why the passes ended.")
    agent_steps: int = Field(
        ge=0,
        description="Agent-steps that the whole run has learned from, recorded ones included; reset steps are not "
        "counted.",
    )
    total_steps: int = Field(ge=0, description="Agent-steps that the run is to learn from.")
    episodes: int = Field(
        ge=0, description="Episodes finished in this rollout (an agent's life each); recorded ones do not count."
    )
    episode_return_mean: float | None = Field(
        default=None, description="Over the episodes finished in this rollout; None without any."
    )
    episode_return_std: float | None = Field(default=None, description="The same.")
    episode_return_min: float | None = Field(default=None, description="The same.")
    episode_return_max: float | None = Field(default=None, description="The same.")
    episode_length_mean: float | None = Field(default=None, description="The same, in steps.")
    policy_digest: str = Field(description="SHA-256 of the weights after this update.")
    epoch_duration_sec: float = Field(
        ge=0.0, description="Wall-clock seconds of this update, with its rollout and without an evaluation."
    )
    steps_per_sec: float = Field(ge=0.0, description="Agent-steps per second of this update.")
    log_stream_offset: int = Field(default=0, ge=0, description="Bytes in the telemetry file before this record.")
    conflict: dict[str, float] = Field(
        default_factory=dict, description="Rivalry features: `<feature>_{mean,max}_avg`."
    )
    environment: dict[str, float] = Field(
        default_factory=dict, description="Other event counts of the environment, by name."
    )


class PPOTrainingResultDTO(PPOTelemetry, TrainingResultBase):
    """What a PPO run returns: the telemetry of its last update, and the artefact."""

    episodes_total: int = Field(ge=0, description="Episodes finished in the whole run.")
    num_resumes: int = Field(
        default=0,
        ge=0,
        description="How often the run was taken up again with new episodes. Where the environment can be put back to "
        "where it was, a run goes on within its episodes, to the bytes of an uninterrupted run; that is not counted.",
    )
    episodes_restarted: bool = Field(
        default=False,
        description="Whether a resume began new episodes, because the environment could not be put back to where it "
        "was; the weights then differ from those of an uninterrupted run.",
    )
    exact: bool = Field(description="Whether the environment keeps the promise of equal bytes for an equal seed.")
    num_threads: int = Field(default=1, ge=1, description="Threads that the run learned with.")
    device: str = Field(default="cpu", description="Device that the network was trained on, such as `cpu` or `cuda`.")


def flatten_record(record: PPOTelemetry) -> dict[str, object]:
    """Return the telemetry line of `record`: its two maps become `conflict.x` and `environment.x`."""
    flat = record.model_dump(mode="json")
    for name in ("conflict", "environment"):
        for key, value in flat.pop(name).items():
            flat[f"{name}.{key}"] = value
    return flat
