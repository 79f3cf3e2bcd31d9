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
from townlet_core.environments.gym_source import spare_batch_action_checks
from townlet_core.environments.leaf_writers import RowCheck, batch_writer
from townlet_core.environments.limits import require_memory
from townlet_core.environments.seeds import seed_lists
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
            layout = BlockLayout(num_worlds, space, action_space)
            num_bytes = layout.num_bytes()
            require_memory(
                num_bytes, what=f"{num_worlds} worlds of '{source.name}'", remedy="lower environment.num_worlds"
            )
            self._arrays = layout.arrays(bytearray(num_bytes))
        except BaseException:
            self._vector.close()
            raise
        spare_batch_action_checks(self._vector)
        self._write = batch_writer(space, self._arrays.observations)
        self._codec = ActionCodec(action_space, num_worlds)
        self._num_actions = action_count(action_space)
        self._check = RowCheck(space)
        self._ended = np.zeros(num_worlds, bool)
        self._agent_mask = np.ones(num_worlds, bool)
        self._have_ended = False
        self._seed: int | None = None
        self._is_masked = False
        self._is_closed = False
        self._steps: tuple[EnvironmentStep, EnvironmentStep] | None = None

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
        for column in (self._arrays.ages, self._arrays.episodes):
            column.fill(0)
        self._steps = None
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
        self._is_masked = self._num_actions > 0 and _ACTION_MASK in info
        self._arrays.episode_starts.fill(True)  # noqa: FBT003  (the value to fill with)
        self._steps = self._step_views()
        zeros, nobody = np.zeros(self.num_worlds, np.float32), np.zeros(self.num_worlds, bool)
        return self._shown(self._steps, (observations, zeros, nobody, nobody, info))

    def step(self, actions: Array) -> EnvironmentStep:
        """Make one step in every world; see `VectorEnvironment.step`."""
        self._require_open()
        if self._steps is None:
            raise UsageError(f"environment '{self.name}': step was called before reset")
        arrays, starts = self._arrays, self._ended
        if self._have_ended:
            actions = np.array(actions)
            actions[starts] = 0
        prepared = self._codec.prepare(actions)
        arrays.episode_starts[...] = starts
        ages = arrays.ages
        ages += 1
        if self._have_ended:
            ages[starts] = 0
            arrays.episodes[starts] += 1
        try:
            given = self._vector.step(prepared)
        except Exception as error:
            raise self._fault(None, f"step raised {type(error).__name__}: {error}", error) from error
        return self._shown(self._steps, given)

    def close(self) -> None:
        """Release the worlds; may be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._steps = None
            with contextlib.suppress(Exception):  # what fails while closing cannot be helped any more
                self._vector.close()

    def _shown(self, steps: tuple[EnvironmentStep, EnvironmentStep], given: Any) -> EnvironmentStep:
        """Write what the worlds gave into the arrays and return the step that shows them, or raise."""
        arrays, num_worlds = self._arrays, self.num_worlds
        try:
            observations, rewards, terminations, truncations, info = given
            self._write(observations)
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told below
                arrays.rewards[...] = _column("rewards", rewards, num_worlds, "biuf")
            arrays.terminations[...] = _column("terminations", terminations, num_worlds, "b")
            arrays.truncations[...] = _column("truncations", truncations, num_worlds, "b")
            if self._is_masked:
                self._write_mask(info)
        except FieldError as error:
            raise self._fault(None, str(error)) from error.__cause__
        if not self._check.passes(arrays.observations):
            for world in range(num_worlds):
                problem = self._check.problem(arrays.observations, world)
                if problem is not None:
                    raise self._fault(world, problem)
        if not is_finite(arrays.rewards):
            world = int(np.argmin(np.isfinite(arrays.rewards)))
            raise self._fault(world, f"reward is {arrays.rewards[world]}")
        np.logical_or(arrays.terminations, arrays.truncations, out=self._ended)
        np.logical_not(self._ended, out=self._agent_mask)
        self._have_ended = bool(np.count_nonzero(self._ended))
        return steps[self._have_ended]

    def _step_views(self) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations; their arrays never move."""
        arrays = self._arrays
        shown = dict(zip(self.observation_spaces, (leaf[:, None] for leaf in arrays.observations), strict=True))
        step = EnvironmentStep(
            observations=shown,
            agent_mask=self._agent_mask[:, None],
            action_mask=arrays.action_mask[:, None] if self._is_masked else None,
            rewards=arrays.rewards[:, None],
            terminations=arrays.terminations[:, None],
            truncations=arrays.truncations[:, None],
            episode_starts=arrays.episode_starts,
        )
        return step, replace(step, final_observations=shown)

    def _write_mask(self, info: Any) -> None:
        mask = np.asarray(info.get(_ACTION_MASK))
        if mask.shape != (self.num_worlds, self._num_actions) or mask.dtype.kind not in "biu":
            expected = (self.num_worlds, self._num_actions)
            raise FieldError(
                "info['action_mask']", f"has shape {mask.shape} and dtype {mask.dtype}, expected {expected} flags"
            )
        self._arrays.action_mask[...] = mask

    def _fault(self, world: int | None, problem: str, cause: BaseException | None = None) -> EnvironmentFault:
        """Close everything and return the error to raise."""
        self.close()
        place = Place(environment=self.name, world=world, seed=self._seed)
        if world is not None:
            place = replace(place, episode=int(self._arrays.episodes[world]), step=int(self._arrays.ages[world]))
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
