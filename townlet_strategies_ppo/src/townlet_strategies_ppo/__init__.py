"""Proximal policy optimisation for Townlet."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from townlet_strategies_ppo.settings import PPOSettings as PPOSettings
    from townlet_strategies_ppo.strategy import PPOStrategy as PPOStrategy

_EXPORTS = {"PPOSettings": "townlet_strategies_ppo.settings", "PPOStrategy": "townlet_strategies_ppo.strategy"}

__all__ = ["PPOSettings", "PPOStrategy"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
