"""What a figure was measured on, so that it can be compared with another one."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from townlet_core.environments.limits import usable_processors
from townlet_core.orchestrator.fingerprint import processor

_PACKAGES = (
    "townlet-core",
    "townlet-strategies-bc",
    "townlet-strategies-ppo",
    "gymnasium",
    "numpy",
    "torch",
    "click",
    "imitation",
)


def describe_machine() -> dict[str, Any]:
    """Return processor, system, versions, and the load of the last minute in runnable processes, None if unknown."""
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "usable_processors": usable_processors(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
