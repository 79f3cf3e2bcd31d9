"""A Gymnasium environment's own batch version (its vector entry point): faster where there is one, and not exact.

Its worlds share one generator, so that their bytes depend on how many they are. It autoresets in the step after the end
(NEXT_STEP): the step that ends an episode shows its last observation, and the next one shows the first of the new
episode; nobody acts in between (`agent_mask` False), so that the step in between is not counted.

Legend: N worlds, K actions.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode as GymAutoresetMode

from townlet_core.arrays import is_finite
from townlet_core.environments.action_codec import ActionCodec
from townlet_core.environments.block_arrays import BlockLayout
from townlet_core.environments.faults import FieldError, Place
from townlet_core.environments.gymnasium_adapter import seed_lists
from townlet_core.environments.leaf_writers import BatchReader, RowCheck
from townlet_core.environments.limits import require_memory
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.errors import ConfigError, EnvironmentFault, UnavailableError, UsageError
from townlet_core.randomness import integer_seed, key
from townlet_core.spaces import action_count, flatten_action_space, flatten_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.gym_source import GymSource

_ACTION_MASK = "action_mask"


class GymnasiumEntryPoint(VectorEnvironment):
    """N worlds in the environment's own arrays.

    Args:
        source: the registered id.
        num_worlds: N.

    Raises:
        ConfigError: the id has no vector entry point, or it resets in another way than NEXT_STEP.
        UnavailableError: an optional package is missing.
    """

    num_agents = 1
    autoreset = AutoresetMode.NEXT_STEP
    exact = False

    def __init__(self, source: GymSource, num_worlds: int) -> None:
        self.name = source.name
        self.num_worlds = num_worlds
        self._vector = _make_vector(source, num_worlds)
        space, action_space = self._vector.single_observation_space, self._vector.single_action_space
        try:
            self.observation_spaces = flatten_space(space)
            self.action_space = flatten_action_space(action_space)
            num_bytes = BlockLayout(num_worlds, space, action_space).num_bytes()
            require_memory(
                num_bytes, what=f"{num_worlds} worlds of '{source.name}'", remedy="lower environment.num_worlds"
            )
        except BaseException:
            self._vector.close()
            raise
        self._reader = BatchReader(space, num_worlds)
        self._codec = ActionCodec(action_space, num_worlds)
        self._num_actions = action_count(action_space)
        self._check = RowCheck(space)
        self._ended = np.zeros(num_worlds, bool)
        self._ages = np.zeros(num_worlds, np.int64)
        self._episodes = np.zeros(num_worlds, np.int64)
        self._seed: int | None = None
        self._is_masked = False
        self._is_closed = False
        self._is_started = False

    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        """Start episode 0 in every world; see `VectorEnvironment.reset`.

        Raises:
            UsageError: one seed for each world was given, and the environment takes only one for all.
        """
        self._require_open()
        each, indices = seed_lists(seeds, self.num_worlds)
        own: Any
        if isinstance(seeds, int | np.integer):
            own = integer_seed(key(int(seeds), "environment"))[0]
        else:
            own = integer_seed(key(np.array(each, np.uint64), "environment", np.array(indices, np.uint64), 0))
        for column in (self._ended, self._ages, self._episodes):
            column.fill(0)
        self._seed = own if isinstance(own, int) else None
        try:
            observations, info = self._vector.reset(seed=own)
        except Exception as error:
            if isinstance(own, list):
                raise UsageError(
                    f"environment '{self.name}' with vectorization 'entry_point' draws all worlds from one generator "
                    f"and takes no seed for each ({type(error).__name__}: {error}); give one seed, or use 'sync'"
                ) from error
            raise self._fault(None, f"reset raised {type(error).__name__}: {error}", error) from error
        self._is_started = True
        self._is_masked = self._num_actions > 0 and _ACTION_MASK in info
        zeros, nobody = np.zeros(self.num_worlds, np.float32), np.zeros(self.num_worlds, bool)
        return self._shown(observations, zeros, nobody, nobody.copy(), info, starts=np.ones(self.num_worlds, bool))

    def step(self, actions: Array) -> EnvironmentStep:
        """Make one step in every world; see `VectorEnvironment.step`."""
        self._require_open()
        if not self._is_started:
            raise UsageError(f"environment '{self.name}': step was called before reset")
        starts = self._ended
        if starts.any():
            actions = np.array(actions)
            actions[starts] = 0
        prepared = self._codec.prepare(actions)
        self._ages += 1
        self._ages[starts] = 0
        self._episodes += starts
        try:
            observations, rewards, terminations, truncations, info = self._vector.step(prepared)
        except Exception as error:
            raise self._fault(None, f"step raised {type(error).__name__}: {error}", error) from error
        return self._shown(observations, rewards, terminations, truncations, info, starts=starts)

    def close(self) -> None:
        """Release the worlds; may be called twice."""
        if not self._is_closed:
            self._is_closed = True
            with contextlib.suppress(Exception):  # what fails while closing cannot be helped any more
                self._vector.close()

    def _shown(
        self, observations: Any, rewards: Any, terminations: Any, truncations: Any, info: Any, *, starts: Array
    ) -> EnvironmentStep:
        """Return what the worlds gave as a step, or raise: nothing of a faulty batch is shown."""
        try:
            leaves = self._reader.read(observations)
            reward_column = np.array(_column("rewards", rewards, self.num_worlds, "biuf"), np.float32)
            ended_column, cut_column = (
                _column(name, flags, self.num_worlds, "b")
                for name, flags in (("terminations", terminations), ("truncations", truncations))
            )
            mask = self._mask(info) if self._is_masked else None
        except FieldError as error:
            raise self._fault(None, str(error)) from error.__cause__
        for world in () if self._check.passes(leaves) else range(self.num_worlds):
            problem = self._check.problem(leaves, world)
            if problem is not None:
                raise self._fault(world, problem)
        if not is_finite(reward_column):
            world = int(np.argmin(np.isfinite(reward_column)))
            raise self._fault(world, f"reward is {reward_column[world]}")
        self._ended = ended_column | cut_column
        shown = {name: leaf[:, None] for name, leaf in zip(self.observation_spaces, leaves, strict=True)}
        return EnvironmentStep(
            observations=shown,
            agent_mask=~self._ended[:, None],
            action_mask=mask,
            rewards=reward_column[:, None],
            terminations=ended_column[:, None],
            truncations=cut_column[:, None],
            final_observations=shown if self._ended.any() else None,
            episode_starts=starts,
        )

    def _mask(self, info: Any) -> Array:
        mask = np.asarray(info.get(_ACTION_MASK))
        if mask.shape != (self.num_worlds, self._num_actions) or mask.dtype.kind not in "biu":
            expected = (self.num_worlds, self._num_actions)
            raise FieldError(
                "info['action_mask']", f"has shape {mask.shape} and dtype {mask.dtype}, expected {expected} flags"
            )
        return mask.astype(bool)[:, None]

    def _fault(self, world: int | None, problem: str, cause: BaseException | None = None) -> EnvironmentFault:
        """Close everything and return the error to raise."""
        self.close()
        place = Place(environment=self.name, world=world, seed=self._seed)
        if world is not None:
            place = replace(place, episode=int(self._episodes[world]), step=int(self._ages[world]))
        return place.fault(problem, cause=cause)

    def _require_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"environment '{self.name}' is closed: by close(), or by a fault that was raised before")


def _column(name: str, values: Any, num_worlds: int, kinds: str) -> Array:
    column = np.asarray(values)
    if column.shape != (num_worlds,) or column.dtype.kind not in kinds:
        raise FieldError(
            name, f"have shape {column.shape} and dtype {column.dtype}, expected one for each of {num_worlds} worlds"
        )
    return column


def _make_vector(source: GymSource, num_worlds: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make the batch version.

    Raises:
        ConfigError: there is none, it refuses its options, or it does not reset in the next step.
        UnavailableError: an optional package is missing.
    """
    sync = "use environment.vectorization 'sync'"
    if source.is_factory or source.spec().vector_entry_point is None:
        raise ConfigError(
            f"environment '{source.name}' has no vector entry point: {sync}, or 'workers' for several processes"
        )
    options = dict(source.options)
    if source.max_episode_steps is not None:
        options["max_episode_steps"] = source.max_episode_steps
    try:
        vector = gymnasium.make_vec(source.spec(), num_worlds, vectorization_mode="vector_entry_point", **options)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UnavailableError(f"environment '{source.name}' needs a package that is missing: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"the vector entry point of environment '{source.name}' could not be made with {options}: "
            f"{type(error).__name__}: {error}; {sync}"
        ) from error
    mode = vector.metadata.get("autoreset_mode")
    if mode is not GymAutoresetMode.NEXT_STEP:
        vector.close()
        raise ConfigError(
            f"the vector entry point of environment '{source.name}' says autoreset_mode {mode}, "
            f"and only NEXT_STEP is supported: {sync}"
        )
    return vector
