"""What `policy.inputs` makes of raw observations, on a device: so that a rollout is sent there as it is.

Legend: (..., X) any leading axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from townlet_core.policy.inputs import unsigned_scale


def prepare_tensor(space: spaces.Space[Any], values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what a network is fed, as `policy.inputs.prepare` does, for an observation that is not normalised.

    Args:
        space: its leaf space.
        values: (..., *shape of the space), raw.
        dtype: of the network.
    """
    if isinstance(space, spaces.Discrete):
        return _one_hot(values - int(space.start), int(space.n), dtype)
    if isinstance(space, spaces.MultiDiscrete):
        leading = values.shape[: values.ndim - space.nvec.ndim]
        flat = (values - torch.as_tensor(space.start, device=values.device)).reshape(*leading, -1)
        counts = space.nvec.ravel().tolist()
        return torch.cat([_one_hot(flat[..., part], count, dtype) for part, count in enumerate(counts)], dim=-1)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.unsignedinteger):
        return values.to(dtype) * float(unsigned_scale(space))
    return values.to(dtype)


def _one_hot(indices: torch.Tensor, count: int, dtype: torch.dtype) -> torch.Tensor:
    return (indices.unsqueeze(-1) == torch.arange(count, device=indices.device)).to(dtype)
