"""The façade: from a configuration to a result, and everything that a run needs in between."""

from townlet_core.orchestrator.orchestrator import PolicyTrainingOrchestrator, TrainingOrchestrator

__all__ = ["PolicyTrainingOrchestrator", "TrainingOrchestrator"]
