"""The arrays of a block of worlds, laid out once in one buffer: private memory, or memory shared with workers.

Legend: N worlds, K actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.spaces import action_count, flatten_space

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.spaces import Space

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockArrays:
    """What a block of worlds writes, and its actions.

    Attributes:
        observations: (N, ...) for each leaf, in the order of `flatten_space`.
        final_observations: like `observations`; rows are valid where an episode has just ended.
        actions: (N,) int64 for Discrete, else (N, ...) in the shape and dtype of the world's own action space.
        action_mask: (N, K) bool; K = 0 for Box.
        rewards: (N,) float32.
        terminations: (N,) bool.
        truncations: (N,) bool.
        episode_starts: (N,) bool.
        episodes: (N,) int64, resets of this world after the first.
        ages: (N,) int64, steps made in the current episode.
        current: (N,) int64; element 0 is the world that is being stepped, counted within the block.
    """

    observations: tuple[Array, ...]
    final_observations: tuple[Array, ...]
    actions: Array
    action_mask: Array
    rewards: Array
    terminations: Array
    truncations: Array
    episode_starts: Array
    episodes: Array
    ages: Array
    current: Array

    def rows(self, start: int, stop: int) -> BlockArrays:
        """Return views of worlds `start` to `stop` (exclusive)."""
        parts: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            parts[part.name] = (
                tuple(leaf[start:stop] for leaf in value) if isinstance(value, tuple) else value[start:stop]
            )
        return BlockArrays(**parts)


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Shapes and dtypes of the arrays of `num_worlds` worlds."""

    num_worlds: int
    observation_space: Space
    action_space: Space

    def num_bytes(self) -> int:
        """Return the size of the buffer."""
        return sum(_aligned(self._size(shape, dtype)) for shape, dtype in self._columns())

    def arrays(self, buffer: Any) -> BlockArrays:
        """Return the arrays as views of a zeroed buffer of `num_bytes` bytes."""
        offset, views = 0, []
        for shape, dtype in self._columns():
            views.append(np.ndarray((self.num_worlds, *shape), dtype, buffer, offset))
            offset += _aligned(self._size(shape, dtype))
        leaves = len(flatten_space(self.observation_space))
        names = [part.name for part in fields(BlockArrays)][2:]
        rest = dict(zip(names, views[2 * leaves :], strict=True))
        return BlockArrays(
            observations=tuple(views[:leaves]), final_observations=tuple(views[leaves : 2 * leaves]), **rest
        )

    def _size(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
        return math.prod(shape) * dtype.itemsize * self.num_worlds

    def _columns(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and dtype of one world's row, in the order of the fields of `BlockArrays`."""
        leaves = [(leaf.shape or (), np.dtype(leaf.dtype)) for leaf in flatten_space(self.observation_space).values()]
        flag, number = ((), np.dtype(bool)), ((), np.dtype(np.int64))
        action = (
            number
            if isinstance(self.action_space, spaces.Discrete)
            else (self.action_space.shape or (), np.dtype(self.action_space.dtype))
        )
        mask = ((action_count(self.action_space),), np.dtype(bool))
        reward = ((), np.dtype(np.float32))
        return [*leaves, *leaves, action, mask, reward, flag, flag, flag, number, number, number]


def _aligned(num_bytes: int) -> int:
    return max(1, -(-num_bytes // _ALIGNMENT)) * _ALIGNMENT
