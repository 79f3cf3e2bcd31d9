"""A rollout as the update reads it: flat rows, shuffled within their shards, in minibatches of all shards.

Observations stay as the buffer has them; they are gathered and prepared for a few shards at a time, so that an update
needs little more memory than the rollout. Only normalised ones are prepared once for all passes, since that costs as
much as a product does.

Legend: T steps, N worlds, A agents per world, S shards of W worlds, R = T * N * A rows, B rows of a minibatch's shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core import randomness
from townlet_core.policy.inputs import input_shapes, prepare, prepare_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gymnasium import spaces

    from townlet_core.arrays import Array
    from townlet_core.policy.inputs import Normalizer
    from townlet_core.policy.scratch import Scratch
    from townlet_core.services.buffer import RolloutBuffer


@dataclass(slots=True)
class Minibatch:
    """Rows of all shards, (S, B) each.

    Attributes:
        rows: int64, which rows of the rollout.
        old_log_probs: under the policy that acted.
        old_values: under the same.
        advantages: as the loss takes them.
        returns: the value targets.
        weights: 1 for present rows in which the learner acted, and 0 for the others.
        count: number of present rows.
        deviation: of the advantages before they were normalised.
        scripted: 1 for present rows in which a script acted, and 0 for the others; None where none ever did. They are
            learned from by the critic alone.
        num_scripted: number of those rows.
    """

    rows: Array
    old_log_probs: Array
    old_values: Array
    advantages: Array
    returns: Array
    weights: Array
    count: int
    deviation: float
    scripted: Array | None = None
    num_scripted: int = 0

    @property
    def num_learned(self) -> int:
        """Number of rows that the actor learns from; 1 for none, so that it can be divided by."""
        return max(1, self.count - self.num_scripted)

    def groups(self, num_rows: int) -> list[slice]:
        """Return groups of whole shards of at most about `num_rows` rows, whose sizes differ by one shard at most."""
        num_shards, size = self.rows.shape
        number = count_groups(num_shards, size, num_rows)
        bounds = [index * num_shards // number for index in range(number + 1)]
        return [slice(first, last) for first, last in pairwise(bounds)]


def count_groups(num_shards: int, size: int, num_rows: int) -> int:
    """Return how many groups of about `num_rows` rows whole shards of `size` rows make."""
    return -(-num_shards // max(1, num_rows // size))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One observation of all rows.

    Attributes:
        space: its leaf space.
        rows: (R, ...), raw, or float32 where it was normalised.
        width: numbers of a prepared row.
    """

    space: spaces.Space[Any]
    rows: Array
    width: int


