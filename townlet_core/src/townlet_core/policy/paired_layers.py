"""The hidden layers of actor and critic as one: half the calls, and the same products, to the bit.

Legend: F features, D outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from townlet_core.arrays import Array

DenseLayers = tuple[tuple["Array", "Array"], ...]


def paired_layers(actor: DenseLayers, critic: DenseLayers) -> DenseLayers:
    """Return the hidden layers of both, weights (2, 1, F, D) and biases (2, 1, 1, D), actor first.

    They are views, so they change with the weights. Where there can be none, because the layers differ in size or do
    not lie in the same memory, the result is empty.

    Args:
        actor: (weight, bias) of its layers, the last one included.
        critic: the same.
    """
    if len(actor) != len(critic):
        return ()
    pairs = []
    for (weight, bias), (other_weight, other_bias) in zip(actor[:-1], critic[:-1], strict=True):
        weights, biases = _side_by_side(weight, other_weight), _side_by_side(bias, other_bias)
        if weights is None or biases is None:
            return ()
        pairs.append((weights[:, None], biases[:, None, None]))
    return tuple(pairs)


def _side_by_side(first: Array, second: Array) -> Array | None:
    """Return a view (2, ...) of two arrays alike that are views of one array, or None."""
    is_alike = first.shape == second.shape and first.strides == second.strides and first.dtype == second.dtype
    if not is_alike or first.base is None or first.base is not second.base:
        return None
    distance = second.ctypes.data - first.ctypes.data
    return np.lib.stride_tricks.as_strided(first, (2, *first.shape), (distance, *first.strides), writeable=False)
