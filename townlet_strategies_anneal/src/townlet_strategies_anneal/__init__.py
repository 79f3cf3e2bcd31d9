"""Scheduled hand-over between strategies for Townlet: stages by name, a verdict for each, the best policy of all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from townlet_strategies_anneal.settings import AnnealSettings as AnnealSettings
    from townlet_strategies_anneal.strategy import AnnealStrategy as AnnealStrategy

_EXPORTS = {
    "AnnealSettings": "townlet_strategies_anneal.settings",
    "AnnealStrategy": "townlet_strategies_anneal.strategy",
}

__all__ = ["AnnealSettings", "AnnealStrategy"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
