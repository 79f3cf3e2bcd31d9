"""Worlds of the town with one learner in each, whose neighbours are steered here: what the Gymnasium classes share.

Legend: N worlds, A agent slots, F features, K = 8 actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from townlet_core import randomness
from townlet_core.environments.seeded_town import SeededTown
from townlet_core.environments.town import town_spaces
from townlet_core.errors import UsageError, suggestion
from townlet_core.simulation.experts import Script
from townlet_core.simulation.rewards import TERMS
from townlet_core.simulation.tick import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array, Observations
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import TownConfig

Others = Literal["scripted", "random", "idle"]

_CHOICES = 2**40
"""Coordinate of the keys of random choices; lives, the other coordinate of a slot's key, are far fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerStep:
    """What the learners see after a step; the arrays are the caller's.

    Attributes:
        observations: (N, ...) by name.
        rewards: (N,) float64.
        terminations: (N,) bool, the learner fainted or was evicted.
        truncations: (N,) bool, the episode's time was up.
        info: (N, ...) arrays: `action_mask` (N, K) int8; `events` and `reward_terms`, (N,) float64 by name.
        final_observations: (N, ...) by name, what was seen last in episodes that ended; zeros elsewhere.
        final_info: like `info`, of the episodes that ended.
    """

    observations: Observations
    rewards: Array
    terminations: Array
    truncations: Array
    info: dict[str, Any]
    final_observations: Observations
    final_info: dict[str, Any]


class LearnerTown(SeededTown):
    """N worlds in which one slot is the learner's and the others act by a rule.

    Attributes:
        observation_space: of the learner.
        action_space: of the learner.

    Args:
        scenario, config, num_worlds, max_episode_steps: see `SeededTown`.
        others: the rule of the others.
        learner: the learner's slot.

    Raises:
        ConfigError: see `SeededTown`.
        UsageError: there is no such rule or slot.
    """

    def __init__(
        self,
        scenario: str | ScenarioConfig,
        config: TownConfig | None,
        *,
        num_worlds: int,
        max_episode_steps: int | None,
        others: Others,
        learner: int,
    ) -> None:
        super().__init__(scenario, config, num_worlds=num_worlds, max_episode_steps=max_episode_steps)
        town = self.town
        known = get_args(Others)
        if others not in known:
            raise UsageError(f"others is '{others}'{suggestion(others, known)}; there are {', '.join(known)}")
        if not 0 <= learner < town.layout.num_agents:
            raise UsageError(f"learner is {learner}; the scenario's slots are 0 to {town.layout.num_agents - 1}")
        self.observation_space, self.action_space = town_spaces(town.config)
        self._others, self._learner = others, learner
        self._script = Script(rows=town.layout.rows, columns=town.layout.columns, day_ticks=town.config.day_ticks)
        self._seen: dict[str, Array] = {}

    def reset(
        self, worlds: Array, seeds: Sequence[int | None], draw: Callable[[], int]
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin episodes; see `begin`.

        Returns:
            observations (N, ...) of all worlds, and their infos.
        """
        self.begin(worlds, seeds, draw)
        self._seen = self.town.observe()
        return self._rows(self._seen), self._first_info(self._info(), np.isin(np.arange(len(self._is_keyed)), worlds))

    def step(self, actions: Array, *, restarts: bool) -> LearnerStep:
        """Make one tick in every world.

        Args:
            actions: (N,) integers, the learners'; what the mask forbids is a wait.
            restarts: whether the next episode begins at once where one has ended; otherwise `observations` are the last
                ones there.

        Raises:
            UsageError: something that is no action, or not one for each world.
        """
        town = self.town
        rewards, exits = town.advance(self._actions(self._checked(actions)))
        terminations = exits[:, self._learner] > 0
        truncations = (town.state.tick >= town.num_ticks) & ~terminations
        ended = terminations | truncations
        finals = self._finals(np.flatnonzero(ended))
        town.settle()
        info = final_info = self._info()
        if restarts and ended.any():
            town.begin_next_episodes(np.flatnonzero(ended))
            info = self._first_info(self._info(), ended)
        self._seen = town.observe()
        observations = self._rows(self._seen)
        if not restarts and ended.any():
            for name, rows in observations.items():
                rows[ended] = finals[name][ended]
        return LearnerStep(
            observations=observations,
            rewards=rewards[:, self._learner].astype(np.float64),
            terminations=terminations,
            truncations=truncations,
            info=info,
            final_observations=finals,
            final_info=final_info,
        )

    def action_mask(self) -> Array:
        """Return (N, K) bool, what the learners can do now, as a copy."""
        return self.town.action_mask()[:, self._learner].copy()

    def _checked(self, actions: Array) -> Array:
        shape = (len(self._is_keyed),)
        if actions.shape != shape or actions.dtype.kind not in "iu":
            raise UsageError(f"actions must be integers of shape {shape}, not {actions.dtype}{actions.shape}")
        if ((actions < 0) | (actions >= len(Action))).any():
            raise UsageError(f"actions are 0 to {len(Action) - 1}, and {actions.tolist()} were given")
        return actions

    def _actions(self, learners: Array) -> Array:
        """Return (N, A) what everybody does."""
        mask = self.town.action_mask()
        if mask.shape[1] == 1:
            return learners[:, None]
        if self._others == "scripted":
            actions = self._script.actions(self._seen["features"], mask)
        elif self._others == "random":
            keys = randomness.fold(self.town.state.agent_key, _CHOICES)
            allowed = np.cumsum(mask, axis=-1)
            wanted = randomness.uniform(keys, self.town.state.tick[:, None]) * allowed[..., -1]
            actions = (allowed > np.floor(wanted)[..., None]).argmax(axis=-1)  # as many allowed ones come before it
        else:
            actions = np.full(mask.shape[:2], Action.WAIT, np.int64)
        actions[:, self._learner] = learners
        return actions

    def _rows(self, parts: dict[str, Array]) -> Observations:
        return {name: parts[name][:, self._learner].copy() for name in self.observation_space}

    def _finals(self, worlds: Array) -> Observations:
        """Return (N, ...) what the learners of some worlds see; zeros in the others."""
        shape = (len(self._is_keyed),)
        finals = {
            name: np.zeros(shape + (space.shape or ()), space.dtype) for name, space in self.observation_space.items()
        }
        if len(worlds):
            for name, rows in self._rows(self.town.observe(worlds)).items():
                finals[name][worlds] = rows
        return finals

    def _info(self) -> dict[str, Any]:
        town, nothing = self.town, np.zeros(len(self._is_keyed))
        terms = {name: rows[:, self._learner].astype(np.float64) for name, rows in town.reward_terms.items()}
        return {
            "action_mask": self.action_mask().astype(np.int8),
            "events": {name: counts.copy() for name, counts in town.events.by_name().items()},
            "reward_terms": {name: terms.get(name, nothing).copy() for name in TERMS},
        }

    def _first_info(self, info: dict[str, Any], worlds: Array) -> dict[str, Any]:
        """Return the info without what happened before, in worlds (N,) where an episode has just begun."""
        for named in (info["events"], info["reward_terms"]):
            for numbers in named.values():
                numbers[worlds] = 0
        return info
