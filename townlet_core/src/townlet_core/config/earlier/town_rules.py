"""The rules of what an earlier configuration says about the simulation: the town has much of it, under its own names.

Wages, prices and the decay of needs are not among it: their scale is another one in the town, where they balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.config.earlier.fate import Fate, Rule, at, left, same, to

if TYPE_CHECKING:
    from collections.abc import Mapping

_REWARDS = "environment.town.rewards"
_SCALE = "of another scale in the town: environment.town"
_FIXED = "the town has its own: environment.town and environment.scenario"
_SHELL = "no part of training"


def _social_stage(value: Any, old: Mapping[str, Any]) -> Fate:
    if at(old, "training.social_reward_stage_override") is not None:
        return Fate(reason="training.social_reward_stage_override stands above it")
    return Fate(targets={"environment.town.social_stage": value})


TOWN_RULES: dict[str, Rule] = {
    "config_id": left("every run has an id of its own, and a digest of its configuration"),
    "features.stages.social_rewards": _social_stage,
    "features.stages.relationships": left("relationships are always on"),
    "features.systems.observations": to("environment.town.variant", read=same),
    "features.systems.lifecycle": left("lives always end; environment.town.lives.newcomers says what follows"),
    "features.training": left("there is no reward of curiosity"),
    "features.console": left(_SHELL),
    "features.behavior": left(_FIXED),
    "features.observations": left(_FIXED),
    "features.relationship_modifiers": left(_FIXED),
    "rewards.needs_weights.hunger": to(f"{_REWARDS}.hunger_weight"),
    "rewards.needs_weights.hygiene": to(f"{_REWARDS}.hygiene_weight"),
    "rewards.needs_weights.energy": to(f"{_REWARDS}.energy_weight"),
    "rewards.decay_rates": left(f"{_SCALE}.needs"),
    "rewards.wage_rate": left(f"{_SCALE}.employment"),
    "rewards.punctuality_bonus": to(f"{_REWARDS}.punctuality"),
    "rewards.survival_tick": to(f"{_REWARDS}.survival"),
    "rewards.faint_penalty": to(f"{_REWARDS}.faint"),
    "rewards.eviction_penalty": to(f"{_REWARDS}.eviction"),
    "rewards.social.C1_chat_base": to(f"{_REWARDS}.chat_base"),
    "rewards.social.C1_coeff_trust": to(f"{_REWARDS}.chat_trust"),
    "rewards.social.C1_coeff_fam": to(f"{_REWARDS}.chat_familiarity"),
    "rewards.social.C2_avoid_conflict": to(f"{_REWARDS}.avoidance"),
    "rewards.clip.clip_per_tick": to(f"{_REWARDS}.tick_limit"),
    "rewards.clip.clip_per_episode": to(f"{_REWARDS}.life_limit", "of a life, of which an episode has several"),
    "rewards.clip.no_positive_within_death_ticks": to(f"{_REWARDS}.quiet_ticks"),
    "queue_fairness.cooldown_ticks": to("environment.town.queues.cooldown_ticks"),
    "queue_fairness.ghost_step_after": to("environment.town.queues.ghost_step_after"),
    "queue_fairness.age_priority_weight": to("environment.town.queues.age_priority"),
    "employment.grace_ticks": to("environment.town.employment.grace_ticks"),
    "employment.absent_cutoff": to("environment.town.employment.absent_ticks"),
    **{
        f"employment.{name}": left(_FIXED)
        for name in (
            "absence_slack",
            "late_tick_penalty",
            "absence_penalty",
            "max_absent_shifts",
            "attendance_window",
            "daily_exit_cap",
            "exit_queue_limit",
            "exit_review_window",
            "enforce_job_loop",
        )
    },
    "economy": left(f"{_SCALE}.employment"),
    "shaping": left(f"choose its weight: {_REWARDS}.shaping"),
    "curiosity": left("there is no reward of curiosity"),
    "perturbations": left("choose their rates: environment.town.perturbations"),
    **{
        name: left(_FIXED)
        for name in (
            "jobs",
            "conflict",
            "affordances",
            "behavior",
            "personalities",
            "lifecycle",
            "observations_config",
            "embedding_allocator",
            "policy_runtime",
            "world",
        )
    },
    **{name: left(_SHELL) for name in ("telemetry", "console_auth", "snapshot", "runtime", "scheduler")},
}