class RolloutBatch:
    """All rows of a rollout, sharing memory with the buffer.

    Attributes:
        num_shards: S.
        leaves: the observations by name, in the order in which a network's input joins them.
        actions: (R, ...).
        action_mask: (R, K), or None.
        reference: (R, K) outputs of a policy to stay near, and its log_std; None for none.

    Args:
        buffer: the rollout.
        advantages: (T, N, A).
        observation_spaces: flattened name -> leaf space.
        normalizer: moments of the observations; may be empty.
        worlds_per_shard: W.
        normalize_advantages: whether each minibatch's are shifted and scaled to mean 0 and deviation 1.
        reference: as the attribute, (T, N, A, K).
    """

    def __init__(
        self,
        buffer: RolloutBuffer,
        advantages: Array,
        observation_spaces: Mapping[str, spaces.Space[Any]],
        normalizer: Normalizer,
        *,
        worlds_per_shard: int,
        normalize_advantages: bool = True,
        reference: tuple[Array, Array | None] | None = None,
    ) -> None:
        steps, worlds, agents = buffer.rewards.shape
        size = steps * worlds * agents
        self.num_shards = worlds // worlds_per_shard
        rows = np.arange(size).reshape(steps, self.num_shards, worlds_per_shard * agents)
        self._shard_rows = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(self.num_shards, -1)
        self._present = buffer.agent_mask.reshape(-1)
        self._is_normalized = normalize_advantages

        def rows_of(array: Array) -> Array:
            return array.reshape(size, *array.shape[3:])

        self.leaves: dict[str, Leaf] = {}
        for name, shape in sorted(input_shapes(observation_spaces).items()):
            values, moments = buffer.observations[name], normalizer.get(name)
            if moments is not None and moments.count > 0:
                values = prepare({name: observation_spaces[name]}, {name: values}, {name: moments})[name]
            self.leaves[name] = Leaf(observation_spaces[name], rows_of(values), prod(shape))
        self.actions = rows_of(buffer.actions)
        self.action_mask = None if buffer.action_mask is None else rows_of(buffer.action_mask)
        self.reference = None if reference is None else (rows_of(reference[0]), reference[1])
        columns = [buffer.log_probs, buffer.values, advantages, advantages + buffer.values, buffer.agent_mask]
        if (blend := buffer.blend) is not None:
            columns[0], columns[4] = blend.learner_log_probs, buffer.agent_mask & ~blend.is_scripted
            columns.append(buffer.agent_mask & blend.is_scripted)
        self._columns = np.empty((len(columns), size), buffer.values.dtype)
        for column, values in zip(self._columns, columns, strict=True):
            column[:] = values.reshape(-1)

    @property
    def width(self) -> int:
        """Numbers of a row that is fed to a network."""
        return sum(leaf.width for leaf in self.leaves.values())

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
                yield self._minibatch(np.ascontiguousarray(rows), count)

    def _minibatch(self, rows: Array, count: int) -> Minibatch:
        old_log_probs, old_values, advantages, returns, weights, *others = self._columns.take(rows, axis=1)
        scripted = others[0] if others else None
        num_scripted = 0 if scripted is None else int(np.count_nonzero(scripted))
        normalized, deviation = normalized_advantages(advantages, weights, count - num_scripted)
        return Minibatch(
            rows=rows,
            old_log_probs=old_log_probs,
            old_values=old_values,
            advantages=normalized if self._is_normalized else advantages,
            returns=returns,
            weights=weights,
            count=count,
            deviation=deviation,
            scripted=scripted,
            num_scripted=num_scripted,
        )

    def features(self, rows: Array, scratch: Scratch) -> Array:
        """Return what the encoder `flatten` makes of some rows (S, B): (S, B, width), in memory of `scratch`."""
        features = scratch.array("features", (*rows.shape, self.width), self._columns.dtype)
        begin = 0
        for name, leaf in self.leaves.items():
            flat, end = leaf.rows.reshape(len(leaf.rows), -1), begin + leaf.width
            is_whole = flat.shape[1] == self.width and flat.dtype == features.dtype
            for shard, chosen in enumerate(rows):
                out = features[shard, :, begin:end]
                if is_whole:
                    flat.take(chosen, axis=0, out=out, mode="clip")  # other modes take a copy between
                    continue
                taken = scratch.array(f"taken {name}", (1, len(chosen), flat.shape[1]), flat.dtype)[0]
                flat.take(chosen, axis=0, out=taken, mode="clip")
                prepare_into(leaf.space, taken.reshape(len(chosen), *leaf.rows.shape[1:]), None, out)
            begin = end
        return features


def normalized_advantages(advantages: Array, weights: Array, count: int) -> tuple[Array, float]:
    """Return advantages (S, B) of mean 0 and deviation 1 over all shards, and the deviation before.

    The deviation has n - 1 in its denominator. A single row is returned as it is.
    """
    if count < 2:
        return advantages, 0.0
    is_whole = count == advantages.size  # multiplying by ones would cost as much as everything else
    kept = advantages if is_whole else advantages * weights
    shifted = advantages - advantages.dtype.type(_sum(kept) / count)
    if not is_whole:
        shifted *= weights
    deviation = float(np.sqrt(_sum(shifted * shifted) / (count - 1)))
    shifted /= shifted.dtype.type(deviation + 1e-8)
    return shifted, deviation


def _sum(values: Array) -> float:
    """Return the sum of (S, B), shard by shard."""
    return float(np.add.reduce(np.add.reduce(values, axis=1)))
