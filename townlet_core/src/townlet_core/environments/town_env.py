"""The town as a Gymnasium environment: one agent learns, and the others act by a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from townlet_core.environments.town_learner import LearnerTown, Others
from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import TownConfig

GYMNASIUM_ID = "townlet/Town-v0"
_ONLY_WORLD = np.zeros(1, np.int64)
_MOST_DRAWN = 2**63 - 1


class TownEnv(gymnasium.Env[Any, Any]):
    """One world of the town, seen by one of its agents.

    The episode terminates when the learner faints or is evicted, and is truncated when the scenario's time is up. What
    the mask forbids is a wait. `info` holds `action_mask` (8,) int8 (1 = allowed), `events` (counts of the tick by
    name, of the whole world) and `reward_terms` (by name; they add up to the reward).

    `reset(seed=...)` begins the first episode under a seed; `reset()` begins the next one under the same seed. The
    batch of these is `TownVectorEnv`.

    Args:
        scenario: a shipped scenario's name, a scenario file, or a `ScenarioConfig`.
        config: the constants of the town; None = their defaults.
        max_episode_steps: length of an episode instead of the scenario's. [ticks]
        others: how the other agents act: `scripted` (competently), `random` (any allowed action), `idle`.
        learner: the learner's slot.
        render_mode: None; there is nothing to be shown here.

    Raises:
        ConfigError: the scenario is not there or not right.
        UsageError: an argument is none of the above.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self,
        scenario: str | ScenarioConfig = "default",
        config: TownConfig | None = None,
        max_episode_steps: int | None = None,
        *,
        others: Others = "scripted",
        learner: int = 0,
        render_mode: str | None = None,
    ) -> None:
        require_no_rendering(render_mode)
        self.render_mode = render_mode
        self._worlds = LearnerTown(
            scenario, config, num_worlds=1, max_episode_steps=max_episode_steps, others=others, learner=learner
        )
        self.observation_space, self.action_space = self._worlds.observation_space, self._worlds.action_space
        self._is_running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: a new seed; None = the next episode under the seed that there is, or under one drawn by chance.
            options: none are known; they are ignored.

        Returns:
            what the learner sees, `map` (C, 11, 11) unless the variant is compact and `features` (F,); and the info.
        """
        del options
        super().reset(seed=seed)
        observations, info = self._worlds.reset(_ONLY_WORLD, [seed], lambda: drawn_seed(self.np_random))
        self._is_running = True
        return _row(observations), _row(info)

    def step(self, action: np.int64 | int) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Make one tick.

        Args:
            action: 0 to 7.

        Returns:
            what the learner sees, its reward, whether it terminated, whether it was truncated, and the info.

        Raises:
            ResetNeeded: no episode is running.
            UsageError: the action is none.
        """
        if not self._is_running:
            raise ResetNeeded("the town has no running episode: call reset() before step()")
        done = self._worlds.step(np.asarray(action).reshape(-1), restarts=False)
        terminated, truncated = bool(done.terminations[0]), bool(done.truncations[0])
        self._is_running = not (terminated or truncated)
        return _row(done.observations), float(done.rewards[0]), terminated, truncated, _row(done.info)

    def action_masks(self) -> Array:
        """Return (8,) bool, what the learner can do now: by this name other libraries ask for it."""
        return np.asarray(self._worlds.action_mask()[0])


def require_no_rendering(render_mode: str | None) -> None:
    """Raise unless `render_mode` is None."""
    if render_mode is not None:
        raise UsageError(f"render_mode is '{render_mode}'; these environments render nothing: leave it at None")


def drawn_seed(generator: np.random.Generator) -> int:
    """Return a seed by chance."""
    return int(generator.integers(_MOST_DRAWN))


def _row(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the only row of arrays (1, ...): numbers as numbers, the rest as arrays."""
    row: dict[str, Any] = {}
    for name, rows in parts.items():
        if isinstance(rows, dict):
            row[name] = _row(rows)
        else:
            row[name] = rows[0] if rows.ndim > 1 else float(rows[0])
    return row


if GYMNASIUM_ID not in gymnasium.registry:  # so that gymnasium.make("<this module>:<id>") finds it
    gymnasium.register(
        id=GYMNASIUM_ID,
        entry_point=f"{__name__}:TownEnv",
        vector_entry_point="townlet_core.environments.town_vector_env:TownVectorEnv",
    )
