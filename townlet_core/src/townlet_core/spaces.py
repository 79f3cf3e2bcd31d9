"""Spaces as policies see them: a few kinds of named leaves counted from 0, and an exact JSON form of any space.

Leaves of an observation space are named `observation` for a plain space and `observation.<key or index>` for Dict and
Tuple, nested with dots. A leaf is one of
- Box float32 (every Box that is not uint8 arrives as float32) or Box uint8,
- Discrete and MultiDiscrete int64, counted from 0 whatever their `start` was,
- MultiBinary int8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.arrays import Array

Space = spaces.Space[Any]

OBSERVATION = "observation"
_OBSERVATION_KINDS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of those"
_ACTION_KINDS = "Discrete, MultiDiscrete and Box"
_MAX_DEPTH = 16
_MAX_LEAVES = 4096
_MAX_ELEMENTS = 2**23
_DTYPE = re.compile(r"bool|u?int[0-9]{1,2}|float[0-9]{2,3}|[<>=|]?[biuf][0-9]{1,2}")


def flatten_space(space: Space) -> dict[str, Space]:
    """Return the leaves of an observation space by flattened name, each as policies see it.

    Raises:
        ConfigError: a leaf is of a kind that is not supported, or two leaves would share a name.
    """
    leaves: dict[str, Space] = {}
    for name, leaf in _walk(space, OBSERVATION):
        if name in leaves:
            raise ConfigError(
                f"two parts of the observation space are both called '{name}': rename one of its keys (dots nest)"
            )
        leaves[name] = _seen_leaf(leaf, name)
    if not leaves:
        raise ConfigError("the observation space is empty: a policy needs something to see")
    return leaves


def _walk(space: Space, name: str) -> Iterator[tuple[str, Space]]:
    if isinstance(space, spaces.Dict):
        parts: dict[Any, Space] = space.spaces
        for key, child in parts.items():
            if not isinstance(key, str) or not key:
                raise ConfigError(f"{name}: the keys of a Dict space must be non-empty strings, not {key!r}")
            yield from _walk(child, f"{name}.{key}")
    elif isinstance(space, spaces.Tuple):
        for index, child in enumerate(space.spaces):
            yield from _walk(child, f"{name}.{index}")
    else:
        yield name, space


def _seen_leaf(space: Space, name: str) -> Space:
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8:
            return space
        return _float_box(space, space.shape)
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.astype(np.int64))
    if isinstance(space, spaces.MultiBinary):
        return space
    raise ConfigError(f"{name}: a {type(space).__name__} space is not supported; supported are {_OBSERVATION_KINDS}")


def _float_box(space: spaces.Box[Any], shape: tuple[int, ...]) -> Space:
    with np.errstate(over="ignore"):
        low, high = space.low.astype(np.float32).reshape(shape), space.high.astype(np.float32).reshape(shape)
    return spaces.Box(low, high, shape, np.float32)


def flatten_observation(space: Space, value: Any) -> dict[str, Array]:
    """Return one observation as arrays by flattened name, in the leaves' shapes and dtypes.

    Args:
        space: the observation space as the environment gives it.
        value: one observation of it.

    Raises:
        ConfigError: the space is not supported.
        ValueError: the value does not have the shape of its space.
    """
    leaves = flatten_space(space)
    arrays: dict[str, Array] = {}
    for (name, origin), part in zip(_walk(space, OBSERVATION), leaf_values(space, value), strict=True):
        leaf = leaves[name]
        array = np.asarray(part)
        if array.shape != leaf.shape:
            raise ValueError(f"{name} has shape {array.shape}, its space {leaf.shape}")
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite
            array = array.astype(leaf.dtype)
        offset = leaf_start(origin)
        arrays[name] = array if offset is None else array - offset
    return arrays


def leaf_values(space: Space, value: Any) -> list[Any]:
    """Return the parts of an observation (or of a batch of them) in the order of `flatten_space`.

    Raises:
        KeyError: a Dict observation lacks a key.
        IndexError: a Tuple observation is too short.
        TypeError: a Dict or Tuple observation is something else.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping):
            raise TypeError(f"expected a mapping for a Dict space, got {type(value).__name__}")
        return [part for key, child in space.spaces.items() for part in leaf_values(child, value[key])]
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise TypeError(f"expected a tuple of {len(space.spaces)} for a Tuple space, got {type(value).__name__}")
        return [part for child, item in zip(space.spaces, value, strict=True) for part in leaf_values(child, item)]
    return [value]


def leaf_origins(space: Space) -> list[Space]:
    """Return the leaf spaces as the environment gives them, in the order of `flatten_space`."""
    return [leaf for _, leaf in _walk(space, OBSERVATION)]


def leaf_start(space: Space) -> Any:
    """Return what is subtracted from a Discrete or MultiDiscrete value to count from 0, or None where nothing is."""
    if isinstance(space, spaces.Discrete):
        return np.int64(space.start) if space.start else None
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.astype(np.int64) if space.start.any() else None
    return None


def flatten_action_space(space: Space) -> Space:
    """Return an action space as policies see it: Discrete(n), or MultiDiscrete or Box float32 with one axis.

    Raises:
        ConfigError: the space is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.astype(np.int64).ravel())
    if isinstance(space, spaces.Box):
        return _float_box(space, (math.prod(space.shape),))
    raise ConfigError(f"a {type(space).__name__} action space is not supported; supported are {_ACTION_KINDS}")


def action_count(space: Space) -> int:
    """Return K, the width of an action mask: n for Discrete, the sum of the counts for MultiDiscrete, 0 for Box.

    Raises:
        ConfigError: the space is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.Box):
        return 0
    raise ConfigError(f"a {type(space).__name__} action space is not supported; supported are {_ACTION_KINDS}")


