"""What the sync and workers modes of the Gymnasium adapter share: the contract on top of a block of arrays (A = 1).

Legend: N worlds, D action dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.environments.action_codec import ActionCodec
from townlet_core.environments.episode_replay import ActionLog
from townlet_core.environments.stepped_worlds import SteppedWorlds
from townlet_core.environments.vector import EnvironmentStep
from townlet_core.spaces import flatten_action_space, flatten_space

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.environments.block_arrays import BlockArrays
    from townlet_core.spaces import Space


class GymnasiumAdapter(SteppedWorlds):
    """N single-agent worlds whose arrays a block, or several, writes."""

    num_agents = 1
    _arrays: BlockArrays

    def __init__(
        self, *, name: str, num_worlds: int, observation_space: Space, action_space: Space, arrays: BlockArrays
    ) -> None:
        self.name = name
        self.num_worlds = num_worlds
        self.observation_spaces = flatten_space(observation_space)
        self.action_space = flatten_action_space(action_space)
        self._codec = ActionCodec(action_space, num_worlds)
        self._log = ActionLog(self.action_space, (num_worlds, 1))
        self._arrays = arrays

    def _prepare(self, actions: Array) -> Array:
        return self._codec.prepare(actions)

    def _step_views(self, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations; their arrays never move."""
        arrays = self._arrays
        parts = {
            "observations": dict(
                zip(self.observation_spaces, (leaf[:, None] for leaf in arrays.observations), strict=True)
            ),
            "agent_mask": np.ones((self.num_worlds, 1), dtype=bool),
            "action_mask": arrays.action_mask[:, None] if is_masked else None,
            "rewards": arrays.rewards[:, None],
            "terminations": arrays.terminations[:, None],
            "truncations": arrays.truncations[:, None],
            "episode_starts": arrays.episode_starts,
        }
        finals = dict(zip(self.observation_spaces, (leaf[:, None] for leaf in arrays.final_observations), strict=True))
        return EnvironmentStep(**parts), EnvironmentStep(**parts, final_observations=finals)  # type: ignore[arg-type]  # one dict of parts
