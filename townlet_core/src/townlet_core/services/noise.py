"""The uniform numbers that actions are sampled with, keyed by (seed, purpose, world, episode, slot, tick).

Legend: N worlds, A agents per world, X numbers per decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.arrays import Array

_MOST_TICKS, _NUMBERS_AHEAD = 32, 1 << 14
"""Ticks, and numbers, that are drawn at once at most: for few worlds the price is that of the calls."""

_EPISODES_AHEAD = 32
"""Episodes of a world whose keys are made at once: short episodes begin in almost every step of many worlds."""


class ActionNoise:
    """Numbers for every agent at every tick, whatever the other worlds do.

    With one seed for all, world w uses the coordinate w. With one seed for each world, every world is world 0 under its
    own seed, so what happens in it does not depend on its neighbours.
    """

    def __init__(
        self, seeds: int | Sequence[int], purpose: str, *, num_worlds: int, num_agents: int, size: int
    ) -> None:
        if isinstance(seeds, int | np.integer):
            worlds = randomness.key(seeds, purpose, np.arange(num_worlds))
        else:
            worlds = randomness.key(np.asarray(seeds), purpose, np.zeros(num_worlds, dtype=np.int64))
        self._world_keys = worlds
        self._slots = np.arange(num_agents)
        self._size = size
        self._num_steps = 0
        self._begin = np.zeros(num_worlds, dtype=np.int64)  # the step that was the episode's tick 0
        self._episode = np.zeros(num_worlds, dtype=np.int64)
        self._keys_ahead = np.empty((_EPISODES_AHEAD, num_worlds, num_agents, 1), dtype=np.uint64)
        self._make_keys(np.arange(num_worlds))
        self._keys = self._keys_ahead[0].copy()
        self._num_ahead = max(1, min(_MOST_TICKS, _NUMBERS_AHEAD // max(1, num_worlds * num_agents * size)))
        self._counters = np.arange(self._num_ahead * size, dtype=np.uint64).reshape(self._num_ahead, 1, 1, size)
        self._ahead = np.empty((self._num_ahead, num_worlds, num_agents, size))
        self._used = self._num_ahead

    def _make_keys(self, worlds: Array) -> None:
        """Make the keys of some worlds for the block of episodes in which they are."""
        first = self._episode[worlds] // _EPISODES_AHEAD * _EPISODES_AHEAD
        keys = randomness.fold(self._world_keys[worlds], first + np.arange(_EPISODES_AHEAD)[:, None])
        self._keys_ahead[:, worlds] = randomness.fold(keys[..., None], self._slots)[..., None]

    def next(self) -> Array:
        """Return the numbers of the current tick, (N, A, X) float64 in [0, 1), and go on to the next tick."""
        if self._used == self._num_ahead:
            ticks = (self._num_steps - self._begin).astype(np.uint64)[:, None, None]
            self._ahead[:] = randomness.uniform(self._keys, self._counters + ticks * np.uint64(self._size))
            self._used = 0
        numbers: Array = self._ahead[self._used]
        self._used += 1
        self._num_steps += 1
        return numbers

    def begin_episodes(self, starts: Array) -> None:
        """Begin the next episode in the worlds where `starts` (N,) is True."""
        worlds = np.flatnonzero(starts)
        self._episode[worlds] += 1
        self._begin[worlds] = self._num_steps
        places = self._episode[worlds] % _EPISODES_AHEAD
        if np.count_nonzero(places) < len(places):
            self._make_keys(worlds[places == 0])
        keys = self._keys_ahead[places, worlds]
        self._keys[worlds] = keys
        if self._used < self._num_ahead:
            self._ahead[self._used :, worlds] = randomness.uniform(keys, self._counters[: self._num_ahead - self._used])

    def position(self) -> tuple[Array, Array]:
        """Return the episode of each world, (N,), and how many ticks of it were made, (N,)."""
        return self._episode.copy(), self._num_steps - self._begin

    def snapshot(self) -> dict[str, Array]:
        """Return where the numbers of each world stand: its episode and its tick, (N,) each."""
        episode, tick = self.position()
        return {"episode": episode, "tick": tick}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go back to a snapshot under the same seeds."""
        self._episode[:], self._begin[:] = arrays["episode"], self._num_steps - arrays["tick"]
        worlds = np.arange(len(self._episode))
        self._make_keys(worlds)
        self._keys = self._keys_ahead[self._episode % _EPISODES_AHEAD, worlds]
        self._used = self._num_ahead
