"""From raw observations to what a network is fed: float32, one-hot, scaled, and normalised by frozen running moments.

Legend: (..., X) any leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations

VARIANCE_FLOOR = 1e-8
NORMALIZED_LIMIT = 10.0
_NORMALIZED_AT_ONCE = 1 << 16
"""Numbers that are worked on in float64 at a time: half a MB, which stays in a cache."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Running mean and variance of one observation, in float64.

    Attributes:
        count: how many rows were seen.
        mean: mean, shape of one observation.
        variance: variance (n in the denominator), the same shape.
    """

    count: float
    mean: Array
    variance: Array

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """Return moments that have seen nothing and change nothing."""
        return cls(0.0, np.zeros(shape), np.ones(shape))

    def merged(self, rows: Array) -> Moments:
        """Return moments that have also seen `rows` (B, *shape); Chan, Golub and LeVeque 1979, equation 2.1."""
        if len(rows) == 0:
            return self
        values = rows.astype(np.float64)
        mean, variance, count = values.mean(axis=0), values.var(axis=0), float(len(values))
        total = self.count + count
        shift = mean - self.mean
        squares = self.variance * self.count + variance * count + shift**2 * (self.count * count / total)
        return Moments(total, self.mean + shift * (count / total), squares / total)


Normalizer = Mapping[str, Moments]


def empty_normalizer(observation_spaces: Mapping[str, spaces.Space[Any]]) -> dict[str, Moments]:
    """Return empty moments for every observation that can be normalised: Box spaces of floating-point numbers."""
    return {
        name: Moments.empty(space.shape)
        for name, space in sorted(observation_spaces.items())
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    }


def input_shapes(observation_spaces: Mapping[str, spaces.Space[Any]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each prepared observation."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, space in observation_spaces.items():
        if isinstance(space, spaces.Discrete):
            shapes[name] = (int(space.n),)
        elif isinstance(space, spaces.MultiDiscrete):
            shapes[name] = (int(space.nvec.sum()),)
        else:
            shapes[name] = tuple(space.shape or ())
    return shapes


def prepare(
    observation_spaces: Mapping[str, spaces.Space[Any]], observations: Observations, normalizer: Normalizer
) -> Observations:
    """Return what the network is fed, float32.

    Box of floats: as it is, or normalised when `normalizer` has its name (clipped to +-10). Box of unsigned integers:
    divided by its largest upper bound. Discrete and MultiDiscrete: one-hot. MultiBinary: 0 and 1.

    Args:
        observation_spaces: flattened name -> leaf space.
        observations: name -> (..., *shape of the space).
        normalizer: name -> moments; may be empty.
    """
    return {
        name: _prepared(space, observations[name], normalizer.get(name)) for name, space in observation_spaces.items()
    }


def prepare_into(space: spaces.Space[Any], values: Array, moments: Moments | None, out: Array) -> None:
    """Write what `prepare` returns for one observation, bit for bit, without a copy between where that is possible.

    Args:
        space: its leaf space.
        values: (B, *shape of the space).
        moments: its moments, or None.
        out: (B, size of the prepared observation) float32.
    """
    rows = values.reshape(len(values), -1)
    if isinstance(space, spaces.Box) and (moments is None or moments.count == 0):
        if np.issubdtype(space.dtype, np.unsignedinteger):
            np.multiply(rows, unsigned_scale(space), out=out, dtype=np.float32, casting="same_kind")
        else:
            np.copyto(out, rows, casting="same_kind")
    else:
        np.copyto(out, _prepared(space, values, moments).reshape(out.shape))


def unsigned_scale(space: spaces.Box) -> np.float32:
    """Return what an unsigned integer is multiplied with."""
    high = float(space.high.max()) if prod(space.shape) else 1.0
    return np.float32(1.0 / max(high, 1.0))


def _prepared(space: spaces.Space[Any], values: Array, moments: Moments | None) -> Array:
    if isinstance(space, spaces.Discrete):
        return _one_hot(values - space.start, int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        counts = space.nvec.ravel().tolist()
        flat = (values - space.start).reshape(*values.shape[: values.ndim - space.nvec.ndim], -1)
        return np.concatenate([_one_hot(flat[..., part], count) for part, count in enumerate(counts)], axis=-1)
    if moments is not None and moments.count > 0:
        return _normalized(values, moments)
    if isinstance(space, spaces.Box) and space.dtype.kind == "u":
        return values.astype(np.float32) * unsigned_scale(space)
    return values.astype(np.float32, copy=False)


def _normalized(values: Array, moments: Moments) -> Array:
    """Return (values - mean) / deviation, worked out in float64 a few rows at a time: a rollout is large."""
    scale = 1.0 / np.sqrt(moments.variance + VARIANCE_FLOOR)
    normalized = np.empty(values.shape, np.float32)
    rows, out = (array.reshape(-1, *moments.mean.shape) for array in (values, normalized))
    count = max(1, _NORMALIZED_AT_ONCE // max(1, moments.mean.size))
    for first in range(0, len(rows), count):
        block = slice(first, first + count)
        scaled = rows[block] - moments.mean
        scaled *= scale
        np.clip(scaled, -NORMALIZED_LIMIT, NORMALIZED_LIMIT, out=scaled)
        out[block] = scaled
    return normalized


def _one_hot(indices: Array, count: int) -> Array:
    return np.asarray(indices[..., None] == np.arange(count), dtype=np.float32)
