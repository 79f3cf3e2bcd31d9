"""What telemetry says of the anneal schedule that a run is a stage of, whatever its strategy."""

from __future__ import annotations

from pydantic import Field

from townlet_core.dto.base import ResultBase


class AnnealFields(ResultBase):
    """Where in an anneal schedule the run stands; all None outside of one (telemetry 1.2)."""

    anneal_cycle: int | None = Field(default=None, description="Cycle of the schedule.")
    anneal_stage: str | None = Field(default=None, description="Stage of the schedule.")
    anneal_dataset: str | None = Field(default=None, description="Label of the dataset.")
    anneal_bc_accuracy: float | None = Field(default=None, description="Held-out accuracy of the cloned policy.")
    anneal_bc_threshold: float | None = Field(default=None, description="Accuracy that the gate asked for.")
    anneal_bc_passed: bool | None = Field(default=None, description="Whether the gate was passed.")
    anneal_loss_baseline: float | None = Field(default=None, description="loss_total of the previous PPO stage.")
    anneal_queue_baseline: float | None = Field(
        default=None, description="Queue conflict events of the previous PPO stage."
    )
    anneal_intensity_baseline: float | None = Field(
        default=None, description="Conflict intensity of the previous PPO stage."
    )
    anneal_loss_flag: bool | None = Field(default=None, description="Loss left its tolerance.")
    anneal_queue_flag: bool | None = Field(default=None, description="Conflict events left their tolerance.")
    anneal_intensity_flag: bool | None = Field(default=None, description="Conflict intensity left its tolerance.")