def describe_space(space: Space) -> str:
    """Return one line about a space, such as ``Box(4,) float32 in [-inf, inf]`` or ``Dict(goal: Discrete(5))``."""
    if isinstance(space, spaces.Box):
        low, high = (space.low.min(), space.high.max()) if space.low.size else ("", "")
        return f"Box{space.shape} {space.dtype} in [{low}, {high}]"
    if isinstance(space, spaces.Discrete):
        return f"Discrete({space.n})" if space.start == 0 else f"Discrete({space.n}, start={space.start})"
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete({space.nvec.tolist()})"
    if isinstance(space, spaces.MultiBinary):
        return f"MultiBinary{space.shape}"
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {describe_space(child)}" for key, child in space.spaces.items()) + ")"
    if isinstance(space, spaces.Tuple):
        return "Tuple(" + ", ".join(describe_space(child) for child in space.spaces) + ")"
    return repr(space)


def space_to_json(space: Space) -> dict[str, Any]:
    """Return a space as plain JSON values; infinities are the strings ``inf`` and ``-inf``.

    Raises:
        ConfigError: the space is of a kind that is not supported.
    """
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _numbers_to_json(space.low),
            "high": _numbers_to_json(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "MultiDiscrete",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "nvec": space.nvec.ravel().tolist(),
            "start": space.start.ravel().tolist(),
        }
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": [[key, space_to_json(child)] for key, child in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_json(child) for child in space.spaces]}
    raise ConfigError(f"a {type(space).__name__} space cannot be written; supported are {_OBSERVATION_KINDS}")


def _numbers_to_json(array: Array) -> Any:
    """Write bounds as one number where all are equal to the bit (0 and -0 are not), else as a flat list."""
    flat = array.ravel()
    if flat.size and flat.tobytes() == flat[:1].tobytes() * flat.size:
        flat = flat[0]
    numbers = [number if math.isfinite(number) else str(number) for number in np.atleast_1d(flat).tolist()]
    return numbers[0] if flat.ndim == 0 else numbers


def space_from_json(data: Mapping[str, Any]) -> Space:
    """Return the space that `space_to_json` wrote; equal to it in every bound, shape and dtype.

    Raises:
        ConfigError: the data is not a space, or its sizes are beyond any use (the text may come from a damaged file).
    """
    return spaces_from_json({"": data})[""]


def spaces_from_json(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Space]:
    """Return several spaces by name, which may together be no larger than one; raises what `space_from_json` does."""
    left = [_MAX_LEAVES, _MAX_ELEMENTS]
    try:
        return {name: _parse(space, 0, left) for name, space in data.items()}
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        raise ConfigError(f"not a space: {type(error).__name__}: {error}") from error


def _parse(data: Any, depth: int, left: list[int]) -> Space:
    left[0] -= 1
    if depth > _MAX_DEPTH or left[0] < 0:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}, or more than {_MAX_LEAVES} parts")
    kind = data["type"]
    if kind == "Box":
        shape, dtype = _shape(data["shape"], left), np.dtype(_dtype_name(data["dtype"]))
        return spaces.Box(_bounds(data["low"], shape, dtype), _bounds(data["high"], shape, dtype), shape, dtype)
    if kind == "Discrete":
        return spaces.Discrete(int(data["n"]), start=int(data["start"]), dtype=_dtype_name(data["dtype"]))
    if kind == "MultiDiscrete":
        shape, name = _shape(data["shape"], left), _dtype_name(data["dtype"])
        nvec, start = (np.array(data[part], dtype=name).reshape(shape) for part in ("nvec", "start"))
        return spaces.MultiDiscrete(nvec, dtype=name, start=start)
    if kind == "MultiBinary":
        size = data["n"]
        return spaces.MultiBinary(_shape(size, left) if isinstance(size, list) else _shape([size], left)[0])
    if kind == "Dict":
        return spaces.Dict([(str(key), _parse(child, depth + 1, left)) for key, child in data["spaces"]])
    if kind == "Tuple":
        return spaces.Tuple([_parse(child, depth + 1, left) for child in data["spaces"]])
    raise ValueError(f"type {kind!r} is none of Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple")


def _shape(data: Any, left: list[int]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in data)
    left[1] -= math.prod(shape)
    if any(size < 0 for size in shape) or len(shape) > 32 or left[1] < 0:
        raise ValueError(f"shape {shape} is negative, or makes it more than {_MAX_ELEMENTS:,} numbers in all")
    return shape


def _dtype_name(data: Any) -> str:
    # NumPy takes expressions, aliases and lists of fields too, and warns or fails over some of them in its own ways.
    if not isinstance(data, str) or _DTYPE.fullmatch(data) is None:
        raise ValueError(f"dtype {str(data)[:100]!r} is not a number's")
    return np.dtype(data).name


def _bounds(data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if not isinstance(data, list):
        return np.full(shape, _number(data), dtype=dtype)
    return np.array([_number(number) for number in data], dtype=dtype).reshape(shape)


def _number(data: Any) -> Any:
    if data not in ("inf", "-inf") and not isinstance(data, int | float):
        raise TypeError(f"{data!r} is not a number")
    return float(data) if isinstance(data, str) else data
