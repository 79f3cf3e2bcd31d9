"""The array types of the code, whether all numbers of an array are finite, and memory that begins where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Observations = dict[str, Array]

_SMALL = 4096
_ALIGNMENT = 64


def is_finite(array: Array) -> bool:
    """Return whether every number is finite; integers and booleans always are.

    Of a large array the sum is looked at first: it is finite whenever every number is and nothing overflows, at a
    fraction of the cost.
    """
    if array.dtype.kind != "f":
        return True
    if array.size <= _SMALL:
        return bool(np.count_nonzero(np.isfinite(array)) == array.size)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def aligned_empty(size: int, dtype: DTypeLike) -> Array:
    """Return an uninitialised flat array (size,) whose memory begins at a multiple of 64 bytes.

    The last bits of a small matrix product depend on where its operands lie; what NumPy allocates lies anywhere.
    """
    kind = np.dtype(dtype)
    buffer = np.empty(size * kind.itemsize + _ALIGNMENT, np.uint8)
    begin = -buffer.ctypes.data % _ALIGNMENT
    return buffer[begin : begin + size * kind.itemsize].view(kind)
