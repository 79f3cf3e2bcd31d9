"""The town as a `VectorEnvironment`: what its agents see, choose and earn; autoreset within the step.

Legend: N worlds, A agent slots, K = 8 actions.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.environments.limits import require_memory
from townlet_core.environments.seeds import seed_lists
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, StepEvents, VectorEnvironment
from townlet_core.errors import ConfigError, UsageError
from townlet_core.simulation.events import KINDS
from townlet_core.simulation.experts import Script
from townlet_core.simulation.layout import WINDOW
from townlet_core.simulation.observations import FEATURES
from townlet_core.simulation.scenarios import load_scenario
from townlet_core.simulation.tick import Action
from townlet_core.simulation.town import Town
from townlet_core.spaces import flatten_space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from townlet_core.arrays import Array, Observations
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.config.town import TownConfig

_BYTES_OF_AGENT = 2_000
"""State and scratch of an agent, about, besides its observations and what grows with the other agents. [bytes]"""


def town_spaces(config: TownConfig) -> tuple[spaces.Dict, spaces.Discrete[np.int64]]:
    """Return the observation and action space of one agent of the town."""
    parts: dict[str, spaces.Space[Any]] = {}
    channels = {"compact": 0, "hybrid": 4, "full": 6}[config.variant]
    if channels:
        kind: Any = np.uint8 if config.map_dtype == "uint8" else np.float32
        parts["map"] = spaces.Box(0, 1, (channels, WINDOW, WINDOW), kind)
    parts["features"] = spaces.Box(-1, 1, (len(FEATURES),), np.float32)
    return spaces.Dict(parts), spaces.Discrete(len(Action))


class TownEnvironment(VectorEnvironment):
    """N worlds of a scenario.

    Every agent's life is an episode of its own: it ends with a termination when the agent faints or is evicted, and
    with a truncation when the world's episode ends. In between the slot is empty (`agent_mask` False), until a
    newcomer's life begins there.

    Attributes:
        town: the simulation.
        experts: name -> function of observations and action mask that returns actions (N, A); `scripted` is the only
            one that is the town's own.

    Args:
        config: the section `environment`.
        num_worlds: N.

    Raises:
        ConfigError: the scenario is not there or not right, or the worlds do not fit into memory.
    """

    autoreset = AutoresetMode.SAME_STEP
    exact = True
    feature_names = MappingProxyType({"observation.features": FEATURES})
    action_names = tuple(action.name.lower() for action in Action)
    event_kinds = KINDS

    def __init__(self, config: EnvironmentConfig, *, num_worlds: int) -> None:
        if config.options:
            raise ConfigError("the town takes no environment.options: its constants are in environment.town")
        if config.vectorization != "sync":
            raise ConfigError(
                f"environment.vectorization '{config.vectorization}' is for Gymnasium environments; "
                "all worlds of the town are arrays of one process: leave it at 'sync'"
            )
        scenario = load_scenario(config.scenario, day_ticks=config.town.day_ticks)
        self.name = "town"
        self.num_worlds, self.num_agents = num_worlds, scenario.num_agents
        observation_space, self.action_space = town_spaces(config.town)
        self.observation_spaces = flatten_space(observation_space)
        self._names = {name: name.partition(".")[2] for name in self.observation_spaces}
        self._require_memory()
        self.town = Town(config.town, scenario, num_worlds, num_ticks=config.max_episode_steps)
        layout = self.town.layout
        script = Script(rows=layout.rows, columns=layout.columns, day_ticks=config.town.day_ticks)
        self.experts: Mapping[str, Callable[[Observations, Array], Array]] = {
            "scripted": lambda observations, mask: script.actions(observations["observation.features"], mask)
        }
        self._finals: Observations | None = None
        self._is_reset = False

    def _require_memory(self) -> None:
        rows = self.num_worlds * self.num_agents
        seen = sum(int(np.prod(space.shape or ())) * 4 for space in self.observation_spaces.values())
        num_bytes = rows * (3 * seen + _BYTES_OF_AGENT + 64 * self.num_agents)
        require_memory(num_bytes, what=f"{self.num_worlds:,} worlds of the town", remedy="lower environment.num_worlds")

    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        """Begin episode 0 in every world; see `VectorEnvironment.reset`."""
        each, indices = seed_lists(seeds, self.num_worlds)
        self.town.reset(each, indices)
        self._is_reset = True
        return self._shown(starts=np.ones(self.num_worlds, np.bool_))

    def step(self, actions: Array) -> EnvironmentStep:
        """Make one tick in every world; see `VectorEnvironment.step`. What the mask forbids is a wait."""
        if not self._is_reset:
            raise UsageError("environment 'town': step was called before reset")
        town = self.town
        rewards, exits = town.advance(actions)
        terminations = exits > 0
        is_over = town.state.tick >= town.num_ticks
        truncations = is_over[:, None] & town.state.present & ~terminations
        finals = self._final_observations(terminations.any(axis=1) | is_over)
        town.settle()
        if is_over.any():
            town.begin_next_episodes(np.flatnonzero(is_over))
        return self._step(
            rewards=rewards, terminations=terminations, truncations=truncations, starts=is_over, finals=finals
        )

    def _shown(self, *, starts: Array) -> EnvironmentStep:
        """Return what the agents see where no tick was made."""
        shape = (self.num_worlds, self.num_agents)
        nobody = np.zeros(shape, np.bool_)
        return self._step(
            rewards=np.zeros(shape, np.float32),
            terminations=nobody,
            truncations=nobody.copy(),
            starts=starts,
            finals=None,
        )

    def _step(
        self, *, rewards: Array, terminations: Array, truncations: Array, starts: Array, finals: Observations | None
    ) -> EnvironmentStep:
        return EnvironmentStep(
            observations=self._observed(self.town.observe()),
            agent_mask=self.town.state.present.copy(),
            action_mask=self.town.action_mask(),
            rewards=rewards,
            terminations=terminations,
            truncations=truncations,
            episode_starts=starts,
            final_observations=finals,
            events=self.town.events.by_name(),
        )

    def _observed(self, parts: dict[str, Array]) -> Observations:
        return {name: parts[part] for name, part in self._names.items()}

    def _final_observations(self, ended: Array) -> Observations | None:
        """Return what the agents saw last in the worlds (N,) where somebody's episode has ended; None if none has."""
        worlds = np.flatnonzero(ended)
        if len(worlds) == 0:
            return None
        if self._finals is None:
            shape = (self.num_worlds, self.num_agents)
            self._finals = {
                name: np.zeros((*shape, *(space.shape or ())), space.dtype)
                for name, space in self.observation_spaces.items()
            }
        for name, rows in self._observed(self.town.observe(worlds)).items():
            self._finals[name][worlds] = rows
        return self._finals

    def begin_cycle(self, cycle: int) -> None:
        """Take the social stage of a training cycle; see `VectorEnvironment.begin_cycle`."""
        self.town.stage = self.town.config.stage_at(cycle)

    def keep_events(self) -> None:
        """Keep single events from now on; see `VectorEnvironment.keep_events`."""
        self.town.events.is_recording = True

    def last_events(self) -> StepEvents:
        """Return the events of the last tick; see `VectorEnvironment.last_events`."""
        kinds, worlds, ticks, actors, targets, values = self.town.events.columns()
        return StepEvents(kinds, worlds, ticks - 1, actors, targets, values)

    def snapshot(self) -> dict[str, Array]:
        """Return everything that the worlds go on from, as copies."""
        return self.town.snapshot()

    def restore(self, arrays: dict[str, Array]) -> EnvironmentStep:
        """Go back to a snapshot, and return what the agents see there, as after a reset without episode starts."""
        self.town.restore(arrays)
        self._is_reset = True
        return self._shown(starts=np.zeros(self.num_worlds, np.bool_))
