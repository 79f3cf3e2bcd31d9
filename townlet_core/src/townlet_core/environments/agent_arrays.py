"""The arrays that N worlds of A agents write, one row for each place of an agent.

Legend: N worlds, A agents per world, R = N x A rows (world by world), K actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.environments.vector import EnvironmentStep

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.environments.pettingzoo_spaces import JointSpaces

_ROW_BYTES = 16
"""A row's share of everything but observations and action masks. [bytes]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentArrays:
    """What the worlds write.

    Attributes:
        observations: (R, ...) for each flattened name.
        final_observations: like `observations`; rows are valid where an agent's episode has just ended.
        action_mask: (R, K) bool; True in the rows of absent agents.
        agent_mask: (R,) bool.
        rewards: (R,) float32.
        terminations: (R,) bool.
        truncations: (R,) bool.
        episode_starts: (N,) bool.
        episodes: (N,) int64, resets of this world after the first.
        ages: (N,) int64, steps made in the current episode.
    """

    observations: Observations
    final_observations: Observations
    action_mask: Array
    agent_mask: Array
    rewards: Array
    terminations: Array
    truncations: Array
    episode_starts: Array
    episodes: Array
    ages: Array

    @classmethod
    def zeros(cls, num_worlds: int, joint: JointSpaces) -> AgentArrays:
        """Return arrays in which nobody is present."""
        num_agents, num_actions = joint.allowed.shape
        num_rows = num_worlds * num_agents

        def leaves() -> Observations:
            return {
                name: np.zeros((num_rows, *(leaf.shape or ())), leaf.dtype)
                for name, leaf in joint.observation_spaces.items()
            }

        return cls(
            observations=leaves(),
            final_observations=leaves(),
            action_mask=np.ones((num_rows, num_actions), bool),
            agent_mask=np.zeros(num_rows, bool),
            rewards=np.zeros(num_rows, np.float32),
            terminations=np.zeros(num_rows, bool),
            truncations=np.zeros(num_rows, bool),
            episode_starts=np.zeros(num_worlds, bool),
            episodes=np.zeros(num_worlds, np.int64),
            ages=np.zeros(num_worlds, np.int64),
        )

    @staticmethod
    def num_bytes(num_worlds: int, joint: JointSpaces) -> int:
        """Return about how much memory `zeros` will take."""
        num_agents, num_actions = (int(size) for size in joint.allowed.shape)
        leaves: int = sum(
            math.prod(leaf.shape or ()) * np.dtype(leaf.dtype).itemsize for leaf in joint.observation_spaces.values()
        )
        return num_worlds * num_agents * (2 * leaves + num_actions + _ROW_BYTES)

    def world(self, world: int, num_agents: int) -> AgentArrays:
        """Return views of one world's rows."""
        rows, one = slice(world * num_agents, (world + 1) * num_agents), slice(world, world + 1)

        def leaves(all_leaves: Observations) -> Observations:
            return {name: leaf[rows] for name, leaf in all_leaves.items()}

        return AgentArrays(
            observations=leaves(self.observations),
            final_observations=leaves(self.final_observations),
            action_mask=self.action_mask[rows],
            agent_mask=self.agent_mask[rows],
            rewards=self.rewards[rows],
            terminations=self.terminations[rows],
            truncations=self.truncations[rows],
            episode_starts=self.episode_starts[one],
            episodes=self.episodes[one],
            ages=self.ages[one],
        )

    def step_views(self, num_agents: int, *, is_masked: bool) -> tuple[EnvironmentStep, EnvironmentStep]:
        """Return the two steps that there are, without and with final observations, as views of shape (N, A, ...)."""

        def by_world(rows: Array) -> Array:
            return rows.reshape(-1, num_agents, *rows.shape[1:])

        parts: dict[str, Any] = {
            "observations": {name: by_world(leaf) for name, leaf in self.observations.items()},
            "agent_mask": by_world(self.agent_mask),
            "action_mask": by_world(self.action_mask) if is_masked else None,
            "rewards": by_world(self.rewards),
            "terminations": by_world(self.terminations),
            "truncations": by_world(self.truncations),
            "episode_starts": self.episode_starts,
        }
        finals = {name: by_world(leaf) for name, leaf in self.final_observations.items()}
        return EnvironmentStep(**parts), EnvironmentStep(**parts, final_observations=finals)
