"""The life of an environment whose worlds are stepped here: reset before step, closed for good after a fault."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from townlet_core.environments.episode_replay import RunningEpisodes, kept_episodes, require_same
from townlet_core.environments.seeds import seed_lists
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.errors import DataError, EpisodesLostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.agent_arrays import AgentArrays
    from townlet_core.environments.block_arrays import BlockArrays
    from townlet_core.environments.episode_replay import ActionLog


class SteppedWorlds(VectorEnvironment):
    """N worlds that write into arrays which never move; autoreset within the step.

    After a fault everything is closed: nothing of the faulty step can be read, and only a new environment can go on.
    """

    autoreset = AutoresetMode.SAME_STEP
    exact = True
    growing_arrays = ("actions",)
    _arrays: BlockArrays | AgentArrays
    _log: ActionLog
    _seeds: tuple[list[int], list[int]]
    _steps: tuple[EnvironmentStep, EnvironmentStep] | None = None
    _is_closed = False

    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        """Start episode 0 in every world; see `VectorEnvironment.reset`."""
        self._require_open()
        each, indices = seed_lists(seeds, self.num_worlds)
        self._steps = None
        try:
            is_masked = self._reset_worlds(each, indices)
        except BaseException:
            self.close()
            raise
        self._seeds = each, indices
        self._steps = self._step_views(is_masked=is_masked)
        return self._steps[0]

    def step(self, actions: Array) -> EnvironmentStep:
        """Make one step in every world; see `VectorEnvironment.step`."""
        if self._steps is None:
            self._require_open()
            raise UsageError(f"environment '{self.name}': step was called before reset")
        prepared = self._prepare(actions)
        self._log.add(actions, self._arrays.ages)
        try:
            has_ended = self._step_worlds(prepared)
        except BaseException:
            self.close()
            raise
        return self._steps[has_ended]

    def snapshot(self) -> dict[str, Array] | None:
        """Return the seeds' places and the actions of the running episodes; see `VectorEnvironment.snapshot`."""
        if self._steps is None:
            return None
        return kept_episodes(self._log, self._steps[0], episodes=self._arrays.episodes, ages=self._arrays.ages)

    def restore(self, arrays: dict[str, Array]) -> EnvironmentStep:
        """Make the running episodes again; see `VectorEnvironment.restore`. It takes the time that they took."""
        steps = self._steps
        if steps is None:
            self._require_open()
            raise UsageError(f"environment '{self.name}': restore was called before reset")
        actions, ages = arrays["actions"], arrays["ages"].tolist()
        if len(actions) != max(ages):
            raise DataError(f"'actions' has {len(actions)} steps, and the longest episode {max(ages)}")
        self._steps = None
        running = RunningEpisodes(*self._seeds, arrays["episodes"].tolist(), ages, len(actions))
        try:
            replay_step = self._begin_replay(running)
            for row in actions:
                replay_step(self._prepare(row))
            require_same(arrays, steps[0], episodes=self._arrays.episodes, ages=self._arrays.ages)
        except EpisodesLostError as error:
            raise EpisodesLostError(f"environment '{self.name}' cannot go on within its episodes: {error}") from error
        except BaseException:
            self.close()
            raise
        self._arrays.episode_starts.fill(False)  # noqa: FBT003  (the value to fill with)
        self._log.begin_with(actions)
        self._steps = steps
        return steps[0]

    def close(self) -> None:
        """Release the worlds; may be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._steps = None
            self._close_worlds()

    @abstractmethod
    def _prepare(self, actions: Array) -> Any:
        """Check and convert the actions of policies to those of the worlds."""

    @abstractmethod
    def _reset_worlds(self, seeds: list[int], indices: list[int]) -> bool:
        """Reset all worlds and return whether they have action masks."""

    @abstractmethod
    def _step_worlds(self, actions: Any) -> bool:
        """Step all worlds with what `_prepare` returned, and return whether an episode ended."""

    @abstractmethod
    def _begin_replay(self, running: RunningEpisodes) -> Callable[[Any], None]:
        """Reset the worlds to the episodes that they were in, and return what makes one step of them again.

        That is given what `_prepare` returned; both raise `EpisodesLostError`.
        """

    @abstractmethod
    def _close_worlds(self) -> None:
        """Release what is held."""

    @abstractmethod
    def _step_views(self, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations."""

    def _require_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"environment '{self.name}' is closed: by close(), or by a fault that was raised before")
