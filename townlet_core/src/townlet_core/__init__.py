"""Townlet: train, evaluate and run policies that steer populations of agents.

The names below are the Python API; each is imported when it is first used, so that `import townlet_core` is quick and
needs nothing but the standard library.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_core.config.root import SimulationConfig
    from townlet_core.context import AnnealContext, PPOState, TrainingContext
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.dto.bc import BCTrainingResultDTO
    from townlet_core.dto.ppo import PPOTrainingResultDTO
    from townlet_core.errors import TorchNotAvailableError, TownletError
    from townlet_core.orchestrator import PolicyTrainingOrchestrator, TrainingOrchestrator
    from townlet_core.plugins.requirements import torch_available
    from townlet_core.services import TrainingServices
    from townlet_core.strategy import TrainingStrategy

    __version__: str

__all__ = [
    "AnnealContext",
    "BCTrainingResultDTO",
    "PPOState",
    "PPOTrainingResultDTO",
    "PolicyTrainingOrchestrator",
    "SimulationConfig",
    "TorchNotAvailableError",
    "TownletError",
    "TrainingContext",
    "TrainingOrchestrator",
    "TrainingResultBase",
    "TrainingServices",
    "TrainingStrategy",
    "__version__",
    "torch_available",
]

_HOMES = {
    "AnnealContext": "context",
    "BCTrainingResultDTO": "dto.bc",
    "PPOState": "context",
    "PPOTrainingResultDTO": "dto.ppo",
    "PolicyTrainingOrchestrator": "orchestrator",
    "SimulationConfig": "config.root",
    "TorchNotAvailableError": "errors",
    "TownletError": "errors",
    "TrainingContext": "context",
    "TrainingOrchestrator": "orchestrator",
    "TrainingResultBase": "dto.base",
    "TrainingServices": "services",
    "TrainingStrategy": "strategy",
    "torch_available": "plugins.requirements",
}


def __getattr__(name: str) -> object:
    """Import a public name where it lives, once (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("townlet-core")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"townlet_core.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'townlet_core' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names too, for completion in a shell."""
    return sorted({*globals(), *__all__})
