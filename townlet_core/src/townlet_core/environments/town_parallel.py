"""The town as a PettingZoo parallel environment: every life is an agent.

Legend: A agent slots, K = 8 actions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.utils import seeding

from townlet_core.environments.seeded_town import SeededTown
from townlet_core.environments.town import town_spaces
from townlet_core.environments.town_env import drawn_seed, require_no_rendering
from townlet_core.errors import UnavailableError, UsageError
from townlet_core.simulation.rewards import TERMS
from townlet_core.simulation.tick import Action

try:
    from pettingzoo import ParallelEnv  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise UnavailableError(
        f"TownParallelEnv needs PettingZoo ({error}): pip install 'townlet-core[pettingzoo]'"
    ) from error

if TYPE_CHECKING:
    from gymnasium import spaces

    from townlet_core.arrays import Array, Observations
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import TownConfig

_AGENT = re.compile(r"agent_(0|[1-9]\d*)_(0|[1-9]\d*)")
_ONLY_WORLD = np.zeros(1, np.int64)


class TownParallelEnv(ParallelEnv):  # type: ignore[misc]
    """One world of the town, all of whose agents are steered from outside.

    An agent is a life: `agent_<slot>_<n>` is the n-th life of a slot within the episode, from 0, and no id returns
    before the next `reset`. A life that ends is terminated, with what it saw last; at the end of the episode everybody
    is truncated. Newcomers (`lives.newcomers` of the config) are in `agents`, and have an observation, from the tick in
    which they move in. While nobody lives there, `step` goes on by itself until somebody moves in or the episode is
    over, so `agents` is empty only when it is.

    `infos` hold `action_mask` (8,) int8 (1 = allowed) and `reward_terms` (by name; they add up to the reward). Who is
    given no action waits, and so does who is given a forbidden one.

    Attributes:
        possible_agents: the first lives, `agent_<slot>_0`. With newcomers, later lives come on top of these: ask
            `observation_space` and `action_space` for any id of the form.
        agents: the lives that act now, by slot.

    Args:
        scenario, config, max_episode_steps, render_mode: see `TownEnv`.

    Raises:
        ConfigError: the scenario is not there or not right.
        UsageError: an argument is not what it has to be.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "townlet_town_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(
        self,
        scenario: str | ScenarioConfig = "default",
        config: TownConfig | None = None,
        max_episode_steps: int | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        require_no_rendering(render_mode)
        self.render_mode = render_mode
        self._seeded = SeededTown(scenario, config, num_worlds=1, max_episode_steps=max_episode_steps)
        self.town = self._seeded.town
        self.possible_agents = [f"agent_{slot}_0" for slot in range(self.town.layout.num_agents)]
        self.agents: list[str] = []
        self._generator: np.random.Generator | None = None
        self._observation_space, _ = town_spaces(self.town.config)
        self._action_spaces: dict[str, spaces.Discrete[np.int64]] = {}

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return what any life sees, `map` (C, 11, 11) unless the variant is compact, and `features` (F,).

        Raises:
            UsageError: no life has such an id.
        """
        self._slot(agent)
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Discrete[np.int64]:
        """Return the actions of a life, a space of its own, which can be seeded for itself.

        Raises:
            UsageError: no life has such an id.
        """
        self._slot(agent)
        if agent not in self._action_spaces:
            self._action_spaces[agent] = town_spaces(self.town.config)[1]
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observations], dict[str, dict[str, Any]]]:
        """Begin an episode, with the first life of every slot.

        Args:
            seed: a new seed; None = the next episode under the seed that there is, or under one drawn by chance.
            options: none are known; they are ignored.

        Returns:
            observations and infos by agent.
        """
        del options
        self._seeded.begin(_ONLY_WORLD, [None if seed is None else int(seed)], self._draw)
        self.agents = self._present()
        seen = self._observe()
        return {agent: self._seen_by(agent, seen) for agent in self.agents}, {
            agent: self._info(agent, {}) for agent in self.agents
        }

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Observations], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Make one tick.

        Args:
            actions: 0 to 7 by agent.

        Returns:
            observations, rewards, terminations, truncations and infos, each for those who acted and for newcomers.

        Raises:
            UsageError: an action is none, or is that of somebody who is not there.
        """
        town, acted = self.town, self.agents
        if not acted:
            return {}, {}, {}, {}, {}
        rewards, exits = town.advance(self._actions(actions))
        is_over = bool(town.state.tick[0] >= town.num_ticks)
        terms = {name: rows[0].copy() for name, rows in town.reward_terms.items()}
        last = self._observe() if is_over or exits.any() else {}
        town.settle()
        if not is_over:
            is_over = self._wait_for_somebody()
        self.agents = [] if is_over else self._present()
        seen = self._observe()
        terminations = {agent: bool(exits[0, self._slot(agent)] > 0) for agent in acted}
        truncations = {agent: agent not in self.agents and not terminations[agent] for agent in acted}
        newcomers = [agent for agent in self.agents if agent not in terminations]
        observations = {agent: self._seen_by(agent, seen if agent in self.agents else last) for agent in acted}
        infos = {agent: self._info(agent, terms) for agent in acted}
        earned = {agent: float(rewards[0, self._slot(agent)]) for agent in acted}
        for agent in newcomers:
            observations[agent], infos[agent] = self._seen_by(agent, seen), self._info(agent, {})
            earned[agent], terminations[agent], truncations[agent] = 0.0, False, False
        return observations, earned, terminations, truncations, infos

    def _draw(self) -> int:
        if self._generator is None:
            self._generator, _ = seeding.np_random()
        return drawn_seed(self._generator)

    def _slot(self, agent: str) -> int:
        found = _AGENT.fullmatch(agent)
        if found is None or int(found[1]) >= len(self.possible_agents):
            most = len(self.possible_agents) - 1
            raise UsageError(f"'{agent}' is no agent: ids are agent_<slot>_<life> with slots 0 to {most}")
        return int(found[1])

    def _present(self) -> list[str]:
        state = self.town.state
        return [f"agent_{slot}_{state.life[0, slot]}" for slot in np.flatnonzero(state.present[0])]

    def _actions(self, actions: dict[str, Any]) -> Array:
        """Return (1, A) int64."""
        chosen = np.full((1, len(self.possible_agents)), Action.WAIT, np.int64)
        for agent, action in actions.items():
            if agent not in self.agents:
                raise UsageError(f"'{agent}' was given an action and is not there; there are {', '.join(self.agents)}")
            if not self.action_space(agent).contains(action):
                raise UsageError(f"agent '{agent}': {action!r} is no action; these are 0 to {len(Action) - 1}")
            chosen[0, self._slot(agent)] = action
        return chosen

    def _wait_for_somebody(self) -> bool:
        """Let the time pass while nobody is there and somebody may come; return whether the episode is over."""
        town = self.town
        while town.config.lives.newcomers and not town.state.present.any():
            if town.state.tick[0] >= town.num_ticks:
                return True
            town.step(np.full((1, len(self.possible_agents)), Action.WAIT, np.int64))
        return bool(town.state.tick[0] >= town.num_ticks)

    def _observe(self) -> Observations:
        """Return (A, ...) by name, as copies."""
        return {name: rows[0].copy() for name, rows in self.town.observe().items()}

    def _seen_by(self, agent: str, seen: Observations) -> Observations:
        return {name: rows[self._slot(agent)].copy() for name, rows in seen.items()}

    def _info(self, agent: str, terms: dict[str, Array]) -> dict[str, Any]:
        """Return the info of an agent; one who is no longer there can only wait, and a newcomer has earned nothing."""
        mask = np.zeros(len(Action), np.int8)
        mask[Action.WAIT] = 1
        slot = self._slot(agent)
        if agent in self.agents:
            mask[...] = self.town.action_mask()[0, slot]
        return {
            "action_mask": mask,
            "reward_terms": {name: float(terms[name][slot]) if terms else 0.0 for name in TERMS},
        }
