"""Recorded episodes, packed into the buffers that rollouts fill: so all that follows is the same for both.

A pass takes every accepted episode once, in an order drawn for that pass; their rows, one episode after the other, are
cut into buffers of about the same size. A buffer's rows are laid into its lanes, one for each agent of each world: T
rows into the first lane, the next T into the second, and so on; what is left over is absent. Where a lane or a buffer
ends within an episode, it is cut there as by a time limit: the recorded value of its next row is bootstrapped.

Memory is one buffer, whatever the size of the dataset: rows are copied out of the mapped files shard by shard, and each
shard is let go of before the next one.

Legend: T steps, N worlds, A agents per world, E accepted episodes, n rows of a buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.arrays import is_finite
from townlet_core.errors import DatasetError
from townlet_core.replay.dataset import ENDINGS
from townlet_strategies_ppo.recorded_survey import ACTION_MASK, BOOTSTRAP, NUMBERS

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.shard import Shard
    from townlet_core.services.buffer import RolloutBuffer

_TERMINATED = ENDINGS.index("terminated")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a buffer in the order of its lanes; (n,) each.

    Attributes:
        episode: number of the row's episode in the dataset.
        step: its place in that episode.
        flat: its place in the buffer, as an index into T x N x A.
        is_last: its lane, the buffer or what can be learned from of its episode ends with it.
        is_end: its episode ends with it.
    """

    episode: Array
    step: Array
    flat: Array
    is_last: Array
    is_end: Array


class RecordedRows:
    """The accepted episodes of a dataset, a buffer at a time.

    Attributes:
        num_buffers: buffers of a pass.
        has_action_mask: whether masks were recorded.

    Args:
        dataset: the recorded data.
        shape: (T, N, A) of the buffers.
        seed: of the order of episodes.

    Raises:
        DatasetError: there is no row to learn from.
    """

    def __init__(self, dataset: Dataset, *, shape: tuple[int, int, int], seed: int) -> None:
        self._dataset, self._shape, self._seed = dataset, shape, seed
        table, steps = dataset.episodes, dataset.manifest.along("step")
        self.has_action_mask = ACTION_MASK in steps
        self._has_bootstrap = BOOTSTRAP in dataset.manifest.along("episode")
        usable = table.num_steps.copy()
        if not self._has_bootstrap:  # what followed the last row is worth something, and only its own value is known
            usable -= table.ending != _TERMINATED
        self._episodes = np.flatnonzero(table.accepted & (usable > 0))
        self._usable = usable
        self.num_rows = int(usable[self._episodes].sum())
        if self.num_rows == 0:
            raise DatasetError(
                f"{dataset.path} has no row to learn from: its episodes are of one step, and the value of what "
                "followed is not recorded"
            )
        self.num_buffers = -(-self.num_rows // int(np.prod(shape)))
        self._order: tuple[int, Array] | None = None

    def fill(self, buffer: RolloutBuffer, *, number: int, place: int) -> int:
        """Fill `buffer` with a part of a pass, and return how many rows that are.

        Args:
            buffer: of the shape that was given; it has an `action_mask` where the dataset has one.
            number: of the pass, from 0.
            place: which of its buffers, from 0.

        Raises:
            DatasetError: something that was seen, or the value of what followed, is not finite.
        """
        rows = self._rows(number, place)
        for name, column in buffer.columns().items():
            column[:] = name == ACTION_MASK  # absent rows see nothing, and could do anything
        buffer.last_values[:] = 0
        flat = {name: column.reshape(-1, *column.shape[3:]) for name, column in buffer.columns().items()}
        flat["agent_mask"][rows.flat] = True
        is_terminated = rows.is_end & (self._dataset.episodes.ending[rows.episode] == _TERMINATED)
        flat["terminations"][rows.flat] = is_terminated
        flat["truncations"][rows.flat] = rows.is_last & ~is_terminated
        names = [*buffer.observations, "actions", *NUMBERS, *([ACTION_MASK] if self.has_action_mask else [])]
        shards = self._dataset.episodes.shard[rows.episode]
        for number_of_shard in np.unique(shards).tolist():
            shard, here = self._dataset.shards[number_of_shard], np.flatnonzero(shards == number_of_shard)
            source = self._dataset.episodes.first_row[rows.episode[here]] + rows.step[here] - shard.first_row
            for name in names:
                flat[name][rows.flat[here]] = shard.column(name)[source]
            cut = rows.is_last[here] & ~is_terminated[here]
            flat[BOOTSTRAP][rows.flat[here][cut]] = self._bootstrap(shard, rows, here[cut], source[cut])
            for name in (*names, BOOTSTRAP):
                shard.forget(name)
            shard.unmap()
        for name in (*buffer.observations, BOOTSTRAP):  # what the survey did not read
            if not is_finite(buffer.columns()[name]):
                raise DatasetError(
                    f"{self._dataset.path}: '{name}' is not finite; 'townlet replay validate' says where"
                )
        return len(rows.flat)

    def _bootstrap(self, shard: Shard, rows: _Rows, cut: Array, source: Array) -> Array:
        """Return the value of what followed some rows of a shard, where their episode did not terminate.

        Args:
            shard: which.
            rows: all rows of the buffer.
            cut: places of those rows among them.
            source: their places in the shard.
        """
        values, is_end = shard.column("values"), rows.is_end[cut]
        following = np.where(is_end, 0, values[np.minimum(source + 1, len(values) - 1)])
        if self._has_bootstrap:
            first = int(np.searchsorted(self._dataset.episodes.first_row, shard.first_row))
            following[is_end] = shard.column(BOOTSTRAP)[rows.episode[cut][is_end] - first]
        return following

    def _rows(self, number: int, place: int) -> _Rows:
        """Return the rows of buffer `place` of pass `number`."""
        order, ends = self._pass(number)
        begin, end = (self.num_rows * index // self.num_buffers for index in (place, place + 1))
        row = np.arange(begin, end)
        which = np.searchsorted(ends, row, side="right")
        episode = order[which]
        step = row - ends[which] + self._usable[episode]
        num_steps, num_lanes = self._shape[0], self._shape[1] * self._shape[2]
        lane, at = np.divmod(row - begin, num_steps)
        is_last = (at == num_steps - 1) | (step == self._usable[episode] - 1) | (row == end - 1)
        return _Rows(
            episode=episode,
            step=step,
            flat=at * num_lanes + lane,
            is_last=is_last,
            is_end=step == self._dataset.episodes.num_steps[episode] - 1,
        )

    def _pass(self, number: int) -> tuple[Array, Array]:
        """Return the episodes of a pass in their order, and after how many rows each ends; (E,) each."""
        if self._order is None or self._order[0] != number:
            keys = randomness.key(self._seed, "replay", number)
            self._order = number, self._episodes[randomness.permutation(keys, len(self._episodes))[0]]
        order = self._order[1]
        return order, np.cumsum(self._usable[order])
