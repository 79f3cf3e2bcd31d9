"""Writing one world's observation into its row, and checking the rows: types per world, values per batch.

The shape and type of each value are looked at as it is written; finiteness and categories once for all worlds, on the
arrays. The bounds of a Box are not enforced: many environments leave their own by a little, and nothing here relies on
them (`testing.check_environment` reports it).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.arrays import is_finite
from townlet_core.environments.faults import FieldError
from townlet_core.spaces import flatten_space, leaf_origins, leaf_start, leaf_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.arrays import Array
    from townlet_core.spaces import Space

    Writer = Callable[[int, Any], None]

_SMALL = 256
"""Size of an observation up to which the call costs more than a second copy. [bytes]"""


def observation_writer(space: Space, targets: tuple[Array, ...]) -> Writer:
    """Return ``write(row, observation)`` for an observation space.

    Args:
        space: as the environment gives it.
        targets: (N, ...) for each leaf.

    Raises (the writer):
        FieldError: the observation has another structure, shape or type than its space.
    """
    leaves = [
        _leaf_writer(name, origin, target)
        for name, origin, target in zip(flatten_space(space), leaf_origins(space), targets, strict=True)
    ]
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return leaves[0]

    def write(row: int, observation: Any) -> None:
        try:
            values = leaf_values(space, observation)
        except KeyError as error:
            raise FieldError("observation", f"lacks the key {error}") from error
        except TypeError as error:
            raise FieldError("observation", f"does not fit its space: {error}") from error
        for leaf, value in zip(leaves, values, strict=True):
            leaf(row, value)

    return write


def rows_writer(space: Space, targets: tuple[Array, ...]) -> Callable[[list[Any]], bool]:
    """Return ``write(observations)``, which writes the observations of all worlds at once, or nothing.

    One call for all rows costs a third of one for each. It is made for a space of one small leaf and observations of
    its shape and type. Else the result is False, and each row is to be written by itself, which converts it or tells
    what is wrong.

    Args:
        space: as the environment gives it.
        targets: (N, ...) for each leaf.
    """
    target = targets[0]
    is_plain = not isinstance(space, spaces.Dict | spaces.Tuple) and leaf_start(space) is None
    is_quick = is_plain and space.dtype == target.dtype and target[:1].nbytes <= _SMALL

    def write(observations: list[Any]) -> bool:
        if not is_quick:
            return False
        try:
            batch = np.array(observations)
        except Exception:  # noqa: BLE001  (whatever it is, it is told of the row that it comes from)
            return False
        if batch.dtype != target.dtype or batch.shape != target.shape:
            return False
        target[...] = batch
        return True

    return write


def _leaf_writer(name: str, origin: Space, target: Array) -> Writer:
    start = leaf_start(origin)
    if isinstance(origin, spaces.Discrete):
        return _index_writer(name, int(start or 0), target)
    shape, dtype = origin.shape, np.dtype(origin.dtype)
    ndarray = np.ndarray

    def write(row: int, value: Any) -> None:
        if value.__class__ is not ndarray or value.dtype is not dtype or value.shape != shape:
            value = _converted(name, value, shape, dtype)
        target[row] = value if start is None else value - start

    return write


def _index_writer(name: str, start: int, target: Array) -> Writer:
    def write(row: int, value: Any) -> None:
        try:
            target[row] = operator.index(value) - start
        except (TypeError, OverflowError) as error:
            raise FieldError(
                name, f"is {value!r} ({type(value).__name__}), its space is Discrete: one integer"
            ) from error

    return write


def _converted(name: str, value: Any, shape: Any, dtype: np.dtype[Any]) -> Array:
    """Return `value` in the dtype of its space, if that loses nothing but precision."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise FieldError(name, f"is not an array: {error}") from error
    if array.shape != shape:
        raise FieldError(name, f"has shape {array.shape}, its space {shape}")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise FieldError(name, f"has dtype {array.dtype}, its space {dtype}")
    with np.errstate(over="ignore"):
        converted: Array = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, array):
        raise FieldError(name, f"does not fit into its space's dtype {dtype}")
    return converted


def batch_writer(space: Space, targets: tuple[Array, ...]) -> Callable[[Any], None]:
    """Return ``write(observations)`` for the observations of all worlds at once.

    Args:
        space: of one observation, as the environment gives it.
        targets: (N, ...) for each leaf.

    Raises (the writer):
        FieldError: the batch has another structure, shape or type than N observations of the space.
    """
    leaves = [
        _batch_leaf_writer(name, origin, target)
        for name, origin, target in zip(flatten_space(space), leaf_origins(space), targets, strict=True)
    ]
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return leaves[0]

    def write(observations: Any) -> None:
        try:
            values = leaf_values(space, observations)
        except (KeyError, TypeError) as error:
            raise FieldError("observation", f"does not fit its space: {type(error).__name__}: {error}") from error
        for leaf, value in zip(leaves, values, strict=True):
            leaf(value)

    return write


def _batch_leaf_writer(name: str, origin: Space, target: Array) -> Callable[[Any], None]:
    start, shape, dtype = leaf_start(origin), target.shape, np.dtype(origin.dtype)
    is_kept, ndarray = start is None and dtype == target.dtype, np.ndarray

    def write(value: Any) -> None:
        if is_kept and value.__class__ is ndarray and value.dtype == dtype and value.shape == shape:
            target[...] = value
            return
        batch = _converted(name, value, shape, dtype)
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told with the values
            target[...] = batch if start is None else batch - start

    return write


class RowCheck:
    """Finds rows that hold NaN, infinity or a category that does not exist."""

    def __init__(self, space: Space) -> None:
        self._names = list(flatten_space(space))
        self._limits = [_category_limit(leaf) for leaf in flatten_space(space).values()]
        self._places = range(len(self._limits))

    def passes(self, leaves: tuple[Array, ...]) -> bool:
        """Return whether every value of every row is possible."""
        for place in self._places:  # noqa: SIM110  (a generator doubles the cost)
            if not _possible(leaves[place], self._limits[place]):
                return False
        return True

    def problem(self, leaves: tuple[Array, ...], row: int) -> str | None:
        """Return what is wrong with one row, or None."""
        for name, leaf, limit in zip(self._names, leaves, self._limits, strict=True):
            values = leaf[row : row + 1]
            if not _possible(values, limit):
                return f"{name} {_describe(values[0], limit)}"
        return None


def _category_limit(leaf: Space) -> Any:
    """Return what a value must stay below, as unsigned numbers, or None where any finite value will do."""
    if isinstance(leaf, spaces.Discrete):
        return np.uint64(leaf.n)
    if isinstance(leaf, spaces.MultiDiscrete):
        return leaf.nvec.astype(np.uint64)
    return np.uint8(2) if isinstance(leaf, spaces.MultiBinary) else None


def _possible(values: Array, limit: Any) -> bool:
    if limit is None:
        return is_finite(values)
    return bool(
        np.count_nonzero(values.view(limit.dtype) < limit) == values.size
    )  # a negative number is a huge unsigned one


def _describe(values: Array, limit: Any) -> str:
    if limit is not None:
        return (
            f"is {values.ravel()[:8].tolist()} (counted from its start), must be below {np.ravel(limit)[:8].tolist()}"
        )
    place = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
    return f"is {values[place]} at index {place}" if place else f"is {values[()]}"
