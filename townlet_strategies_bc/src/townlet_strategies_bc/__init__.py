"""Behaviour cloning for Townlet."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from townlet_strategies_bc.settings import BCSettings as BCSettings
    from townlet_strategies_bc.strategy import BCStrategy as BCStrategy

_EXPORTS = {"BCSettings": "townlet_strategies_bc.settings", "BCStrategy": "townlet_strategies_bc.strategy"}

__all__ = ["BCSettings", "BCStrategy"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
