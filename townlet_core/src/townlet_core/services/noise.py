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
        self._episode = np.zeros(num_worlds, dtype=np.int64)
        self._tick = np.zeros(num_worlds, dtype=np.int64)
        self._keys = self._episode_keys(np.arange(num_worlds))
        self._num_ahead = max(1, min(_MOST_TICKS, _NUMBERS_AHEAD // max(1, num_worlds * num_agents * size)))
        self._first = np.arange(self._num_ahead * size, dtype=np.uint64).reshape(self._num_ahead, 1, 1, size)
        self._ahead = np.empty((self._num_ahead, num_worlds, num_agents, size))
        self._used = self._num_ahead

    def _episode_keys(self, worlds: Array) -> randomness.Keys:
        episodes = randomness.fold(self._world_keys[worlds], self._episode[worlds])
        return randomness.fold(episodes[:, None], self._slots)[:, :, None]

    def next(self) -> Array:
        """Return the numbers of the current tick, (N, A, X) float64 in [0, 1), and go on to the next tick."""
        if self._used == self._num_ahead:
            self._draw(np.arange(len(self._tick)), 0)
            self._used = 0
        numbers: Array = self._ahead[self._used]
        self._used += 1
        self._tick += 1
        return numbers

    def _draw(self, worlds: Array, place: int) -> None:
        """Draw the numbers of the coming ticks of some worlds, from `place` of what is drawn ahead on."""
        begin = (self._tick[worlds] * self._size).astype(np.uint64)[:, None, None]
        counters = self._first[: self._num_ahead - place] + begin
        self._ahead[place:, worlds] = randomness.uniform(self._keys[worlds], counters)

    def begin_episodes(self, starts: Array) -> None:
        """Begin the next episode in the worlds where `starts` (N,) is True."""
        worlds = np.flatnonzero(starts)
        self._episode[worlds] += 1
        self._tick[worlds] = 0
        self._keys[worlds] = self._episode_keys(worlds)
        if self._used < self._num_ahead:
            self._draw(worlds, self._used)

    def position(self) -> tuple[Array, Array]:
        """Return the episode of each world, (N,), and how many ticks of it were made, (N,)."""
        return self._episode.copy(), self._tick.copy()

    def snapshot(self) -> dict[str, Array]:
        """Return where the numbers of each world stand: its episode and its tick, (N,) each."""
        return {"episode": self._episode.copy(), "tick": self._tick.copy()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go back to a snapshot under the same seeds."""
        self._episode[:], self._tick[:] = arrays["episode"], arrays["tick"]
        self._keys = self._episode_keys(np.arange(len(self._episode)))
        self._used = self._num_ahead
