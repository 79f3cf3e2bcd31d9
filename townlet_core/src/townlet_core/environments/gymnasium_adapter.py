"""What the sync and workers modes of the Gymnasium adapter share: the contract on top of a block of arrays (A = 1).

Legend: N worlds, D action dimensions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.environments.action_codec import ActionCodec
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.errors import UsageError
from townlet_core.randomness import MAX_SEED
from townlet_core.spaces import flatten_action_space, flatten_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.block_arrays import BlockArrays
    from townlet_core.spaces import Space


class GymnasiumAdapter(VectorEnvironment):
    """N single-agent worlds whose arrays a block, or several, writes; autoreset within the step.

    After a fault everything is closed: nothing of the faulty step can be read, and only a new environment can go on.
    """

    num_agents = 1
    autoreset = AutoresetMode.SAME_STEP
    exact = True

    def __init__(
        self, *, name: str, num_worlds: int, observation_space: Space, action_space: Space, arrays: BlockArrays
    ) -> None:
        self.name = name
        self.num_worlds = num_worlds
        self.observation_spaces = flatten_space(observation_space)
        self.action_space = flatten_action_space(action_space)
        self._codec = ActionCodec(action_space, num_worlds)
        self._arrays = arrays
        self._steps: tuple[EnvironmentStep, EnvironmentStep] | None = None
        self._is_closed = False

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
        prepared = self._codec.prepare(actions)
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
    def _reset_worlds(self, seeds: list[int], indices: list[int]) -> bool:
        """Reset all worlds and return whether they have action masks."""

    @abstractmethod
    def _step_worlds(self, actions: Array) -> bool:
        """Step all worlds and return whether an episode ended."""

    @abstractmethod
    def _close_worlds(self) -> None:
        """Release what is held."""

    def _require_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"environment '{self.name}' is closed: by close(), or by a fault that was raised before")

    def _step_views(self, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations; their arrays never move."""
        arrays = self._arrays
        parts = {
            "observations": dict(
                zip(self.observation_spaces, (leaf[:, None] for leaf in arrays.observations), strict=True)
            ),
            "agent_mask": np.ones((self.num_worlds, 1), dtype=bool),
            "action_mask": arrays.action_mask[:, None] if is_masked else None,
            "rewards": arrays.rewards[:, None],
            "terminations": arrays.terminations[:, None],
            "truncations": arrays.truncations[:, None],
            "episode_starts": arrays.episode_starts,
        }
        finals = dict(zip(self.observation_spaces, (leaf[:, None] for leaf in arrays.final_observations), strict=True))
        return EnvironmentStep(**parts), EnvironmentStep(**parts, final_observations=finals)  # type: ignore[arg-type]  # one dict of parts


def seed_lists(seeds: int | Sequence[int], num_worlds: int) -> tuple[list[int], list[int]]:
    """Return, for each world, its seed and the world index that it draws its key with.

    Raises:
        UsageError: not one seed for each world, or a seed that is not in 0..2**63-1.
    """
    if isinstance(seeds, int | np.integer):
        each, indices = [int(seeds)] * num_worlds, list(range(num_worlds))
    else:
        each, indices = [int(seed) for seed in seeds], [0] * num_worlds
    if len(each) != num_worlds:
        raise UsageError(
            f"reset was given {len(each)} seeds for {num_worlds} worlds: give one for each, or one for all"
        )
    wrong = [seed for seed in each if not 0 <= seed <= MAX_SEED]
    if wrong:
        raise UsageError(f"{wrong[0]} is not a seed: seeds are 0 to 2**63 - 1")
    return each, indices
