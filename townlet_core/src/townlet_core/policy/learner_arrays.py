"""The arrays of a learner's checkpoint: observation moments, and whether loaded arrays are those of this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.inputs import Moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array


def require_alike(arrays: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Raise `ValueError` where the names, types or shapes of two sets of arrays differ."""
    for name in sorted(arrays.keys() ^ expected.keys()):
        raise ValueError(f"'{name}' is {'missing' if name in expected else 'not part of this run'}")
    for name, array in arrays.items():
        wanted = expected[name]
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            raise ValueError(f"'{name}' is {array.dtype}{array.shape}, expected {wanted.dtype}{wanted.shape}")


def moment_arrays(prefix: str, moments: Moments) -> dict[str, Array]:
    """Return `moments` as arrays whose names begin with `prefix`."""
    return {
        f"{prefix}.count": np.array([moments.count]),
        f"{prefix}.mean": np.asarray(moments.mean, order="C"),
        f"{prefix}.variance": np.asarray(moments.variance, order="C"),
    }


def moments_of(arrays: Mapping[str, Array], prefix: str) -> Moments:
    """Return the moments that `moment_arrays` wrote; raises `KeyError` where they are missing."""
    return Moments(float(arrays[f"{prefix}.count"][0]), arrays[f"{prefix}.mean"], arrays[f"{prefix}.variance"])
