"""The recorder: what a rollout does, as one trajectory for each agent's life.

It keeps the steps of all worlds in one block of rows and hands over a world's lives when the world's episode ends, so
that a step costs no Python for each agent; only a life that has ended does.

Legend: T rows of the block, N worlds, A agents per world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from townlet_core.errors import EnvironmentFault
from townlet_core.replay.schema import FINAL_PREFIX
from townlet_core.replay.trajectory import Trajectory
from townlet_core.services.recorded_events import RecordedEvents
from townlet_core.services.step_block import FRAGMENT_BYTES, StepBlock

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.replay.trajectory import Ending
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.rollout import Rollout

_NOT_STEPS = ("agent_mask", "bootstrap_values")
_NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisode:
    """What is handed over: an episode of a world, or a stretch of it.

    Attributes:
        world: number of the world.
        number: which of its episodes, from 0.
        trajectories: its lives, by slot and number of the life; group 0, and no seed.
        events: columns as in `EVENT_COLUMNS`, group 0.
        is_over: the world's episode has ended; else there may be more of it.
    """

    world: int
    number: int
    trajectories: list[Trajectory]
    events: dict[str, Array]
    is_over: bool

    @property
    def agent_steps(self) -> int:
        """Rows of all its trajectories."""
        return sum(trajectory.num_steps for trajectory in self.trajectories)


class EpisodeSink(Protocol):
    """Takes what a recorder hands over."""

    def __call__(self, episode: RecordedEpisode) -> None:
        """Take it; its arrays are never changed again."""
        ...


@dataclass(slots=True, kw_only=True)
class _Life:
    """A life, or a stretch of one, that is over: rows [first, last) of the block."""

    agent: int
    number: int
    first: int
    last: int
    ending: Ending
    final: dict[str, Array]


@dataclass(slots=True)
class _Worlds:
    """Where each world stands; (N,) each, rows are those of the block.

    Attributes:
        begin: row of the first step of its episode; below 0 where that has been moved out.
        first: first row that has not been handed over.
        number: its episode.
        agent_steps: recorded and not handed over.
        is_active: it is recorded.
        closed: lives that wait.
    """

    begin: Array
    first: Array
    number: Array
    agent_steps: Array
    is_active: Array
    closed: list[list[_Life]]

    @classmethod
    def of(cls, num_worlds: int, *, num_active: int) -> _Worlds:
        begin, first, number, agent_steps = (np.zeros(num_worlds, np.int64) for _ in range(4))
        is_active = np.arange(num_worlds) < num_active
        return cls(begin, first, number, agent_steps, is_active, [[] for _ in range(num_worlds)])


class TrajectoryRecorder:
    """Records a rollout from its first step on; set it as `rollout.recorder`.

    Memory: at most twice `fragment_bytes` for each world, and what the sink keeps.

    Attributes:
        event_kinds: what the column `event.kind` counts.
        fragment_steps: steps of a world that may wait.

    Args:
        rollout: what is recorded; no step has been made.
        sink: takes the episodes.
        num_active: how many worlds are recorded, the first ones; None = all.
        fragment_bytes: a stretch of one world that is longer is handed over in several, each but the last one "cut".
    """

    def __init__(
        self,
        rollout: Rollout,
        *,
        sink: EpisodeSink,
        num_active: int | None = None,
        fragment_bytes: int = FRAGMENT_BYTES,
    ) -> None:
        shape = rollout.returns.shape
        self._rollout, self._sink = rollout, sink
        self._events = RecordedEvents(rollout.environment, rollout.current)
        self.event_kinds = self._events.kinds
        self._block = StepBlock(rollout, fragment_bytes=fragment_bytes)
        self.fragment_steps = self._block.fragment_steps
        self._worlds = _Worlds.of(shape[0], num_active=shape[0] if num_active is None else num_active)
        self._life_row = np.full(shape, _NONE, np.int64)
        self._life = np.zeros(shape, np.int64)
        self._last: tuple[Observations, Array] | None = None

    def agent_steps(self, world: int) -> int:
        """Return how many agent-steps of a world are recorded and have not been handed over."""
        return int(self._worlds.agent_steps[world])

    def stop(self, world: int) -> None:
        """Record nothing more of a world, and forget what has not been handed over."""
        self._worlds.is_active[world] = False
        self._worlds.closed[world] = []
        self._life_row[world] = _NONE
        self._events.pop(world)

    def begin_within(self, episodes: Array, steps: Array) -> None:
        """Be told, before the first step, that episodes are running already; lives are counted from here.

        Args:
            episodes: (N,) which episode of each world it is, from 0.
            steps: (N,) how many of its steps were made before.
        """
        self._worlds.number[:] = episodes
        self._worlds.begin[:] = self._block.row - steps

    def next_row(self) -> tuple[RolloutBuffer, int]:
        """Return the buffer and the row that the next step is to be written to."""
        return self._block.buffer, self._block.row

    def take(self, buffer: RolloutBuffer, index: int, ended: Array) -> None:
        """Take a step that stands in `buffer`; the rollout's `current` is what came after it.

        Args:
            buffer: the recorder's own (see `next_row`), or another, from which it is copied.
            index: its row there.
            ended: (N, A) bool, whose episode ended.

        Raises:
            EnvironmentFault: a world's next episode begins, and an agent's has not ended; or nobody says what was seen
                last.
        """
        after, worlds, block, row = self._rollout.current, self._worlds, self._block, self._block.row
        self._last = None
        block.take(buffer, index)
        acted = block.buffer.agent_mask[row] & worlds.is_active[:, None]
        np.copyto(self._life_row, row, where=acted & (self._life_row < 0))
        worlds.agent_steps += np.count_nonzero(acted, axis=1)
        self._events.take(after, acted=acted.any(axis=1), steps=row - worlds.begin)
        ended = ended & worlds.is_active[:, None]
        if np.count_nonzero(ended):
            self._close(np.argwhere(ended), after.final_observations)
        if np.count_nonzero(after.episode_starts):
            for world in np.flatnonzero(after.episode_starts).tolist():
                self._begin_episode(world)
        long = worlds.is_active & (block.row - worlds.first >= self.fragment_steps)
        if np.count_nonzero(long):
            for world in np.flatnonzero(long).tolist():
                self.cut(world)
        if block.is_full:
            self._make_room()

    def _close(self, places: Array, finals: Observations | None) -> None:
        """Note the lives that ended in the last row."""
        buffer, row, environment = self._block.buffer, self._block.row - 1, self._rollout.environment
        if finals is None:
            world, agent = places[0]
            raise EnvironmentFault(
                f"environment '{environment.name}': the episode of world {world}, agent {agent} ended, but the step "
                "has no final_observations"
            )
        for world, agent in places.tolist():
            terminated = bool(buffer.terminations[row, world, agent])
            values = buffer.bootstrap_values[row]
            self._close_life(world, agent, "terminated" if terminated else "truncated", finals, values)
            self._life_row[world, agent] = _NONE
            self._life[world, agent] += 1

    def _close_life(self, world: int, agent: int, ending: Ending, seen: Observations, values: Array) -> None:
        final = {f"{FINAL_PREFIX}{name}": leaf[world, agent].copy() for name, leaf in seen.items()}
        self._worlds.closed[world].append(
            _Life(
                agent=agent,
                number=int(self._life[world, agent]),
                first=int(self._life_row[world, agent]),
                last=self._block.row,
                ending=ending,
                final={**final, "bootstrap_values": values[world, agent]},
            )
        )

    def _begin_episode(self, world: int) -> None:
        """Hand over the episode of a world that has ended, and begin the next one with the next row."""
        worlds = self._worlds
        if worlds.is_active[world]:
            running = np.flatnonzero(self._life_row[world] >= 0)
            if len(running):
                raise EnvironmentFault(
                    f"environment '{self._rollout.environment.name}': the next episode of world {world} begins, and "
                    f"that of its agent {running[0]} has not ended"
                )
            self._hand_over(world, is_over=True)
        worlds.number[world] += 1
        worlds.begin[world] = self._block.row
        self._life[world] = 0

    def pause(self, values: Array) -> None:
        """Keep what the agents see now: there may be no environment any more when the recording is cut here.

        Args:
            values: (N, A) float32, of what they see.
        """
        self._last = {name: leaf.copy() for name, leaf in self._rollout.current.observations.items()}, values.copy()

    def _seen_last(self) -> tuple[Observations, Array]:
        if self._last is None:
            self.pause(self._rollout.policy.values(self._rollout.current.observations))
            assert self._last is not None
        return self._last

    def cut(self, world: int) -> None:
        """Hand over what there is of a world; lives that go on are "cut", and go on in a stretch of their own."""
        row = self._block.row
        running = (self._life_row[world] >= 0) & (self._life_row[world] < row)
        present = self._block.buffer.agent_mask
        for agent in np.flatnonzero(running).tolist():
            if present[self._life_row[world, agent] : row, world, agent].any():  # else it was absent all along
                self._close_life(world, agent, "cut", *self._seen_last())
            self._life_row[world, agent] = row
        if self._worlds.closed[world]:
            self._hand_over(world, is_over=False)
        else:
            self._worlds.first[world] = row  # there is nothing that has to be kept

    def cut_all(self) -> None:
        """Hand over what there is of every world; see `cut`."""
        for world in np.flatnonzero(self._worlds.is_active).tolist():
            self.cut(world)

    def _hand_over(self, world: int, *, is_over: bool) -> None:
        worlds = self._worlds
        lives = sorted(worlds.closed[world], key=lambda life: (life.agent, life.number))
        worlds.closed[world] = []
        worlds.first[world] = self._block.row
        worlds.agent_steps[world] = 0
        self._sink(
            RecordedEpisode(
                world=world,
                number=int(worlds.number[world]),
                trajectories=[self._trajectory(world, life) for life in lives],
                events=self._events.pop(world),
                is_over=is_over,
            )
        )

    def _trajectory(self, world: int, life: _Life) -> Trajectory:
        rows = slice(life.first, life.last)
        present = self._block.buffer.agent_mask[rows, world, life.agent]
        wanted = slice(None) if present.all() else present
        begin = life.first + int(present.argmax())
        return Trajectory(
            steps={
                name: column[rows, world, life.agent][wanted].copy()
                for name, column in self._block.columns.items()
                if name not in _NOT_STEPS
            },
            final=life.final,
            ending=life.ending,
            agent=life.agent,
            life=life.number,
            start_step=begin - int(self._worlds.begin[world]),
        )

    def _make_room(self) -> None:
        worlds = self._worlds
        moved = self._block.make_room(int(worlds.first[worlds.is_active].min(initial=self._block.row)))
        worlds.begin -= moved
        worlds.first -= moved
        self._life_row -= np.where(self._life_row >= 0, moved, 0)
        for life in (life for lives in worlds.closed for life in lives):
            life.first -= moved
            life.last -= moved
