"""What this process may use: the memory that is free now, and processors."""

from __future__ import annotations

import os
from pathlib import Path

from townlet_core.errors import ConfigError


def require_memory(num_bytes: int, *, what: str, remedy: str) -> None:
    """Raise unless `num_bytes` fit into the available memory.

    Args:
        num_bytes: how much is needed.
        what: what needs it, for the message.
        remedy: what the user can change, for the message.

    Raises:
        ConfigError: it does not fit. Where the system does not tell what is available, nothing is checked.
    """
    available = available_memory()
    if available is not None and num_bytes > available:
        raise ConfigError(
            f"{what} need {num_bytes / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB of memory are free: {remedy}"
        )


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes that can be allocated without swapping, or None where the system does not tell."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, amount = line.partition(":")
        if name == "MemAvailable" and amount.split():
            return int(amount.split()[0]) * 1024
    return None
