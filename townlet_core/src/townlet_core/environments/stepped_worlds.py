"""The life of an environment whose worlds are stepped here: reset before step, closed for good after a fault."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from townlet_core.environments.seeds import seed_lists
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array


class SteppedWorlds(VectorEnvironment):
    """N worlds that write into arrays which never move; autoreset within the step.

    After a fault everything is closed: nothing of the faulty step can be read, and only a new environment can go on.
    """

    autoreset = AutoresetMode.SAME_STEP
    exact = True
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
        self._steps = self._step_views(is_masked=is_masked)
        return self._steps[0]

    def step(self, actions: Array) -> EnvironmentStep:
        """Make one step in every world; see `VectorEnvironment.step`."""
        if self._steps is None:
            self._require_open()
            raise UsageError(f"environment '{self.name}': step was called before reset")
        prepared = self._prepare(actions)
        try:
            has_ended = self._step_worlds(prepared)
        except BaseException:
            self.close()
            raise
        return self._steps[has_ended]

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
    def _close_worlds(self) -> None:
        """Release what is held."""

    @abstractmethod
    def _step_views(self, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations."""

    def _require_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"environment '{self.name}' is closed: by close(), or by a fault that was raised before")
