"""Running episodes that are kept as the actions made in them, and brought back by making them again.

An episode of a world that keeps Gymnasium's contract is a pure function of its reset seed and its actions. So a world
that cannot tell its own state can be put back to where it was all the same. Where the replay does not show, byte for
byte, what was seen before (digests of that are kept), the world is no such function, and its episodes are lost.

Legend: N worlds, A agents per world, T steps of the longest running episode.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium import spaces

from townlet_core.errors import EnvironmentFault, EpisodesLostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep
    from townlet_core.spaces import Space

MOST_BYTES = 64 << 20
"""What the log of an environment may take; episodes that need more than half of it are not kept. [bytes]"""
_FIRST_ROWS = 64


class ActionLog:
    """The actions of the last steps, at least as many as the longest running episode has, if they may be kept.

    Args:
        action_space: of one agent.
        shape: (N, A).
        most_bytes: how much it may take.
    """

    def __init__(self, action_space: Space, shape: tuple[int, int], *, most_bytes: int = MOST_BYTES) -> None:
        self._shape = (*shape, *(action_space.shape or ()))
        self._dtype = _stored_dtype(action_space)
        row_bytes = max(1, int(np.prod(self._shape)) * self._dtype.itemsize)
        self._most_rows = max(2, most_bytes // row_bytes)
        self.begin_with(np.empty((0, *self._shape), self._dtype))

    def begin_with(self, actions: Array) -> None:
        """Hold what `last` returned, and nothing else."""
        self._rows, self._used = actions, len(actions)

    def add(self, actions: Array, ages: Array) -> None:
        """Note one step.

        Args:
            actions: (N, A) or (N, A, D).
            ages: (N,) steps made in the running episodes, before this one.
        """
        if self._used == len(self._rows):
            self._make_room(int(ages.max()))
        self._rows[self._used] = actions
        self._used += 1

    def last(self, num_steps: int) -> Array | None:
        """Return a copy of the last steps, (T, N, A) or (T, N, A, D); None where so many are not kept.

        There may be more by chance. They do not count: a log that was taken up again would have others.
        """
        if num_steps > self._most_rows // 2:
            return None
        return self._rows[self._used - num_steps : self._used].copy()

    def _make_room(self, longest: int) -> None:
        """Keep what the running episodes need, or as much of it as may be kept; at least half of the rows are free."""
        num_kept = min(longest, self._used, self._most_rows // 2)
        num_rows = min(max(_FIRST_ROWS, 2 * num_kept, len(self._rows)), self._most_rows)
        rows = np.empty((num_rows, *self._shape), self._dtype)
        rows[:num_kept] = self._rows[self._used - num_kept :]
        self._rows, self._used = rows, num_kept


class OneWorld(Protocol):
    """A block of a single world, which writes where the block that it is part of does."""

    def reset(self, seeds: Sequence[int], indices: Sequence[int], episodes: Sequence[int] | None = None) -> bool:
        """Start an episode."""
        ...

    def step(self, actions: Any) -> bool:
        """Make a step."""
        ...


@dataclass(frozen=True, slots=True)
class RunningEpisodes:
    """Where the worlds of a block stood; lists over worlds.

    Attributes:
        seeds: the seed of each world.
        indices: the world index that each draws its key with.
        episodes: resets after the first.
        ages: steps made since the last reset.
        num_steps: T.
    """

    seeds: list[int]
    indices: list[int]
    episodes: list[int]
    ages: list[int]
    num_steps: int

    def part(self, start: int, stop: int) -> RunningEpisodes:
        """Return those of worlds `start` to `stop` (exclusive)."""
        seeds, indices, episodes, ages = (
            column[start:stop] for column in (self.seeds, self.indices, self.episodes, self.ages)
        )
        return RunningEpisodes(seeds, indices, episodes, ages, self.num_steps)


class EpisodeReplay:
    """The running episodes of a block, made again; a new one begins them.

    Args:
        worlds: each as a block of its own.
        running: where they stood.

    Raises:
        EpisodesLostError: a world failed.
    """

    def __init__(self, worlds: Sequence[OneWorld], running: RunningEpisodes) -> None:
        self._worlds = list(worlds)
        self._waits = [running.num_steps - age for age in running.ages]
        self._step = 0
        for world, block in enumerate(self._worlds):
            one = running.part(world, world + 1)
            try:
                block.reset(one.seeds, one.indices, one.episodes)
            except EnvironmentFault as fault:
                raise EpisodesLostError(str(fault)) from fault

    def step(self, actions: Sequence[Any]) -> None:
        """Make the next of the T steps in the worlds whose episodes had begun by then.

        Args:
            actions: for each world, as its block takes them.

        Raises:
            EpisodesLostError: a world failed.
        """
        for block, wait, own in zip(self._worlds, self._waits, actions, strict=True):
            if self._step < wait:
                continue
            try:
                block.step(own)
            except EnvironmentFault as fault:
                raise EpisodesLostError(str(fault)) from fault
        self._step += 1


def kept_episodes(log: ActionLog, shown: EnvironmentStep, *, episodes: Array, ages: Array) -> dict[str, Array] | None:
    """Return the running episodes as arrays, all of them copies; None where one is too long.

    Args:
        log: the actions.
        shown: what the worlds showed last.
        episodes: (N,) resets of each world after the first.
        ages: (N,) steps made in the running episodes.
    """
    actions = log.last(int(ages.max()))
    if actions is None:
        return None
    for world, age in enumerate(ages.tolist()):
        actions[: len(actions) - age, world] = 0  # of earlier episodes
    return {"actions": actions, "episodes": episodes.copy(), "ages": ages.copy(), **dict(_signs(shown, episodes, ages))}


def require_same(kept: Mapping[str, Array], shown: EnvironmentStep, *, episodes: Array, ages: Array) -> None:
    """Raise `EpisodesLostError` where what a replay came to is not, byte for byte, what `kept_episodes` was given."""
    for name, digest in _signs(shown, episodes, ages):
        if digest.tobytes() != kept[name].tobytes():
            what = name.removeprefix("digests.")
            raise EpisodesLostError(f"after the same seeds and actions, '{what}' is not what it was")


def _signs(shown: EnvironmentStep, episodes: Array, ages: Array) -> Iterator[tuple[str, Array]]:
    """Yield digests of what tells a replay that went astray; a reward before a reset is of another episode."""
    arrays = {"episodes": episodes, "ages": ages, **shown.observations, "agent_mask": shown.agent_mask}
    arrays["rewards"] = np.where(ages[:, None] > 0, shown.rewards, np.float32(0))
    if shown.action_mask is not None:
        arrays["action_mask"] = shown.action_mask
    for name, array in arrays.items():
        yield f"digests.{name}", np.frombuffer(hashlib.sha256(array.tobytes()).digest(), np.uint8)


def _stored_dtype(space: Space) -> np.dtype[Any]:
    """Return the smallest type that holds the actions of policies, which count from 0."""
    if isinstance(space, spaces.Discrete):
        return np.min_scalar_type(int(space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return np.min_scalar_type(int(space.nvec.max()) - 1)
    return np.dtype(np.float32)
