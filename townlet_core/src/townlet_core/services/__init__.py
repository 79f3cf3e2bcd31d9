"""What every strategy may use: rollouts, evaluation and promotion, composed in `TrainingServices`."""

from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.promotion import PromotionService
from townlet_core.services.services import TrainingServices

__all__ = ["EvaluationService", "PromotionService", "RolloutCaptureService", "TrainingServices"]
