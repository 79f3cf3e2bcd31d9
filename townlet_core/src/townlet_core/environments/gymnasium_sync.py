"""Gymnasium worlds stepped one after the other in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.environments.block_arrays import BlockLayout
from townlet_core.environments.episode_replay import EpisodeReplay
from townlet_core.environments.gymnasium_adapter import GymnasiumAdapter
from townlet_core.environments.limits import require_memory
from townlet_core.environments.world_block import WorldBlock
from townlet_core.environments.worlds import close_worlds, make_worlds

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.arrays import Array
    from townlet_core.environments.episode_replay import RunningEpisodes
    from townlet_core.environments.gym_source import GymSource


class GymnasiumSync(GymnasiumAdapter):
    """N worlds in one Python loop.

    Args:
        source: what makes a world.
        num_worlds: N.

    Raises:
        ConfigError: a space is not supported, or the arrays do not fit into memory.
        UnavailableError: an optional package is missing.
    """

    def __init__(self, source: GymSource, num_worlds: int) -> None:
        first, limit = source.make()
        worlds = [first]
        try:
            layout = BlockLayout(num_worlds, first.observation_space, first.action_space)
            num_bytes = layout.num_bytes()
            require_memory(
                num_bytes, what=f"{num_worlds} worlds of '{source.name}'", remedy="lower environment.num_worlds"
            )
            arrays = layout.arrays(bytearray(num_bytes))
            super().__init__(
                name=source.name,
                num_worlds=num_worlds,
                observation_space=first.observation_space,
                action_space=first.action_space,
                arrays=arrays,
            )
            rest, limits = make_worlds(source, num_worlds - 1, like=(first.observation_space, first.action_space))
        except BaseException:
            close_worlds(worlds)
            raise
        self._block = WorldBlock([first, *rest], [limit, *limits], name=source.name, first=0, arrays=arrays)

    def _reset_worlds(self, seeds: list[int], indices: list[int]) -> bool:
        return self._block.reset(seeds, indices)

    def _step_worlds(self, actions: Array) -> bool:
        return self._block.step(actions)

    def _begin_replay(self, running: RunningEpisodes) -> Callable[[Array], None]:
        replay = EpisodeReplay(self._block.single_worlds(), running)
        return lambda actions: replay.step([actions[world : world + 1] for world in range(self.num_worlds)])

    def _close_worlds(self) -> None:
        self._block.close()
