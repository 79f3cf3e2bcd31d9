"""A capture: world-episodes, each under a seed of its own, written in the order of their seeds.

Worlds run side by side, and an episode waits until those before it are written; so what is written does not depend on
how many worlds there are. What would have to wait with too much is given up and run again later.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import EnvironmentFault
from townlet_core.services.capture_plan import CapturePlan, CaptureStatistics
from townlet_core.services.recording import TrajectoryRecorder
from townlet_core.services.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.replay.trajectory import Trajectory
    from townlet_core.replay.writer import DatasetWriter
    from townlet_core.services.recording import RecordedEpisode

ROWS_AT_RISK = 100_000
"""A shard is written after so many agent-steps at the latest: what is lost when the process is killed. [steps]"""


class CaptureRun:
    """Runs a plan.

    Groups are the numbers of world-episodes; the *head* is the first one that is not written.

    Args:
        environment: where; it has to take one seed for each world.
        policy: who acts.
        writer: takes what was recorded; its spaces and event kinds are those of the environment.
        plan: how much.
        should_stop: asked after every step.
        on_progress: called after every step with (world-episodes written, agent-steps made).
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        writer: DatasetWriter,
        plan: CapturePlan,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int], None] = lambda _episodes, _steps: None,
    ) -> None:
        self._environment, self._policy, self._writer, self._plan = environment, policy, writer, plan
        self._should_stop, self._on_progress = should_stop, on_progress
        self._seeds: dict[int, int] = {}
        self._head = self._first = self._end = plan.first_group
        self._waiting: dict[int, list[RecordedEpisode]] = {}
        self._waiting_bytes = self._rows_at_risk = self._steps_made = 0
        self._lives: dict[tuple[int, int], float] = {}
        self._has_rows = False
        self.statistics = CaptureStatistics()

    def run(self) -> CaptureStatistics:
        """Record what the plan asks for, and return what was written.

        Raises:
            EnvironmentFault: an episode failed, did not end, or had no agent.
            DatasetError: the writer refused.
            StorageError: the system did.
        """
        while not self._is_done() and not self.statistics.interrupted:
            self._run_batch()
        return self.statistics

    def _is_done(self) -> bool:
        plan, done = self._plan, self.statistics
        if plan.agent_steps is not None:
            return done.agent_steps >= plan.agent_steps
        return self._head - plan.first_group >= (plan.episodes or 0)

    def _seed(self, group: int) -> int:
        if group not in self._seeds:
            self._seeds[group] = next(self._plan.seeds)
        return self._seeds[group]

    def _run_batch(self) -> None:
        """Run one episode in each world, from the head on; worlds left over repeat the last seed, unread."""
        plan, num_worlds = self._plan, self._environment.num_worlds
        self._first = self._head
        self._end = self._head + num_worlds
        if plan.agent_steps is None:
            self._end = min(self._end, plan.first_group + (plan.episodes or 0))
        seeds = [self._seed(group) for group in range(self._first, self._end)]
        padded = seeds + [seeds[-1]] * (num_worlds - len(seeds))
        rollout = Rollout(
            self._environment, self._policy, seeds=padded, purpose="capture", deterministic=plan.deterministic
        )
        self._recorder = rollout.recorder = TrajectoryRecorder(
            rollout, sink=self._take, num_active=len(seeds), fragment_bytes=plan.fragment_bytes
        )
        for _ in range(plan.max_steps + (plan.agent_steps or 0)):
            acted, ended, _ = rollout.step()
            self._steps_made += int(np.count_nonzero(acted))
            if np.count_nonzero(ended):
                rollout.clear(ended)
            self._cut_when_full()
            self._on_progress(self.statistics.episodes, self._steps_made)
            if self._is_done() or self._head >= self._end:
                break
            if self._should_stop():
                self._keep_finished()
                break
        else:
            raise EnvironmentFault(
                f"environment '{self._environment.name}': seed {self._seed(self._head)} has not ended after "
                f"{plan.max_steps + (plan.agent_steps or 0):,} steps; set environment.max_episode_steps"
            )

    def _take(self, episode: RecordedEpisode) -> None:
        if self._is_done():  # another world's in the step that was the last one
            return
        group = self._first + episode.world
        if episode.is_over:
            self._recorder.stop(episode.world)
        if group == self._head:
            self._write(group, episode)
            if episode.is_over:
                self._next_head()
            return
        self._waiting.setdefault(group, []).append(episode)
        self._waiting_bytes += _num_bytes(episode)
        while self._waiting_bytes > self._plan.waiting_bytes and self._end - 1 > self._head:
            self._give_up(self._end - 1)

    def _give_up(self, group: int) -> None:
        """Leave a group and all after it to a later batch."""
        for late in range(group, self._end):
            self._recorder.stop(late - self._first)
            self._waiting_bytes -= sum(map(_num_bytes, self._waiting.pop(late, [])))
        self._end = group

    def _next_head(self) -> None:
        """Go on to the next group, and write what of it waits."""
        while True:
            if not self._has_rows:
                raise EnvironmentFault(
                    f"environment '{self._environment.name}': seed {self._seed(self._head)}: no agent was present in "
                    "the whole episode"
                )
            self._end_group()
            self._head += 1
            if self._head >= self._end or self._is_done():
                return
            waiting = self._waiting.get(self._head, [])
            if self._is_too_much(waiting):
                self._give_up(self._head)
                return
            self._waiting.pop(self._head, None)
            self._waiting_bytes -= sum(map(_num_bytes, waiting))
            for episode in waiting:
                self._write(self._head, episode)
            if not (waiting and waiting[-1].is_over):
                return

    def _is_too_much(self, waiting: list[RecordedEpisode]) -> bool:
        """Return whether the new head has gone too far: then it is run again, and stopped where it has to be."""
        if self._plan.agent_steps is None:
            return False
        running = self._recorder.agent_steps(self._head - self._first)
        steps = self.statistics.agent_steps + running + sum(episode.agent_steps for episode in waiting)
        return steps >= self._plan.agent_steps

    def _cut_when_full(self) -> None:
        """End the recording within the head's episode once there are enough agent-steps."""
        wanted, world = self._plan.agent_steps, self._head - self._first
        if wanted is None or self._head >= self._end or (self._is_done() and not self._has_rows):
            return
        if self.statistics.agent_steps + self._recorder.agent_steps(world) >= wanted:
            self._recorder.cut(world)
            self._end_group()

    def _keep_finished(self) -> None:
        """Write the groups that have ended, though one before them has not."""
        self.statistics.interrupted = True
        if self._has_rows:  # a long one, of which the first stretches are written
            self._end_group()
        for group, episodes in sorted(self._waiting.items()):
            if episodes[-1].is_over:
                for episode in episodes:
                    self._write(group, episode)
                self._end_group()

    def _write(self, group: int, episode: RecordedEpisode) -> None:
        plan, statistics, writer = self._plan, self.statistics, self._writer
        said: dict[str, Any] = {"group": group, "seed": self._seed(group), "source": plan.source, "tags": plan.tags}
        if len(episode.events["event.step"]):
            writer.add_events({**episode.events, "event.group": np.full_like(episode.events["event.group"], group)})
        for trajectory in episode.trajectories:
            writer.add(replace(trajectory, **said))
            self._count(trajectory)
        statistics.agent_steps += episode.agent_steps
        self._rows_at_risk += episode.agent_steps
        self._has_rows |= bool(episode.trajectories)

    def _count(self, trajectory: Trajectory) -> None:
        statistics, life = self.statistics, (trajectory.agent, trajectory.life)
        statistics.trajectories += 1
        statistics.endings[trajectory.ending] += 1
        total = self._lives.pop(life, 0.0) + trajectory.episode_return
        if trajectory.ending == "cut":
            self._lives[life] = total
        else:
            statistics.add_return(total)

    def _end_group(self) -> None:
        self.statistics.episodes += 1
        self._lives, self._has_rows = {}, False
        if self._rows_at_risk >= ROWS_AT_RISK:
            self._rows_at_risk = 0
            self._writer.flush()


def _num_bytes(episode: RecordedEpisode) -> int:
    return sum(column.nbytes for trajectory in episode.trajectories for column in trajectory.steps.values())
