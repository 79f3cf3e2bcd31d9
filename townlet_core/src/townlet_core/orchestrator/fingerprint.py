"""What a run's bytes depend on besides its configuration: versions, processor, matrix kernels, device."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_info

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDED_PACKAGES = ("townlet-core", "numpy", "gymnasium", "torch")


def installed_versions() -> dict[str, str]:
    """Return the versions that a run's record keeps: Python's, and those of the packages that decide its bytes."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def machine(*, needs_torch: bool, device: str) -> dict[str, str]:
    """Return what a run's record keeps of the machine: `processor`, `architecture`, `blas` and `device`.

    Args:
        needs_torch: whether the strategy does, and has imported it; only then is there a `device`.
        device: the setting `training.device`.

    Raises:
        ConfigError: there is no such device here.
    """
    found = {"processor": processor(), "architecture": platform.machine(), "blas": _blas()}
    if needs_torch:
        from townlet_core.torch.device import describe_device

        found["device"] = describe_device(device)
    return {name: text for name, text in found.items() if text}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words what is not as it was; empty if nothing is."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name, 'absent')} then, {now.get(name, 'absent')} now" for name in names)


def processor() -> str:
    """Return the model of the processor, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (a fixed name)
            names = (line.partition(":")[2] for line in file if line.startswith("model name"))
            name = next(names, "")
    except OSError:
        name = ""
    return " ".join(name.split()) or platform.processor() or platform.machine()


def _blas() -> str:
    """Return NumPy's library of matrix products, its version, and the processor whose kernels it has chosen here."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in found if "numpy" in library["filepath"]] or found
    parts = ("internal_api", "version", "architecture")
    return ", ".join(sorted({" ".join(str(one[part]) for part in parts if one.get(part)) for one in own}))
