"""What this process may use: the memory that is free now, and processors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def usable_processors(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may use: those that it may run on, or their time where that is less.

    Args:
        groups: names the control groups that it is in; containers limit time by them.
        root: where those are.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(share) for share in _shares_of_time(groups, root))]))


def _shares_of_time(groups: Path, root: Path) -> Iterator[float]:
    """Yield the quotas of the process's control groups, those around them included, in processors."""
    for line in _text(groups).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / controllers  # version 2 has one tree, and no names of controllers
        own = mount / path.lstrip("/")
        for group in (own, *own.parents):
            yield from _share(group, is_first_version=bool(controllers))
            if group == mount:
                break


def _share(group: Path, *, is_first_version: bool) -> Iterator[float]:
    """Yield the quota of one control group; none where it has none, or is not there."""
    if is_first_version:
        quota = [_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    else:
        quota = _text(group / "cpu.max").split()
    if len(quota) == 2 and all(number.isdecimal() for number in quota) and int(quota[1]):
        yield int(quota[0]) / int(quota[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


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
