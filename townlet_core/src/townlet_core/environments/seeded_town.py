"""The town under the rules that Gymnasium has for seeds.

Legend: N worlds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.config.scenario import ScenarioConfig
from townlet_core.config.town import TownConfig
from townlet_core.environments.limits import require_memory
from townlet_core.errors import UsageError
from townlet_core.simulation.scenarios import load_scenario
from townlet_core.simulation.town import Town

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array

_BYTES_OF_AGENT = 4_000
"""State, observations and scratch of an agent, about, besides what grows with the other agents. [bytes]"""


class SeededTown:
    """A town whose episodes follow the rules of Gymnasium for seeds, world by world.

    Attributes:
        town: the simulation.

    Args:
        scenario: a name, a file, or the scenario itself.
        config: the constants; None = their defaults.
        num_worlds: N.
        max_episode_steps: length of an episode instead of the scenario's. [ticks]

    Raises:
        ConfigError: the scenario is not there or not right, or the worlds do not fit into memory.
        UsageError: N or the length is not positive.
    """

    def __init__(
        self,
        scenario: str | ScenarioConfig,
        config: TownConfig | None,
        *,
        num_worlds: int,
        max_episode_steps: int | None,
    ) -> None:
        if num_worlds < 1:
            raise UsageError(f"{num_worlds} worlds were asked for; at least 1 is needed")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise UsageError(f"max_episode_steps is {max_episode_steps}; an episode has at least 1 tick")
        if not isinstance(scenario, ScenarioConfig):
            scenario = load_scenario(scenario)
        num_agents = scenario.num_agents
        require_memory(
            num_worlds * num_agents * (_BYTES_OF_AGENT + 64 * num_agents),
            what=f"{num_worlds:,} worlds of the town",
            remedy="ask for fewer",
        )
        self.town = Town(config or TownConfig(), scenario, num_worlds, num_ticks=max_episode_steps)
        self._is_keyed = np.zeros(num_worlds, np.bool_)

    def begin(self, worlds: Array, seeds: Sequence[int | None], draw: Callable[[], int]) -> None:
        """Begin an episode in each of some worlds.

        Args:
            worlds: their numbers.
            seeds: for each of them its new seed; None = the next episode under the seed that it has.
            draw: gives a seed to a world that has none yet.

        Raises:
            UsageError: a seed is not in 0..2**63-1.
        """
        state = self.town.state
        new = [
            draw() if seed is None and not self._is_keyed[world] else seed
            for world, seed in zip(worlds, seeds, strict=True)
        ]
        keyed = np.array([seed is not None for seed in new], np.bool_)
        if keyed.any():
            keys = randomness.key([seed for seed in new if seed is not None], "town", 0)
            state.world_key[worlds[keyed]] = keys
            state.episode[worlds[keyed]] = -1
            self._is_keyed[worlds] = True
        self.town.begin_next_episodes(worlds)
