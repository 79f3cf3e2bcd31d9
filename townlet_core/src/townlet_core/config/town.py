"""The constants of the town: decay, prices, wages, conflicts, lives, perturbations, rewards and what agents see."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from townlet_core.config.base import Settings

Rate = Annotated[float, Field(ge=0, le=1)]
SocialStage = Literal["OFF", "C1", "C2", "C3"]


class NeedsConfig(Settings):
    """How fast needs fall; 1 is satisfied and 0 the worst."""

    hunger_decay: Rate = Field(default=0.0024, description="Fall of hunger. [1/tick]")
    hygiene_decay: Rate = Field(default=0.0015, description="Fall of hygiene. [1/tick]")
    energy_decay: Rate = Field(default=0.0012, description="Fall of energy. [1/tick]")
    faint_hunger: Rate = Field(default=0.03, description="Hunger at or below which an agent faints. [1]")


class QueuesConfig(Settings):
    """How objects are shared."""

    age_priority: float = Field(default=0.1, ge=0, le=10, description="Waiting ticks that a day of life is worth. [1]")
    ghost_step_after: int = Field(default=3, ge=1, le=100, description="Blocked attempts that break a deadlock. [1]")
    cooldown_ticks: int = Field(
        default=60, ge=0, le=10_000, description="Ticks before an agent may use the same object again. [ticks]"
    )
    fridge_stock: int = Field(default=12, ge=0, le=24, description="Meals in a fridge at first. [meals]")
    fridge_limit: int = Field(default=24, ge=1, le=1000, description="Meals that a fridge holds. [meals]")


class EmploymentConfig(Settings):
    """Shifts, wages, rent."""

    grace_ticks: int = Field(default=5, ge=0, le=1000, description="Missed ticks after which one is late. [ticks]")
    absent_ticks: int = Field(default=30, ge=1, le=1000, description="Missed ticks after which one is absent. [ticks]")
    daily_wage: float = Field(default=3.6, ge=0, le=100, description="Wage of a whole shift. [meals]")
    rent: float = Field(default=0.3, ge=0, le=100, description="Rent, taken at the end of a day. [meals]")
    wallet_limit: float = Field(default=50.0, ge=1, le=1e6, description="Most that a wallet holds. [meals]")


class TiesConfig(Settings):
    """Trust, familiarity and rivalry."""

    trust_decay: Rate = Field(default=0.001, description="Fall of trust and familiarity towards 0. [1/tick]")
    rivalry_decay: Rate = Field(default=0.005, description="Fall of rivalry. [1/tick]")
    most_ties: int = Field(default=6, ge=1, le=63, description="Ties of an agent that count. [ties]")
    rival_threshold: Rate = Field(default=0.7, description="Rivalry from which another agent is avoided. [1]")


class LivesConfig(Settings):
    """How lives end, and who comes after."""

    newcomers: bool = Field(default=True, description="Whether a newcomer moves in where a life has ended.")
    empty_ticks_min: int = Field(default=5, ge=1, le=1000, description="Shortest time a slot is empty. [ticks]")
    empty_ticks_max: int = Field(default=20, ge=1, le=1000, description="Longest time a slot is empty. [ticks]")
    evictions_per_day: int = Field(default=2, ge=0, le=64, description="Evictions of a world in a day. [lives]")
    eviction_spacing_ticks: int = Field(default=120, ge=0, le=10_000, description="Ticks between evictions. [ticks]")

    @field_validator("empty_ticks_max")
    @classmethod
    def _is_not_below(cls, empty_ticks_max: int, info: ValidationInfo) -> int:
        lowest = info.data.get("empty_ticks_min", 1)
        if empty_ticks_max < lowest:
            raise ValueError(f"it must not be below empty_ticks_min = {lowest}")
        return empty_ticks_max


class PerturbationsConfig(Settings):
    """Events that come over a whole world."""

    enabled: bool = Field(default=False, description="Whether they happen by chance (a scenario may force some).")
    price_spike: float = Field(default=0.30, ge=0, le=100, description="Price spikes a day. [1/day]")
    price_factor_min: float = Field(default=1.2, ge=1, le=10, description="Smallest factor of a price spike. [1]")
    price_factor_max: float = Field(default=1.8, ge=1, le=10, description="Largest factor of a price spike. [1]")
    blackout: float = Field(default=0.15, ge=0, le=100, description="Blackouts a day. [1/day]")
    outage: float = Field(default=0.10, ge=0, le=100, description="Failures of the water a day. [1/day]")
    arranged_meet: float = Field(default=0.25, ge=0, le=100, description="Meetings of top rivals a day. [1/day]")
    duration_ticks: int = Field(default=100, ge=1, le=1000, description="How long one lasts. [ticks]")
    recovery_ticks: int = Field(default=200, ge=0, le=10_000, description="Ticks before the same comes again. [ticks]")
    safe_ticks: int = Field(default=60, ge=0, le=1000, description="Ticks after one without evictions. [ticks]")


class RewardsConfig(Settings):
    """What an agent is rewarded for at every tick."""

    survival: float = Field(default=0.002, ge=-1, le=1, description="For being there. [reward/tick]")
    need_scale: float = Field(default=0.1, ge=0, le=10, description="Weight of unmet needs. [reward/tick]")
    hunger_weight: float = Field(default=1.0, ge=0, le=10, description="Weight of hunger among needs. [1]")
    hygiene_weight: float = Field(default=0.6, ge=0, le=10, description="Weight of hygiene among needs. [1]")
    energy_weight: float = Field(default=0.8, ge=0, le=10, description="Weight of energy among needs. [1]")
    wage: float = Field(default=1.0, ge=0, le=100, description="Reward of one meal earned. [reward/meal]")
    punctuality: float = Field(default=0.05, ge=0, le=10, description="Once a shift begun in time. [reward]")
    faint: float = Field(default=-1.0, ge=-100, le=0, description="At a faint. [reward]")
    eviction: float = Field(default=-2.0, ge=-100, le=0, description="At an eviction. [reward]")
    tick_limit: float = Field(default=0.2, gt=0, le=100, description="Largest size of a tick's reward. [reward]")
    life_limit: float = Field(default=50.0, gt=0, le=1e6, description="Largest size of a life's return. [reward]")
    quiet_ticks: int = Field(
        default=10, ge=0, le=1000, description="Ticks after a life's end without positive reward. [ticks]"
    )
    chat_base: float = Field(default=0.01, ge=0, le=1, description="C1: for a successful chat. [reward]")
    chat_trust: float = Field(default=0.3, ge=0, le=1, description="C1: added for each unit of trust. [reward]")
    chat_familiarity: float = Field(default=0.2, ge=0, le=1, description="C1: and of familiarity. [reward]")
    chat_deficit_limit: Rate = Field(default=0.85, description="C1: need deficit above which chats earn nothing. [1]")
    avoidance: float = Field(default=0.005, ge=0, le=1, description="C2: for keeping away from a rival. [reward]")
    shaping: float = Field(
        default=0.0, ge=0, le=10, description="Weight of the potential that rises with satisfied needs; 0 = off. [1]"
    )
    shaping_gamma: Rate = Field(default=0.99, description="Discount that the shaping is exact for. [1]")


class StageChange(Settings):
    """One entry of the social reward schedule."""

    cycle: int = Field(ge=0, le=1_000_000_000, description="First training cycle in which the stage holds. [cycles]")
    stage: SocialStage = Field(description="OFF, C1 (chats), C2 (and avoiding rivals), C3 (chats by their quality).")


class TownConfig(Settings):
    """The section `environment.town`."""

    variant: Literal["hybrid", "full", "compact"] = Field(
        default="hybrid", description="What agents see: hybrid (map and features), full (two more layers), compact."
    )
    map_dtype: Literal["uint8", "float32"] = Field(default="uint8", description="Type of the map's zeros and ones.")
    day_ticks: int = Field(default=1000, ge=10, le=100_000, description="Length of a day. [ticks]")
    social_stage: SocialStage = Field(
        default="OFF", description="Which social rewards there are, where the schedule says nothing."
    )
    social_reward_schedule: tuple[StageChange, ...] = Field(
        default=(),
        max_length=1000,
        description="Social stage by training cycle; the entry with the highest cycle that is reached holds.",
    )
    needs: NeedsConfig = Field(default_factory=NeedsConfig, description="How fast needs fall.")
    queues: QueuesConfig = Field(default_factory=QueuesConfig, description="How objects are shared.")
    employment: EmploymentConfig = Field(default_factory=EmploymentConfig, description="Shifts, wages, rent.")
    ties: TiesConfig = Field(default_factory=TiesConfig, description="Trust, familiarity and rivalry.")
    lives: LivesConfig = Field(default_factory=LivesConfig, description="How lives end, and who comes after.")
    perturbations: PerturbationsConfig = Field(
        default_factory=PerturbationsConfig, description="Events that come over a whole world."
    )
    rewards: RewardsConfig = Field(default_factory=RewardsConfig, description="What agents are rewarded for.")

    def stage_at(self, cycle: int) -> SocialStage:
        """Return the social stage of a training cycle."""
        reached = [change for change in self.social_reward_schedule if change.cycle <= cycle]
        return max(reached, key=lambda change: change.cycle).stage if reached else self.social_stage
