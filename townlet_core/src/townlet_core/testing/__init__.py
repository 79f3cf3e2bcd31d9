"""Checks that authors of plugins and environments run in their own tests; each finding explains itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from townlet_core.testing.environment import check_environment, environment_findings

_HOMES = {
    "check_environment": "townlet_core.testing.environment",
    "environment_findings": "townlet_core.testing.environment",
}

__all__ = ["check_environment", "environment_findings"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
