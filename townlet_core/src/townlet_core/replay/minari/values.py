"""From Minari's values to those of a native dataset: what policies see, and what JSON can hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import DatasetError
from townlet_core.replay.minari.origin import is_own
from townlet_core.spaces import leaf_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gymnasium import spaces
    from pydantic import JsonValue

    from townlet_core.arrays import Array
    from townlet_core.replay.minari.hdf5 import Node

MAX_INFO_VALUES = 10_000
"""The most numbers and characters of an episode's `infos` that are kept."""
MAX_INFO_MEMBERS = 10_000
_MAX_DEPTH = 8


def counted(array: Array, origin: spaces.Space[Any], leaf: spaces.Space[Any], rows: int, place: str) -> Array:
    """Return the values of a leaf as policies see them: in its type and shape, counted from 0; raises `DatasetError`.

    Args:
        array: (rows, ...) as they lie in the file.
        origin: the leaf as the environment has it.
        leaf: the leaf as policies see it.
        rows: how many there have to be.
        place: for messages.
    """
    values = typed(array, np.dtype(leaf.dtype), (rows, *(leaf.shape or ())), place)
    offset = leaf_start(origin)
    return values if offset is None else values - np.reshape(offset, leaf.shape or ())


def typed(array: Array, dtype: np.dtype[Any], shape: tuple[int, ...], place: str) -> Array:
    """Return `array` in a type and shape that hold the same values; raises `DatasetError`."""
    if array.shape[:1] != shape[:1] or array.size != math.prod(shape):
        raise DatasetError(f"{place} has the shape {array.shape}, and {shape} is expected")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise DatasetError(f"{place} is of type {array.dtype}, and {dtype} is expected")
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite
        return array.reshape(shape).astype(dtype)


def plain(value: Any) -> JsonValue | None:
    """Return a number, text or array as JSON holds it; None where it cannot."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size > MAX_INFO_VALUES or not np.isfinite(array).all():
        return None
    items: JsonValue = array.tolist()
    return items


def plain_attributes(attributes: Mapping[str, Any], *, without_seed: bool) -> dict[str, JsonValue]:
    """Return an episode's attributes as JSON holds them, without those that Minari writes again."""
    known = {"id", "total_steps", "seed"} if without_seed else {"id", "total_steps"}
    found = {name: plain(value) for name, value in attributes.items() if name not in known and not is_own(name)}
    return {name: value for name, value in found.items() if value is not None}


def plain_infos(
    node: Node, budget: list[int], left_out: list[JsonValue], *, path: str = "", without: str | None = None
) -> dict[str, JsonValue]:
    """Return a group of `infos` as nested objects of lists.

    Args:
        node: the group.
        budget: how many values may still be kept, and how many members may still be looked at.
        left_out: gets the paths of what is too long, or nothing that JSON could hold.
        path: of the group, from `infos`, with a slash at its end.
        without: name of a member that is kept elsewhere.
    """
    infos: dict[str, JsonValue] = {}
    for name in node.names():
        if name == without:
            continue
        budget[1] -= 1
        if budget[1] < 0:  # a group may be a member of itself, many times
            raise DatasetError(f"{node.place} has more than {MAX_INFO_MEMBERS} members, those of its members included")
        part, place = node.child(name), f"{path}{name}"
        value: JsonValue | None = None
        if not part.is_array and place.count("/") < _MAX_DEPTH:
            value = plain_infos(part, budget, left_out, path=f"{place}/")
        elif part.is_text and math.prod(part.shape) <= budget[0]:
            texts = part.texts()
            budget[0] -= sum(map(len, texts))
            value = [*texts] if budget[0] >= 0 else None
        elif part.is_numeric and math.prod(part.shape) <= budget[0]:
            value = plain(part.read())
            budget[0] -= math.prod(part.shape)
        if value is None:
            left_out.append(place)
        else:
            infos[name] = value
    return infos
