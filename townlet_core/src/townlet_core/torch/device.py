"""Which device a run uses, and how many threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads, and then as many as before: a program may do other things than train."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
