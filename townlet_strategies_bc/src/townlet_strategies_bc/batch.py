"""A batch as the gradient reads it: prepared float32 inputs beside the recorded actions, masks and returns.

Everything that is multiplied lies in memory that begins at a multiple of 64 bytes and is used again for every batch:
the last bits of a small product depend on where its operands lie.

Legend: B rows, F features, K outputs of the actor, D action dimensions. Inputs have a shard axis of length 1 in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.arrays import aligned_empty
from townlet_core.policy.inputs import input_shapes, prepare_into

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array, Observations
    from townlet_core.policy.inputs import Normalizer
    from townlet_core.policy.spec import PolicySpec

ACTIONS, ACTION_MASK, RETURNS = "actions", "action_mask", "returns"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from.

    Attributes:
        features: (1, B, F) the inputs flattened and joined in the order of their names, for the encoder `flatten`.
        inputs: name -> (1, B, *shape).
        actions: (1, B) int64, (1, B, parts) int64, or (1, B, D) float32.
        action_mask: (1, B, K) bool, or None.
        returns: (1, B) float32 discounted returns, or None without a value regression.
    """

    features: Array
    inputs: Observations
    actions: Array
    action_mask: Array | None
    returns: Array | None

    @property
    def count(self) -> int:
        """B."""
        count: int = self.actions.shape[1]
        return count


class BatchMaker:
    """Makes batches of what a `BatchReader` yields; what it returns holds until the next call.

    Args:
        spec: the network.
        normalizer: moments of the observations; frozen.
        joined: whether the encoder wants all observations in one row; otherwise each has memory of its own.
    """

    def __init__(self, spec: PolicySpec, normalizer: Normalizer, *, joined: bool) -> None:
        self._spaces = spec.observation_spaces
        self._normalizer, self._joined = normalizer, joined
        self._shapes = dict(sorted(input_shapes(self._spaces).items()))
        self._width = sum(prod(shape) for shape in self._shapes.values())
        self._is_gaussian = spec.head.kind == "gaussian"
        self._memory: dict[str, Array] = {}
        (only,) = self._spaces.values() if len(self._spaces) == 1 else (None,)
        self._as_it_is = isinstance(only, spaces.Box) and only.dtype == np.float32 and not normalizer

    def __call__(self, rows: Mapping[str, Array]) -> Batch:
        """Return the batch of `rows`, column -> (B, ...)."""
        actions = rows[ACTIONS]
        mask, returns = rows.get(ACTION_MASK), rows.get(RETURNS)
        features, inputs = self._inputs(rows, len(actions))
        return Batch(
            features=features,
            inputs=inputs,
            actions=actions.astype(np.float32 if self._is_gaussian else np.int64, copy=False)[None],
            action_mask=None if mask is None else mask[None],
            returns=None if returns is None else returns[None],
        )

    def _inputs(self, rows: Mapping[str, Array], count: int) -> tuple[Array, Observations]:
        if self._as_it_is:
            (name,) = self._shapes
            return rows[name].reshape(1, count, -1), {name: rows[name][None]}
        features = self._array("", count, self._width if self._joined else 0)
        inputs, begin = {}, 0
        for name, shape in self._shapes.items():
            size = prod(shape)
            out = features[:, begin : begin + size] if self._joined else self._array(name, count, size)
            prepare_into(self._spaces[name], rows[name], self._normalizer.get(name), out)
            inputs[name] = out.reshape(1, count, *shape) if not self._joined else out[None]
            begin += size
        return features[None], inputs

    def _array(self, name: str, count: int, width: int) -> Array:
        memory = self._memory.get(name)
        if memory is None or memory.size < count * width:
            memory = self._memory[name] = aligned_empty(count * width, np.float32)
        return memory[: count * width].reshape(count, width)
