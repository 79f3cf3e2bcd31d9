"""Counter-based random numbers: every number is a pure function of a key, and nothing is carried from call to call.

A key is a `uint64` folded from a seed, a purpose and any number of coordinates (world, episode, slot, tick, ... while
acting; attempt, update, epoch, shard while learning). Coordinates broadcast, so one call makes the keys of all worlds.
Numbers are drawn from a key by counter, with the output function of SplitMix64 (Steele, Lea and Flood 2014, "Fast
splittable pseudorandom number generators"): a bijection of 64-bit words whose successive outputs pass BigCrush.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from townlet_core.errors import UsageError

Keys = NDArray[np.uint64]

MAX_SEED = 2**63 - 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_SHIFT_11 = np.uint64(11)
_TO_UNIT = 2.0**-53


def _mixed(words: Keys) -> Keys:
    """Apply SplitMix64's output function to an owned array, in place."""
    words ^= words >> _SHIFT_30
    words *= _MIX_1
    words ^= words >> _SHIFT_27
    words *= _MIX_2
    words ^= words >> _SHIFT_31
    return words


@lru_cache(maxsize=256)
def _purpose_word(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def _words(numbers: Any) -> Keys:
    """Return a copy of non-negative integers as words, at least one-dimensional; anything else would wrap silently."""
    array = np.array(numbers, ndmin=1)
    if array.dtype.kind == "u":
        return array.astype(np.uint64, copy=False)
    if array.dtype.kind != "i" or array.min(initial=0) < 0:
        raise ValueError(f"{numbers!r} cannot be part of a key: only integers from 0 to 2**64 - 1 can")
    return array.astype(np.uint64)


def fold(keys: Any, coordinate: Any) -> Keys:
    """Return new keys, one for each (key, coordinate) pair after broadcasting.

    Args:
        keys: uint64 keys of any shape.
        coordinate: non-negative integers of any shape that broadcasts with `keys`.

    Raises:
        ValueError: a coordinate is negative, too large, or no integer.
    """
    words = _words(coordinate)
    words += np.uint64(1)
    words *= _GOLDEN
    mixed = _mixed(words)
    return _mixed(np.bitwise_xor(np.asarray(keys, dtype=np.uint64), mixed))


def key(seed: Any, purpose: str, *coordinates: Any) -> Keys:
    """Return the keys of (seed, purpose, coordinates...).

    Args:
        seed: a non-negative integer below 2**63, or an array of them.
        purpose: what the numbers are for; two purposes share no numbers.
        coordinates: integers or integer arrays that broadcast together.

    Returns:
        uint64 array of the broadcast shape, at least one-dimensional.

    Raises:
        UsageError: the seed is negative, too large, or no integer.
        ValueError: a coordinate is.
    """
    seeds = np.asarray(seed)
    if seeds.dtype.kind not in "iu" or (seeds.size and not 0 <= seeds.min() <= seeds.max() <= MAX_SEED):
        raise UsageError(f"{seed!r} is not a seed: seeds are integers from 0 to 2**63 - 1")
    keys = fold(np.uint64(_purpose_word(purpose)), seed)
    for coordinate in coordinates:
        keys = fold(keys, coordinate)
    return keys


def bits(keys: Keys, counters: Any) -> Keys:
    """Return the 64 random bits number `counters` (from 0) of each key; arguments broadcast."""
    words = np.array(counters, dtype=np.uint64, ndmin=1)
    words += np.uint64(1)
    words *= _GOLDEN
    return _mixed(np.add(words, keys))


def uniform(keys: Keys, counters: Any = 0) -> NDArray[np.float64]:
    """Return float64 numbers in [0, 1) with 53 random bits, one for each (key, counter) after broadcasting."""
    words = bits(keys, counters)
    words >>= _SHIFT_11
    numbers = words.astype(np.float64)
    numbers *= _TO_UNIT
    return numbers


def normal(keys: Keys, count: int) -> NDArray[np.float64]:
    """Return `count` standard normal numbers for each key, shape `(*keys.shape, count)`, by Box-Muller."""
    pairs = uniform(keys[..., None], np.arange(2 * count))
    return box_muller(pairs[..., :count], pairs[..., count:])


def box_muller(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standard normal numbers from two arrays of uniforms in [0, 1) of one shape."""
    radius: NDArray[np.float64] = np.sqrt(-2.0 * np.log1p(-first))
    return radius * np.cos(2.0 * np.pi * second)


def permutation(keys: Keys, size: int) -> NDArray[np.int64]:
    """Return one random permutation of `range(size)` for each key, shape `(*keys.shape, size)`."""
    words = bits(keys[..., None], np.arange(size))
    places = np.uint64((1 << (size - 1).bit_length()) - 1 if size else 0)
    words &= ~places
    words |= np.arange(size, dtype=np.uint64)  # sorting words that carry their places is three times as fast as argsort
    words.sort(axis=-1)
    words &= places
    return words.view(np.int64)


def integer_seed(keys: Keys) -> list[int]:
    """Return one seed below 2**31 for each key, for libraries that want an integer of their own."""
    return [int(word) for word in (keys.ravel() >> np.uint64(33))]
