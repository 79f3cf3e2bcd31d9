"""A rollout as the update reads it: flat rows on the device, gathered shard by shard.

Legend: T steps, N worlds, A agents per world, S shards of W worlds, R = T * W * A rows of a shard, B rows of a
minibatch's shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from townlet_core import randomness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.arrays import Array, Observations
    from townlet_core.services.buffer import RolloutBuffer


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Rows of all shards, (S, B, ...) each; see `ppo_loss` for the names."""

    inputs: dict[str, torch.Tensor]
    actions: torch.Tensor
    action_mask: torch.Tensor | None
    old_log_probs: torch.Tensor
    old_values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    weights: torch.Tensor
    count: int


class RolloutBatch:
    """All rows of a rollout, (T * N * A, ...), sharing memory with the buffer on the CPU."""

    def __init__(
        self,
        buffer: RolloutBuffer,
        inputs: Observations,
        advantages: Array,
        *,
        worlds_per_shard: int,
        device: torch.device,
    ) -> None:
        """Take up a rollout.

        Args:
            buffer: the rollout.
            inputs: name -> (T, N, A, ...), prepared observations.
            advantages: (T, N, A).
            worlds_per_shard: W.
            device: where the update runs.
        """
        steps, worlds, agents = buffer.rewards.shape
        self.num_shards = worlds // worlds_per_shard
        rows = np.arange(steps * worlds * agents).reshape(steps, self.num_shards, worlds_per_shard * agents)
        self._shard_rows = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(self.num_shards, -1)
        self._present = buffer.agent_mask.reshape(-1)
        self._device = device

        def rows_of(array: Array) -> torch.Tensor:
            return torch.from_numpy(array.reshape(steps * worlds * agents, *array.shape[3:])).to(device)

        self._inputs = {name: rows_of(np.ascontiguousarray(values)) for name, values in inputs.items()}
        self._actions = rows_of(buffer.actions)
        self._action_mask = None if buffer.action_mask is None else rows_of(buffer.action_mask)
        columns = (
            buffer.log_probs,
            buffer.values,
            advantages,
            advantages + buffer.values,
            buffer.agent_mask,
        )
        self._columns = torch.from_numpy(np.stack([column.reshape(-1) for column in columns])).to(device)

    def minibatches(self, keys: randomness.Keys, num_minibatches: int) -> Iterator[Minibatch]:
        """Yield every row of every shard exactly once.

        Args:
            keys: (S,) one key for each shard's permutation.
            num_minibatches: how many; rows that do not divide are spread, so that sizes differ by one at most.
        """
        order = np.take_along_axis(self._shard_rows, randomness.permutation(keys, self._shard_rows.shape[1]), axis=1)
        size = order.shape[1]
        for index in range(num_minibatches):
            rows = order[:, index * size // num_minibatches : (index + 1) * size // num_minibatches]
            count = int(np.count_nonzero(self._present[rows]))
            if count:
                yield self._gathered(torch.from_numpy(np.ascontiguousarray(rows)).to(self._device), count)

    def _gathered(self, rows: torch.Tensor, count: int) -> Minibatch:
        flat = rows.reshape(-1)

        def take(source: torch.Tensor) -> torch.Tensor:
            return source.index_select(0, flat).reshape(*rows.shape, *source.shape[1:])

        columns = self._columns.index_select(1, flat).reshape(-1, *rows.shape)
        old_log_probs, old_values, advantages, returns, weights = columns
        return Minibatch(
            inputs={name: take(source) for name, source in self._inputs.items()},
            actions=take(self._actions),
            action_mask=None if self._action_mask is None else take(self._action_mask),
            old_log_probs=old_log_probs,
            old_values=old_values,
            advantages=advantages,
            returns=returns,
            weights=weights,
            count=count,
        )
