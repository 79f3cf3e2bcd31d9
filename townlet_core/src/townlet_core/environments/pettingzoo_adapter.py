"""PettingZoo parallel environments behind the environment contract.

Legend: N worlds, A agents per world, D action dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.environments.action_codec import ActionCodec
from townlet_core.environments.agent_arrays import AgentArrays
from townlet_core.environments.episode_replay import ActionLog, EpisodeReplay
from townlet_core.environments.limits import require_memory
from townlet_core.environments.parallel_block import ParallelBlock
from townlet_core.environments.pettingzoo_spaces import AgentSpaces, joint_spaces
from townlet_core.environments.stepped_worlds import SteppedWorlds
from townlet_core.environments.worlds import close_worlds
from townlet_core.errors import ConfigError, DataError
from townlet_core.spaces import flatten_action_space

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.arrays import Array
    from townlet_core.environments.episode_replay import RunningEpisodes
    from townlet_core.environments.pettingzoo_source import ParallelSource
    from townlet_core.environments.vector import EnvironmentStep


class PettingZooParallel(SteppedWorlds):
    """N parallel environments in one Python loop; each possible agent has a place of its own.

    Args:
        source: what makes a world.
        num_worlds: N.

    Raises:
        ConfigError: the agents' spaces do not go together or are not supported, two worlds are unlike, or the arrays do
            not fit into memory.
        UnavailableError: an optional package is missing.
    """

    _arrays: AgentArrays

    def __init__(self, source: ParallelSource, num_worlds: int) -> None:
        first = source.make()
        worlds = [first]
        try:
            agents = _agents_of(first, source.name)
            joint = joint_spaces(agents, name=source.name)
            require_memory(
                AgentArrays.num_bytes(num_worlds, joint),
                what=f"{num_worlds} worlds of '{source.name}'",
                remedy="lower environment.num_worlds",
            )
            for _ in range(num_worlds - 1):
                worlds.append(source.make())
                if _agents_of(worlds[-1], source.name) != agents:
                    raise ConfigError(
                        f"environment '{source.name}' gives worlds with different agents or spaces; "
                        "all worlds must be alike"
                    )
        except BaseException:
            close_worlds(worlds)
            raise
        self.name = source.name
        self.num_worlds = num_worlds
        self.num_agents = len(agents)
        self.observation_spaces = joint.observation_spaces
        self.action_space = joint.action_space
        self._agents = agents
        self._codecs = [ActionCodec(one.action, num_worlds) for one in agents]
        self._log = ActionLog(joint.action_space, (num_worlds, len(agents)))
        self._arrays = AgentArrays.zeros(num_worlds, joint)
        self._block = ParallelBlock(
            worlds, joint=joint, arrays=self._arrays, limit=source.max_episode_steps, name=source.name
        )

    def _prepare(self, actions: Array) -> list[list[Any]]:
        """Return the action of each agent in each world as its own space holds it; those of absent agents are any."""
        actions = np.asarray(actions)
        expected = (self.num_worlds, self.num_agents, *(self.action_space.shape or ()))
        if actions.shape != expected:
            raise DataError(f"actions have shape {actions.shape}, expected {expected} (worlds, agents, ...)")
        agent_mask = self._arrays.agent_mask.reshape(self.num_worlds, self.num_agents)
        if not agent_mask.all():
            actions = actions.copy()
            actions[~agent_mask] = 0
        return [self._choices(slot, actions[:, slot : slot + 1]) for slot in range(self.num_agents)]

    def _choices(self, slot: int, actions: Array) -> list[Any]:
        own = self._agents[slot]
        if isinstance(own.action, spaces.Box):  # an agent that has fewer numbers than others uses the first ones
            actions = actions[..., : (flatten_action_space(own.action).shape or (0,))[0]]
        try:
            prepared = self._codecs[slot].prepare(actions)
        except DataError as error:
            raise DataError(f"agent {own.agent!r}: {error}") from error
        is_discrete = isinstance(own.action, spaces.Discrete)
        return prepared.tolist() if is_discrete else list(prepared.copy())  # a world may keep what it is given

    def _reset_worlds(self, seeds: list[int], indices: list[int]) -> bool:
        return self._block.reset(seeds, indices)

    def _step_worlds(self, actions: list[list[Any]]) -> bool:
        return self._block.step(actions)

    def _begin_replay(self, running: RunningEpisodes) -> Callable[[list[list[Any]]], None]:
        replay = EpisodeReplay(self._block.single_worlds(), running)
        return lambda choices: replay.step([list(zip(own, strict=True)) for own in zip(*choices, strict=True)])

    def _close_worlds(self) -> None:
        self._block.close()

    def _step_views(self, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        return self._arrays.step_views(self.num_agents, is_masked=is_masked)


def _agents_of(world: Any, name: str) -> list[AgentSpaces]:
    try:
        return [AgentSpaces.of(world, agent) for agent in world.possible_agents]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"environment '{name}' does not tell the spaces of its possible_agents: {type(error).__name__}: {error}"
        ) from error
