"""From the actions of policies (counted from 0, one axis) to the actions that a world's own action space holds.

Legend: N worlds, D action dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.arrays import is_finite
from townlet_core.errors import DataError
from townlet_core.spaces import flatten_action_space, leaf_start

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.spaces import Space


class ActionCodec:
    """Checks one batch of actions and converts it.

    Args:
        space: the world's own action space.
        num_worlds: N.
    """

    def __init__(self, space: Space, num_worlds: int) -> None:
        self._space = space
        self._start = leaf_start(space)
        self._shape: tuple[int, ...]
        self._limit: Any = None
        if isinstance(space, spaces.Discrete):
            self._shape = (num_worlds, 1)
            self._limit = np.uint64(space.n)
            self._world_shape: tuple[int, ...] = (num_worlds,)
        else:
            seen = flatten_action_space(space)
            self._shape = (num_worlds, 1, *(seen.shape or ()))
            self._world_shape = (num_worlds, *(space.shape or ()))
            if isinstance(space, spaces.MultiDiscrete):
                self._limit = space.nvec.astype(np.uint64)

    def prepare(self, actions: Array) -> Array:
        """Return a fresh or the same array: (N,) int64 for Discrete, else (N, ...) in the world's shape and dtype.

        Args:
            actions: (N, 1) or (N, 1, D) integers, or (N, 1, D) floats for Box, which are clipped to its bounds (and
                rounded where the space holds integers).

        Raises:
            DataError: the shape or type is wrong, a choice does not exist, or a number is not finite.
        """
        actions = np.asarray(actions)
        if actions.shape != self._shape:
            raise DataError(f"actions have shape {actions.shape}, expected {self._shape} (worlds, agents, ...)")
        if self._limit is None:
            return self._prepare_box(actions)
        if actions.dtype != np.int64:
            if actions.dtype.kind not in "iu":
                raise DataError(f"actions have dtype {actions.dtype}, expected int64")
            actions = actions.astype(np.int64)
        choices = actions.reshape(self._world_shape)
        if (
            np.count_nonzero(choices.view(np.uint64) < self._limit) != choices.size
        ):  # a negative number is a huge unsigned one
            world = int(np.argwhere(choices.view(np.uint64) >= self._limit)[0][0])
            raise DataError(
                f"the action of world {world} is {choices[world].tolist()}; each is 0 to below {self._limit.tolist()}"
            )
        if self._start is not None:
            choices = choices + self._start
        return choices.astype(np.int64 if choices.ndim == 1 else self._space.dtype, copy=False)

    def _prepare_box(self, actions: Array) -> Array:
        if actions.dtype.kind not in "fiu":
            raise DataError(f"actions have dtype {actions.dtype}, expected float32")
        if not is_finite(actions):
            world = int(np.argwhere(~np.isfinite(actions))[0][0])
            raise DataError(
                f"the action of world {world} is {actions[world].ravel().tolist()}: the policy gives no finite numbers"
            )
        space: Any = self._space
        numbers = actions.reshape(self._world_shape)
        if space.dtype.kind in "iu":
            numbers = np.rint(numbers.astype(np.float64))
        clipped: Array = np.clip(numbers, space.low, space.high).astype(space.dtype)
        return clipped
