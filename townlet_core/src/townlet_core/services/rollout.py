"""The one loop that collects experience: capture, evaluation and PPO step through it.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import DataError, EnvironmentFault, UsageError
from townlet_core.policy.learner_arrays import require_alike
from townlet_core.services.noise import ActionNoise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.recording import TrajectoryRecorder


@dataclass(slots=True)
class RolloutStatistics:
    """What a stretch of steps amounted to.

    Attributes:
        agent_steps: steps of present agents; reset steps are not counted.
        episode_returns: undiscounted return of each agent episode that ended, in order of time, world and slot.
        episode_lengths: its length in steps.
        events: sums of the environment's event counts by name.
    """

    agent_steps: int = 0
    episode_returns: list[float] = field(default_factory=list)
    episode_lengths: list[int] = field(default_factory=list)
    events: dict[str, float] = field(default_factory=dict)


class Rollout:
    """A policy stepping through an environment.

    Attributes:
        current: what the environment shows now; the next decision is made on it.
        returns: (N, A) float64, undiscounted return of each agent's running episode.
        lengths: (N, A) int64, its steps so far.
        recorder: is shown every step; None for nobody.
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        *,
        seeds: int | Sequence[int],
        purpose: str,
        deterministic: bool = False,
    ) -> None:
        """Reset the environment; see `VectorEnvironment.reset` for `seeds`, `ActionNoise` for `purpose`."""
        shape = (environment.num_worlds, environment.num_agents)
        self.environment = environment
        self.policy = policy
        self.current: EnvironmentStep = environment.reset(seeds)
        self.returns = np.zeros(shape)
        self.lengths = np.zeros(shape, dtype=np.int64)
        self.recorder: TrajectoryRecorder | None = None
        self._is_masked = self.current.action_mask is not None
        self._state: object | None = None
        self._noise = (
            None
            if deterministic
            else ActionNoise(seeds, purpose, num_worlds=shape[0], num_agents=shape[1], size=policy.noise_size)
        )

    def step(self, buffer: RolloutBuffer | None = None, index: int = 0) -> tuple[Array, Array, EnvironmentStep]:
        """Let every present agent act once.

        Args:
            buffer: where to record the step; None records nothing.
            index: the row of the buffer.

        Returns:
            agent_mask (N, A) of those who acted; ended (N, A) of those whose episode ended; what the environment shows.
        """
        if buffer is None and self.recorder is not None:
            buffer, index = self.recorder.next_row()
        before = self.current
        agent_mask = before.agent_mask.copy()
        noise = None if self._noise is None else self._noise.next()
        decision = self.policy.act(before.observations, before.action_mask, agent_mask, noise, self._state)
        self._state = decision.state
        if buffer is not None:
            for name, observation in before.observations.items():
                buffer.observations[name][index] = observation
            if buffer.action_mask is not None:
                buffer.action_mask[index] = before.action_mask
            buffer.agent_mask[index] = agent_mask
            buffer.actions[index] = decision.actions
            buffer.log_probs[index] = decision.log_probs
            buffer.values[index] = decision.values
            if buffer.blend is not None and decision.blend is not None:
                buffer.blend.is_scripted[index] = decision.blend.is_scripted
                buffer.blend.learner_log_probs[index] = decision.blend.learner_log_probs
        after = self.environment.step(decision.actions)
        if (after.action_mask is not None) is not self._is_masked:
            had = "had an action_mask before and has none now" if self._is_masked else "has an action_mask only now"
            raise EnvironmentFault(
                f"environment '{self.environment.name}': it {had}; it has one in every step, or never"
            )
        self.current = after
        if self._noise is not None and np.count_nonzero(after.episode_starts):
            self._noise.begin_episodes(after.episode_starts)
        ended = (after.terminations | after.truncations) & agent_mask
        self._count(after.rewards, agent_mask)
        if buffer is not None:
            buffer.rewards[index] = after.rewards
            buffer.terminations[index] = after.terminations
            buffer.truncations[index] = after.truncations
            buffer.bootstrap_values[index] = self._bootstrap(after, ended) if np.count_nonzero(ended) else 0.0
            if self.recorder is not None:
                self.recorder.take(buffer, index, ended)
        return agent_mask, ended, after

    def _count(self, rewards: Array, agent_mask: Array) -> None:
        """Add a step to the returns and lengths of those who acted."""
        if np.count_nonzero(agent_mask) == agent_mask.size:
            self.returns += rewards
            self.lengths += 1
        else:
            np.add(self.returns, rewards, out=self.returns, where=agent_mask)
            self.lengths += agent_mask

    def _bootstrap(self, after: EnvironmentStep, ended: Array) -> Array | float:
        cut = ended & ~after.terminations
        if not np.count_nonzero(cut):
            return 0.0
        if after.final_observations is None:
            world, agent = (int(index) for index in np.argwhere(cut)[0])
            raise EnvironmentFault(
                f"environment '{self.environment.name}': world {world}, agent {agent} was truncated, but the step "
                "has no final_observations; without them a time limit would be taken for the end of the task"
            )
        return np.where(cut, self.policy.values(after.final_observations), np.float32(0.0))

    def snapshot(self) -> dict[str, Array] | None:
        """Return everything that the next step depends on, the policy apart; None where the environment cannot tell."""
        worlds = self.environment.snapshot() if self._state is None else None
        if worlds is None:
            return None
        arrays = {f"environment.{name}": array for name, array in worlds.items()}
        if self._noise is not None:
            arrays |= {f"noise.{name}": array for name, array in self._noise.snapshot().items()}
        return arrays | {"returns": self.returns.copy(), "lengths": self.lengths.copy()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go back to a snapshot of a rollout that was started alike.

        Raises:
            DataError: it is of another one: a name is missing, or a shape differs.
            EpisodesLostError: see `VectorEnvironment.restore`.
        """
        mine = self.snapshot()
        if mine is None:
            raise UsageError(f"environment '{self.environment.name}' cannot go back to a snapshot")
        try:
            require_alike(arrays, mine, growing={f"environment.{name}" for name in self.environment.growing_arrays})
        except ValueError as error:
            raise DataError(f"the snapshot is not of this rollout: {error}") from error
        self.current = self.environment.restore(_part(arrays, "environment."))
        if self._noise is not None:
            self._noise.restore(_part(arrays, "noise."))
        self.returns, self.lengths = arrays["returns"].copy(), arrays["lengths"].copy()
        position = None if self._noise is None else self._noise.position()
        if self.recorder is not None and position is not None:
            self.recorder.begin_within(*position)

    def clear(self, ended: Array) -> None:
        """Forget the returns and lengths of the episodes that ended, (N, A) bool."""
        self.returns[ended] = 0.0
        self.lengths[ended] = 0

    def fill(self, buffer: RolloutBuffer) -> RolloutStatistics:
        """Record T steps into `buffer` and return what they amounted to.

        Raises:
            EnvironmentFault: the environment failed, or nobody was present in all the steps.
        """
        statistics = RolloutStatistics()
        for index in range(len(buffer.rewards)):
            agent_mask, ended, after = self.step(buffer, index)
            statistics.agent_steps += int(np.count_nonzero(agent_mask))
            for name, counts in after.events.items():
                statistics.events[name] = statistics.events.get(name, 0.0) + float(counts.sum())
            if np.count_nonzero(ended):
                statistics.episode_returns.extend(self.returns[ended].tolist())
                statistics.episode_lengths.extend(self.lengths[ended].tolist())
                self.clear(ended)
        if statistics.agent_steps == 0:
            raise EnvironmentFault(
                f"environment '{self.environment.name}': no agent was present in {len(buffer.rewards)} steps of "
                f"{self.environment.num_worlds} worlds; there is nothing to learn from"
            )
        buffer.last_values[:] = self.policy.values(self.current.observations)
        if self.recorder is not None:
            self.recorder.pause(buffer.last_values)
        return statistics


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
