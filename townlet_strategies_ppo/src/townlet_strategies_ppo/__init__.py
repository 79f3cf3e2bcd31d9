"""Proximal policy optimisation for Townlet; importing this package imports no torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_strategies_ppo.settings import PPOSettings
    from townlet_strategies_ppo.strategy import PPOStrategy

__all__ = ["PPOSettings", "PPOStrategy"]

_HOMES = {"PPOSettings": "settings", "PPOStrategy": "strategy"}


def __getattr__(name: str) -> object:
    """Import a public name where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'townlet_strategies_ppo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"townlet_strategies_ppo.{_HOMES[name]}"), name)
