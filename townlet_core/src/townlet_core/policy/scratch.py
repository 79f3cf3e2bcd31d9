"""Memory that is used again: arrays by name, whose shards all begin at multiples of 64 bytes.

The last bits of a small matrix product depend on where its operands lie. With each shard at such a multiple, its bytes
are the same whichever other shards it is stacked with, and in every process.

Legend: S shards.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.arrays import aligned_empty

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from townlet_core.arrays import Array

_ALIGNMENT = 64


class Scratch:
    """Uninitialised arrays; one of a name holds until the name is asked for again."""

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}
        self._views: dict[tuple[str, tuple[int, ...], DTypeLike], Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
        """Return the array of that name, (S, ...), in the memory that it had before where that is large enough."""
        view = self._views.get((name, shape, dtype))
        return self._make(name, shape, dtype) if view is None else view

    def _make(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        kind, num_shards, size = np.dtype(dtype), shape[0], prod(shape[1:])
        stride = -(-size * kind.itemsize // _ALIGNMENT) * _ALIGNMENT
        memory = self._memory.get(name)
        if memory is None or memory.size < num_shards * stride:
            self._views = {key: view for key, view in self._views.items() if key[0] != name}
            memory = self._memory[name] = aligned_empty(num_shards * stride, np.uint8)
        by_shard = memory[: num_shards * stride].view(kind).reshape(num_shards, -1)
        view = self._views[name, shape, dtype] = by_shard[:, :size].reshape(shape)
        return view
