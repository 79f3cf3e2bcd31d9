"""The few array operations that a network is written in, so that NumPy and torch run one description.

Rows come stacked by logical shard: inputs are (S, B, F) and no product mixes shards, so that a row's bytes depend on
its place within its own shard only.

Legend: S shards, B rows of a shard, F features, D outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from townlet_core.arrays import Array


class Operations(Protocol):
    """What an encoder may use; every operation takes and returns (S, B, ...) arrays of the library in use."""

    def linear(self, inputs: Any, weight: Any, bias: Any) -> Any:
        """Return ``inputs @ weight + bias``: (S, B, F) by a weight (F, D) and a bias (D,)."""
        ...

    def tanh(self, inputs: Any) -> Any:
        """Return the hyperbolic tangent."""
        ...

    def relu(self, inputs: Any) -> Any:
        """Return ``max(inputs, 0)``."""
        ...

    def concatenate(self, parts: list[Any]) -> Any:
        """Join along the last axis."""
        ...


class NumpyOperations:
    """The operations on NumPy arrays."""

    def linear(self, inputs: Array, weight: Array, bias: Array) -> Array:
        """Return ``inputs @ weight + bias``, one product per shard."""
        outputs: Array = np.matmul(inputs, weight)
        outputs += bias
        return outputs

    def tanh(self, inputs: Array) -> Array:
        """Return the hyperbolic tangent."""
        return np.asarray(np.tanh(inputs))

    def relu(self, inputs: Array) -> Array:
        """Return ``max(inputs, 0)``."""
        return np.asarray(np.maximum(inputs, 0))

    def concatenate(self, parts: list[Array]) -> Array:
        """Join along the last axis; a single part is returned as it is."""
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
