"""The array types of the code, and whether all numbers of an array are finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Observations = dict[str, Array]

_SMALL = 4096


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
