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
        self._size = np.uint64(size)
        self._episode = np.zeros(num_worlds, dtype=np.int64)
        self._keys = self._episode_keys(np.arange(num_worlds))
        self._first = np.arange(size, dtype=np.uint64)
        self._counters = np.tile(self._first, (num_worlds, 1, 1))

    def _episode_keys(self, worlds: Array) -> randomness.Keys:
        episodes = randomness.fold(self._world_keys[worlds], self._episode[worlds])
        return randomness.fold(episodes[:, None], self._slots)[:, :, None]

    def next(self) -> Array:
        """Return the numbers of the current tick, (N, A, X) float64 in [0, 1), and go on to the next tick."""
        numbers = randomness.uniform(self._keys, self._counters)
        self._counters += self._size
        return numbers

    def begin_episodes(self, starts: Array) -> None:
        """Begin the next episode in the worlds where `starts` (N,) is True."""
        worlds = np.flatnonzero(starts)
        self._episode[worlds] += 1
        self._counters[worlds] = self._first
        self._keys[worlds] = self._episode_keys(worlds)

    def position(self) -> tuple[Array, Array] | None:
        """Return the episode of each world, (N,), and how many ticks of it were made, (N,); None where X is 0."""
        if self._size == 0:
            return None
        return self._episode.copy(), (self._counters[:, 0, 0] // self._size).astype(np.int64)

    def snapshot(self) -> dict[str, Array]:
        """Return where the numbers of each world stand: its episode (N,) and its counters (N, X)."""
        return {"episode": self._episode.copy(), "counters": self._counters[:, 0].copy()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go back to a snapshot under the same seeds."""
        self._episode[:] = arrays["episode"]
        self._counters[:, 0] = arrays["counters"]
        self._keys = self._episode_keys(np.arange(len(self._episode)))
