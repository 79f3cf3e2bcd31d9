"""Which device a run uses."""

from __future__ import annotations

import torch

from townlet_core.errors import ConfigError


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
