"""Which device a run uses, and how many threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from threadpoolctl import threadpool_limits

from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

Precision = Literal["float32", "tf32", "bfloat16"]


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: torch does not know the name, or was built without it, or there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"training.device: '{name}' cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def describe_device(name: str) -> str:
    """Return the device called `name`, which one that is, and whose kernels torch has there: bytes depend on them.

    Raises:
        ConfigError: as in `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"{device}, {torch.backends.cpu.get_cpu_capability()} kernels"


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Make matrix products in another arithmetic, and then as before."""
    if precision == "bfloat16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch and NumPy's matrix products use `count` threads, and then as many as before.

    A run's bytes depend on that number, and a program may do other things than train.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
