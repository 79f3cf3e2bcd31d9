"""A block of Gymnasium worlds, stepped in one loop that writes into given arrays; autoreset within the step.

The same code runs in this process (`sync`) and in every worker, so that both give the same bytes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.arrays import is_finite
from townlet_core.environments.faults import FieldError, Place
from townlet_core.environments.leaf_writers import RowCheck, observation_writer, rows_writer
from townlet_core.environments.seeds import EpisodeSeeds
from townlet_core.environments.step_values import ACTION_MASK, flat_action_mask, require_flag, reward_number
from townlet_core.environments.worlds import close_worlds
from townlet_core.errors import EnvironmentFault
from townlet_core.spaces import action_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.block_arrays import BlockArrays
    from townlet_core.environments.gym_source import World
    from townlet_core.spaces import Space


class WorldBlock:
    """Worlds `first` to `first + len(worlds)` of an environment.

    As in Gymnasium's own loop, what a world shows has to stay as it is until all worlds have made their step.

    Args:
        worlds: the worlds, all with the same spaces.
        limits: each world's time limit in steps, or None.
        name: the environment's name, for messages.
        first: index of the first world within the environment.
        arrays: what is written; as many rows as there are worlds.
    """

    def __init__(
        self, worlds: Sequence[World], limits: Sequence[int | None], *, name: str, first: int, arrays: BlockArrays
    ) -> None:
        self._worlds = list(worlds)
        self._limits = [sys.maxsize if limit is None else limit for limit in limits]
        self._name = name
        self._first = first
        self._arrays = arrays
        space: Space = worlds[0].observation_space
        self._write = observation_writer(space, arrays.observations)
        self._write_rows = rows_writer(space, arrays.observations)
        self._check = RowCheck(space)
        self._is_discrete = isinstance(worlds[0].action_space, spaces.Discrete)
        self._num_actions = action_count(worlds[0].action_space)
        self._step_functions = [world.step for world in worlds]
        self._seeds = EpisodeSeeds([0] * len(self._worlds), range(len(self._worlds)))
        self._is_masked = False

    def single_worlds(self) -> list[WorldBlock]:
        """Return each world as a block of its own, which writes where this one does."""
        return [
            WorldBlock(
                self._worlds[row : row + 1],
                self._limits[row : row + 1],
                name=self._name,
                first=self._first + row,
                arrays=self._arrays.rows(row, row + 1),
            )
            for row in range(len(self._worlds))
        ]

    def reset(self, seeds: Sequence[int], indices: Sequence[int], episodes: Sequence[int] | None = None) -> bool:
        """Start an episode everywhere.

        Args:
            seeds: the seed of each world.
            indices: the world index that each draws its key with.
            episodes: which episode of each world, from 0; None for the first ones.

        Returns:
            Whether these worlds tell which actions are allowed (``info["action_mask"]``).

        Raises:
            EnvironmentFault: a world failed.
        """
        arrays = self._arrays
        self._seeds = EpisodeSeeds(seeds, indices)
        for column in (arrays.rewards, arrays.terminations, arrays.truncations, arrays.ages):
            column.fill(0)
        arrays.episodes[:] = 0 if episodes is None else episodes
        arrays.episode_starts.fill(True)  # noqa: FBT003  (the value to fill with)
        arrays.action_mask.fill(True)  # noqa: FBT003  (the value to fill with)
        first = [self._reset_world(world) for world in range(len(self._worlds))]
        self._write_all([observation for observation, _ in first])
        masks = [mask for _, mask in first]
        self._is_masked = self._num_actions > 0 and masks[0] is not None
        for world, mask in enumerate(masks):
            self._write_mask(world, mask)
        self._require_possible(arrays.observations)
        return self._is_masked

    def step(self, actions: Array) -> bool:
        """Make one step everywhere.

        Args:
            actions: (N,) int64 or (N, ...), in the worlds' own action space.

        Returns:
            Whether an episode ended, so that `final_observations` hold something new.

        Raises:
            EnvironmentFault: a world failed.
        """
        arrays, limits = self._arrays, self._limits
        rewards, current, is_masked = arrays.rewards, arrays.current, self._is_masked
        seen: list[Any] = []
        earned: list[float] = []
        arrays.terminations.fill(False)  # noqa: FBT003  (the value to fill with)
        arrays.truncations.fill(False)  # noqa: FBT003  (the value to fill with)
        arrays.episode_starts.fill(False)  # noqa: FBT003  (the value to fill with)
        ages_array = arrays.ages
        ages_array += 1
        ages = ages_array.tolist()
        choices = actions.tolist() if self._is_discrete else list(actions.copy())  # a world may keep what it is given
        has_ended = False
        world = 0
        try:
            for world, step in enumerate(self._step_functions):
                current[0] = world
                observation, reward, terminated, truncated, info = step(choices[world])
                seen.append(observation)
                earned.append(reward if reward.__class__ is float else reward_number(reward))
                if terminated is False and truncated is False and ages[world] < limits[world]:
                    if is_masked:
                        self._write_mask(world, info.get(ACTION_MASK))
                elif self._ends(world, observation, terminated, truncated):
                    has_ended = True
                    seen[world] = self._begin_next(world)
                elif is_masked:
                    self._write_mask(world, info.get(ACTION_MASK))
        except EnvironmentFault:
            raise
        except FieldError as error:
            raise self._place(world).fault(str(error)) from error.__cause__
        except Exception as error:
            raise self._place(world).fault(f"step raised {type(error).__name__}: {error}", cause=error) from error
        self._write_all(seen)
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told below
            rewards[:] = earned
        self._require_possible(arrays.observations)
        if not is_finite(rewards):
            world = int(np.argmin(np.isfinite(rewards)))
            raise self._place(world).fault(f"reward is {rewards[world]}")
        return has_ended

    def close(self) -> None:
        """Close every world, whatever the others do."""
        close_worlds(self._worlds)

    def _ends(self, world: int, observation: Any, terminated: Any, truncated: Any) -> bool:
        """Note the end of an episode, if it is one; return whether it was."""
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            require_flag(name, flag)
        arrays = self._arrays
        has_run_out = int(arrays.ages[world]) >= self._limits[world]
        if not (terminated or truncated or has_run_out):
            return False
        arrays.terminations[world] = terminated
        arrays.truncations[world] = truncated or has_run_out
        self._write(world, observation)
        for final, leaf in zip(arrays.final_observations, arrays.observations, strict=True):
            final[world] = leaf[world]
        problem = self._check.problem(arrays.final_observations, world)
        if problem is not None:
            raise self._place(world).fault(problem)
        return True

    def _begin_next(self, world: int) -> Any:
        """Start the next episode of a world and return its first observation."""
        arrays = self._arrays
        arrays.episode_starts[world] = True
        arrays.episodes[world] += 1
        arrays.ages[world] = 0
        observation, mask = self._reset_world(world)
        self._write_mask(world, mask)
        return observation

    def _reset_world(self, world: int) -> tuple[Any, Any]:
        """Reset one world with the seed of its episode and return its observation and its action mask or None."""
        self._arrays.current[0] = world
        try:
            observation, info = self._worlds[world].reset(seed=self._seeds.of(world, int(self._arrays.episodes[world])))
            return observation, info.get(ACTION_MASK)
        except Exception as error:
            raise self._place(world).fault(f"reset raised {type(error).__name__}: {error}", cause=error) from error

    def _write_all(self, observations: list[Any]) -> None:
        """Write what every world shows, at once if that is possible."""
        if self._write_rows(observations):
            return
        world = 0
        try:
            for world, observation in enumerate(observations):
                self._write(world, observation)
        except FieldError as error:
            raise self._place(world).fault(str(error)) from error.__cause__
        except Exception as error:
            raise self._place(world).fault(
                f"its observation raised {type(error).__name__}: {error}", cause=error
            ) from error

    def _write_mask(self, world: int, mask: Any) -> None:
        if not self._is_masked:
            return
        if mask is None:
            raise self._place(world).fault("info has no 'action_mask' any more, and had one after the first reset")
        try:
            self._arrays.action_mask[world] = flat_action_mask("info['action_mask']", mask, self._num_actions)
        except FieldError as error:
            raise self._place(world).fault(str(error)) from error

    def _require_possible(self, leaves: tuple[Array, ...]) -> None:
        if self._check.passes(leaves):
            return
        for world in range(len(self._worlds)):
            problem = self._check.problem(leaves, world)
            if problem is not None:
                raise self._place(world).fault(problem)

    def _place(self, world: int) -> Place:
        episode = int(self._arrays.episodes[world])
        seed = self._seeds.of(world, episode)
        return Place(
            environment=self._name,
            world=self._first + world,
            episode=episode,
            seed=seed,
            step=int(self._arrays.ages[world]),
        )
