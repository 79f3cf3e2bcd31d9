"""Whether an optional package is there, and the pip command that brings it, without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from townlet_core.errors import TorchNotAvailableError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.plugins.entries import Entry

FIRST_PARTY_EXTRAS = ("anneal", "bc", "ppo")
"""Strategies that an extra of townlet-core of the same name installs; a distribution without one yet is not here."""


FIRST_PARTY_DISTRIBUTIONS = (
    "townlet-core",
    "townlet-strategies-anneal",
    "townlet-strategies-bc",
    "townlet-strategies-ppo",
)
"""Ours: a crash in one of them is a bug in Townlet."""


def is_installed(package: str) -> bool:
    """Return whether `package` can be found; it is not imported, so a damaged installation still counts as there."""
    try:
        return find_spec(package.partition(".")[0]) is not None
    except (ImportError, ValueError):  # a finder that refuses it; a module without a spec in sys.modules
        return False


def torch_available() -> bool:
    """Return whether torch is installed; torch is not imported."""
    return is_installed("torch")


def missing(packages: Iterable[str]) -> tuple[str, ...]:
    """Return those of `packages` that are not installed, in their order."""
    return tuple(package for package in packages if not is_installed(package))


def install_command(strategy: str) -> str:
    """Return the pip command that installs a first-party strategy, or an empty string for any other name."""
    return f'pip install "townlet-core[{strategy}]"' if strategy in FIRST_PARTY_EXTRAS else ""


def unmet(kind: str, entry: Entry, packages: Iterable[str], *, damage: str = "") -> UnavailableError:
    """Return the error for an entry whose `packages` are not there: one line with the exact pip command.

    Args:
        kind: what the entry is, such as ``"strategy"``.
        entry: the entry that was selected.
        packages: import names of what is missing.
        damage: why they cannot be imported, if they are installed.

    Returns:
        A `TorchNotAvailableError` when torch is among them, an `UnavailableError` otherwise.
    """
    names = tuple(packages)
    if damage:
        problem, command = f"cannot be imported ({damage})", f"pip install --force-reinstall {' '.join(names)}"
    else:
        extra = install_command(entry.name) if kind == "strategy" else ""
        problem, command = "is not installed", extra or f"pip install {' '.join(names)}"
    error = TorchNotAvailableError if "torch" in names else UnavailableError
    return error(f"{kind} '{entry.name}' needs {' and '.join(names)}, which {problem}: {command}")
