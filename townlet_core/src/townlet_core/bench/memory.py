"""What the system says about the memory of a process."""

from __future__ import annotations

import sys
from pathlib import Path

from townlet_core.errors import UnavailableError

MEGABYTE = 1 << 20


def require_memory_figures() -> None:
    """Check that this system tells how much memory a process has.

    Raises:
        UnavailableError: it does not.
    """
    if sys.platform != "linux":
        raise UnavailableError("this benchmark reads the memory of processes from /proc, which only Linux has")


def memory_of(process: int | str) -> dict[str, int]:
    """Return the memory of a process, by its number or `self`, in bytes; nothing once it has gone.

    Among the figures are `VmRSS`, what is resident now; `VmHWM`, the most that was; and `RssAnon`, what of it is no
    mapped file.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def megabytes(number: int) -> float:
    """Return a number of bytes in MB, to a tenth."""
    return round(number / MEGABYTE, 1)
