"""The whole configuration: one frozen tree of sections."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from townlet_core.config.base import Settings
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.promotion import PromotionConfig
from townlet_core.config.tracking import TrackingConfig
from townlet_core.config.training import TrainingConfig


class SimulationConfig(Settings):
    """Everything that a user can ask for.

    The sections of `strategies` are raw here: their types belong to plugins, and `Registry.resolve_config` checks and
    completes them.
    """

    environment: EnvironmentConfig = Field(
        default_factory=EnvironmentConfig, description="Which environment, and how it is stepped."
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="What every strategy shares.")
    promotion: PromotionConfig = Field(
        default_factory=PromotionConfig, description="How policies become releases, and where those are kept."
    )
    tracking: TrackingConfig = Field(
        default_factory=TrackingConfig, description="Where telemetry goes besides the run directory."
    )
    strategies: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of each strategy, by its name; `townlet config schema` has their fields.",
    )
