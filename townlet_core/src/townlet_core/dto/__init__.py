"""What the user gets: frozen, versioned results."""

from townlet_core.dto.anneal import AnnealStageResultDTO, AnnealSummaryDTO
from townlet_core.dto.base import ArtefactReference, ResultBase, TrainingResultBase
from townlet_core.dto.bc import ActionMetrics, BCTelemetry, BCTrainingResultDTO
from townlet_core.dto.evaluation import EpisodeResult, EvaluationResultDTO
from townlet_core.dto.ppo import PPOTelemetry, PPOTrainingResultDTO
from townlet_core.dto.promotion import PromotionEvidence, PromotionOutcome, PromotionStatus, ReleaseEvent

__all__ = [
    "ActionMetrics",
    "AnnealStageResultDTO",
    "AnnealSummaryDTO",
    "ArtefactReference",
    "BCTelemetry",
    "BCTrainingResultDTO",
    "EpisodeResult",
    "EvaluationResultDTO",
    "PPOTelemetry",
    "PPOTrainingResultDTO",
    "PromotionEvidence",
    "PromotionOutcome",
    "PromotionStatus",
    "ReleaseEvent",
    "ResultBase",
    "TrainingResultBase",
]
