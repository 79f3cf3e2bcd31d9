"""The town as a Gymnasium vector environment: N worlds as arrays, with one learner in each.

Legend: N worlds, K = 8 actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from townlet_core.environments.town_env import drawn_seed, require_no_rendering
from townlet_core.environments.town_learner import LearnerTown, Others
from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array, Observations
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import TownConfig


class TownVectorEnv(VectorEnv[Any, Any, Any]):
    """N times `TownEnv` without a loop over the worlds.

    World i behaves, byte for byte, as a `TownEnv` does that is reset with seed + i. Where an episode ends, the next one
    begins within the step (SAME_STEP): `final_obs` and `final_info` of the infos tell how it ended.

    Args:
        num_envs: N.
        scenario, config, max_episode_steps, others, learner, render_mode: see `TownEnv`.

    Raises:
        ConfigError: the scenario is not there or not right, or the worlds do not fit into memory.
        UsageError: an argument is not what it has to be.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it so)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | ScenarioConfig = "default",
        config: TownConfig | None = None,
        max_episode_steps: int | None = None,
        *,
        others: Others = "scripted",
        learner: int = 0,
        render_mode: str | None = None,
    ) -> None:
        require_no_rendering(render_mode)
        self.render_mode, self.num_envs = render_mode, num_envs
        self._worlds = LearnerTown(
            scenario, config, num_worlds=num_envs, max_episode_steps=max_episode_steps, others=others, learner=learner
        )
        self.single_observation_space = self._worlds.observation_space
        self.single_action_space = self._worlds.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._is_reset = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in every world, or in some.

        Args:
            seed: world i gets seed + i; or one for each world; None = the next episode under the seed that it has.
            options: `reset_mask` (N,) bool, the worlds that are meant; None = all.

        Returns:
            observations (N, ...) by name, and the infos.

        Raises:
            UsageError: not one seed for each world, or a mask that is none.
        """
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + index for index in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise UsageError(f"reset was given {len(seeds)} seeds for {self.num_envs} worlds: give one for each")
        meant = np.ones(self.num_envs, np.bool_)
        if options is not None and "reset_mask" in options:
            meant = np.asarray(options["reset_mask"])
            if meant.shape != (self.num_envs,) or meant.dtype != np.bool_ or not meant.any():
                raise UsageError(f"reset_mask must be ({self.num_envs},) booleans, one of them True")
            if not (self._is_reset or meant.all()):
                raise ResetNeeded("the first reset() is for every world")
        worlds = np.flatnonzero(meant)
        observations, info = self._worlds.reset(
            worlds, [seeds[world] for world in worlds], lambda: drawn_seed(self.np_random)
        )
        self._is_reset = True
        return observations, _masked(info, meant)

    def step(self, actions: Array) -> tuple[Observations, Array, Array, Array, dict[str, Any]]:
        """Make one tick in every world.

        Args:
            actions: (N,) integers, 0 to 7.

        Returns:
            observations (N, ...) by name, rewards (N,) float64, terminations (N,) bool, truncations (N,) bool, infos.

        Raises:
            ResetNeeded: `reset` has not been called.
            UsageError: an action is none.
        """
        if not self._is_reset:
            raise ResetNeeded("call reset() before step()")
        done = self._worlds.step(np.asarray(actions), restarts=True)
        infos = _masked(done.info, np.ones(self.num_envs, np.bool_))
        ended = done.terminations | done.truncations
        if ended.any():
            last = np.full(self.num_envs, None, dtype=object)
            for world in np.flatnonzero(ended):  # Gymnasium wants one object for each episode that has ended
                last[world] = {name: rows[world].copy() for name, rows in done.final_observations.items()}
            infos |= {"final_obs": last, "_final_obs": ended.copy()}
            infos |= {"final_info": _masked(done.final_info, ended), "_final_info": ended.copy()}
        return done.observations, done.rewards, done.terminations, done.truncations, infos

    def action_masks(self) -> Array:
        """Return (N, 8) bool, what the learners can do now."""
        return self._worlds.action_mask()


def _masked(info: dict[str, Any], meant: Array) -> dict[str, Any]:
    """Return infos as Gymnasium batches them: each name with a mask of the worlds (N,) that have it, else zeros."""
    infos: dict[str, Any] = {}
    for name, rows in info.items():
        if isinstance(rows, dict):
            infos[name] = _masked(rows, meant)
        else:
            infos[name] = np.zeros_like(rows)
            infos[name][meant] = rows[meant]
        infos[f"_{name}"] = meant.copy()
    return infos
