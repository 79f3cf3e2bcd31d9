"""The services of a run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.promotion import PromotionService
from townlet_core.services.replay import ReplayDatasetService

if TYPE_CHECKING:
    from townlet_core.config.root import SimulationConfig


@dataclass(frozen=True, slots=True)
class TrainingServices:
    """What strategies share; every service is torch-free and holds no state of a run.

    Attributes:
        replay: finds, reads and summarises recorded experience.
        rollout: collects experience.
        evaluation: scores a policy on a list of seeds.
        promotion: records verdicts, and moves the champion.
    """

    replay: ReplayDatasetService = field(default_factory=ReplayDatasetService)
    rollout: RolloutCaptureService = field(default_factory=RolloutCaptureService)
    evaluation: EvaluationService = field(default_factory=EvaluationService)
    promotion: PromotionService = field(default_factory=PromotionService)

    @classmethod
    def from_config(cls, config: SimulationConfig) -> Self:
        """Return the services for `config`."""
        return cls(promotion=PromotionService.from_config(config))
