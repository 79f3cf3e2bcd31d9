"""Reward normalisation: rewards are divided by the running deviation of the discounted return.

As in OpenAI's baselines (detail 5 of Huang et al. 2022, "The 37 implementation details of PPO"), but the statistics of
a rollout are merged at once, shard by shard, so that they do not depend on how worlds are spread over processes.

Where returns hardly vary, as with a constant reward, their deviation says nothing about their size: it is taken to be
at least a tenth of their root mean square, so that no reward grows without limit.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.inputs import Moments

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.services.buffer import RolloutBuffer


LEAST_SHARE_OF_SQUARES = 0.01  # of the mean square of the returns: the least variance that rewards are divided by


@dataclass(slots=True)
class RewardScale:
    """Running statistics of discounted returns.

    Attributes:
        moments: of every discounted return seen so far.
        discounted: (N, A) float64, the discounted sum of each running episode's rewards.
    """

    moments: Moments
    discounted: Array

    @classmethod
    def new(cls, num_worlds: int, num_agents: int) -> RewardScale:
        """Return statistics that have seen nothing."""
        return cls(Moments.empty(()), np.zeros((num_worlds, num_agents)))

    def see(self, buffer: RolloutBuffer, *, gamma: float, worlds_per_shard: int, is_recorded: bool = False) -> None:
        """Take up a rollout, or recorded rows, whose lanes begin anew: what is running goes on behind them."""
        discounted = np.zeros_like(self.discounted) if is_recorded else self.discounted
        ended = buffer.terminations | buffer.truncations
        returns = np.empty(buffer.rewards.shape)
        for step in range(len(returns)):
            present = buffer.agent_mask[step]
            discounted = np.where(present, gamma * discounted + buffer.rewards[step], discounted)
            returns[step] = discounted
            discounted = np.where(ended[step], 0.0, discounted)
        if not is_recorded:
            self.discounted = discounted
        for first in range(0, buffer.rewards.shape[1], worlds_per_shard):
            shard = slice(first, first + worlds_per_shard)
            self.moments = self.moments.merged(returns[:, shard][buffer.agent_mask[:, shard]])

    def scaled(self, rewards: Array) -> Array:
        """Return `rewards` divided by the deviation of the returns, float32."""
        if self.moments.count == 0:
            return rewards
        variance = self.moments.variance
        floor = LEAST_SHARE_OF_SQUARES * (variance + self.moments.mean**2)
        return np.asarray(rewards / np.sqrt(np.maximum(variance, floor) + 1e-8), dtype=np.float32)
