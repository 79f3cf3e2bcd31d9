"""The settings of anneal."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from townlet_core.config.base import Settings
from townlet_core.config.suite import MAX_EPISODES


class ScheduleEntry(Settings):
    """One entry of `strategies.anneal.schedule`."""

    cycle: int = Field(ge=0, le=1_000_000_000, description="Where it stands; entries run in this order. [cycles]")
    mode: str = Field(min_length=1, max_length=256, description="Strategy of the stage; any that is installed.")
    epochs: int = Field(
        ge=1,
        le=1_000_000,
        description="How long: updates where the strategy has the setting num_updates, as ppo has, else its "
        "num_epochs: passes over the demonstrations with bc. [epochs]",
    )
    bc_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight of the demonstrations: with it the stage's reference_kl_coef and demonstration_coef fall. "
        "[1]",
    )
    blend: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="blend_share of the stage, where its strategy has it; null = that of anneal x bc_weight. [1]",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further settings of the stage's strategy, by field name."
    )


class Guardrail(Settings):
    """One entry of `strategies.anneal.guardrails`: a metric that must not become worse."""

    metric: str = Field(min_length=1, max_length=256, description="A metric of evaluations, such as faint_events.")
    direction: Literal["higher", "lower"] = Field(default="higher", description="Which way is worse.")
    tolerance: float = Field(
        default=0.15, ge=0, le=1e6, description="How much worse is allowed, as a share of the baseline's mean. [1]"
    )
    slack: float = Field(
        default=0.0,
        ge=0,
        le=1e12,
        description="How much worse is allowed at least, however small that mean is. [the metric's]",
    )
    confirm: bool = Field(
        default=True,
        description="Whether the interval decides, so that too few episodes are HOLD; else the mean difference does.",
    )


DEFAULT_SCHEDULE = (
    ScheduleEntry(cycle=0, mode="bc", epochs=60, bc_weight=1.0),
    ScheduleEntry(cycle=1, mode="ppo", epochs=20, bc_weight=0.5),
    ScheduleEntry(cycle=2, mode="ppo", epochs=20, bc_weight=0.2),
    ScheduleEntry(cycle=3, mode="ppo", epochs=40, bc_weight=0.0),
)
DEFAULT_GUARDRAILS = (
    Guardrail(metric="faint_events", slack=0.5),
    Guardrail(metric="attendance", direction="lower", slack=0.02),
    Guardrail(metric="queue_conflict_events", slack=1.0),
    Guardrail(metric="queue_conflict_intensity_sum", slack=0.5),
)


class AnnealSettings(Settings):
    """The section `strategies.anneal`."""

    schedule: tuple[ScheduleEntry, ...] = Field(
        default=DEFAULT_SCHEDULE,
        min_length=1,
        max_length=1_000,
        description="The stages: entries of cycle, mode, epochs, bc_weight, blend and options.",
    )
    accuracy_threshold: float = Field(
        default=0.9, ge=0, le=1, description="Held-out accuracy that the gate of a cloning stage asks for. [1]"
    )
    return_share: float | None = Field(
        default=0.5,
        ge=0,
        le=1,
        description="What the clone's score must reach, as a share of the way from random to its demonstrator; null = "
        "not asked for. [1]",
    )
    suite: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Name or file of the suite that policies are compared on; null = the run's own environment.",
    )
    evaluate_episodes: int = Field(
        default=32,
        ge=1,
        le=MAX_EPISODES // 4,
        description="Episodes in the run's own environment, where no suite is named. [episodes]",
    )
    evaluate_deterministic: bool = Field(
        default=False, description="Whether policies take the most likely actions there, instead of samples."
    )
    more_episodes: int = Field(
        default=4,
        ge=1,
        le=4,
        description="How many times as many episodes are run where those cannot tell, before a stage is held. [1]",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        le=1e12,
        description="How much worse than the clone still counts as not worse; null = margin_share. [score]",
    )
    margin_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The same as a share of the way from random to the clone, or of the clone's score where random "
        "cannot act. [1]",
    )
    min_gain: float | None = Field(
        default=None,
        ge=-1e12,
        le=1e12,
        description="How much better than the clone the last stage has to be; null = not worse is enough. Without a "
        "clone it has to be better than random, and by this at least. [score]",
    )
    guardrails: Literal["default"] | tuple[Guardrail, ...] = Field(
        default="default",
        description="What else must not become worse than with the clone and its demonstrator: a list of metric, "
        "direction, tolerance, slack and confirm; or default: faints, attendance, queue conflicts and their "
        "intensity. Not looked at with promotion.guardrails=legacy.",
    )
    loss_tolerance: float = Field(
        default=0.10, ge=0, le=1e6, description="Relative change of loss_total from which its flag is raised. [1]"
    )
    queue_tolerance: float = Field(
        default=0.15, ge=0, le=1, description="Relative fall of conflicts from which their flags are raised. [1]"
    )
    entropy_floor: float | None = Field(
        default=None,
        ge=-1e6,
        le=1e6,
        description="Entropy that the stage's last update must have; null = off. [nats]",
    )
    kl_cap: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Mean divergence KL(clone || policy) that is allowed, on what the policy sees in 128 steps of at "
        "most 8 worlds; null = off. [nats]",
    )
    hold_repeats: int = Field(
        default=2, ge=0, le=100, description="Times that a stage is repeated at its weight while it is held. [times]"
    )
    retries: int = Field(
        default=2, ge=0, le=100, description="Times in a run that a failed stage begins again from the best. [times]"
    )
    retry_learning_rate: float = Field(
        default=0.5, gt=0, le=1, description="What the learning rate is multiplied with at each of them. [1]"
    )
    retry_kl_coef: float = Field(
        default=2.0, ge=1, le=1e3, description="What reference_kl_coef is multiplied with at each of them. [1]"
    )
    critic_warmup_updates: int = Field(
        default=30,
        ge=0,
        le=1_000_000,
        description="critic_warmup_updates of stages that take over a policy, where their strategy has it: at most so "
        "many, and fewer where its critic explains the returns earlier. [updates]",
    )
    actor_ramp_updates: int = Field(
        default=10,
        ge=0,
        le=1_000_000,
        description="actor_ramp_updates of the same. [updates]",
    )
    reference_kl_coef: float = Field(
        default=0.3, ge=0, le=1e6, description="reference_kl_coef of a stage of bc_weight 1. [1]"
    )
    demonstration_coef: float = Field(
        default=0.1, ge=0, le=1e6, description="demonstration_coef of a stage of bc_weight 1. [1]"
    )
    blend_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="blend_share of a stage of bc_weight 1, so that a script acts less and less; 0 = off. [1]",
    )

    @field_validator("guardrails", mode="before")
    @classmethod
    def _legacy_is_said_once(cls, guardrails: Any) -> Any:
        if guardrails == "legacy":
            raise ValueError("the rules of the earlier format are chosen once, with promotion.guardrails=legacy")
        return guardrails
