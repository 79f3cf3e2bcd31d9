"""Shuffled batches of rows in bounded memory, whatever the size of the dataset.

Rows are shuffled in two steps. The dataset is cut into blocks of consecutive rows; an epoch takes the blocks in a
random order and joins them into windows; the rows of a window are copied out of the mapped files, which are given back
to the system at once, and shuffled among themselves. A dataset that fits into one window is shuffled as a whole, and
read once. Files are read block by block, and gathering a batch costs the same for every size of dataset.

Cost of a row: one copy from the file to the window (sequential), one from the window to the batch (random, in cache or
close to it), and 8 bytes of order. Memory: a window, a batch, and about 100 bytes for each episode.

Legend: B rows of a batch, R rows of the dataset, E episodes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.arrays import aligned_empty
from townlet_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset

DEFAULT_WINDOW_BYTES = 32 << 20
SEQUENTIAL_BYTES = 1 << 20
"""Largest window of rows that come as they lie: they need not wait for each other. [bytes]"""
BLOCKS_OF_WINDOW = 64
"""A window is made of about so many blocks; more mix better, fewer read faster from a slow disk."""
_MOST_MAPPED, _WINDOWS_MAPPED = 16_384, 2048


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Runs of consecutive rows within one shard; each array has one entry for each block.

    Attributes:
        shard: number of the shard.
        first: first row, counted within the shard.
        last: row after the last one.
        count: rows among them that are wanted.
    """

    shard: Array
    first: Array
    last: Array
    count: Array

    def at(self, block: int) -> tuple[int, int, int, int]:
        """Return shard, first, last and count of one block."""
        return int(self.shard[block]), int(self.first[block]), int(self.last[block]), int(self.count[block])


class BatchReader:
    """Batches of some columns of a dataset, an epoch at a time; every wanted row comes once in an epoch.

    What an epoch yields is a pure function of the dataset, the settings, the seed and the epoch's number.

    Args:
        dataset: what is read.
        columns: names of step columns.
        batch_size: B.
        episodes: (E,) bool, True = wanted; None for all.
        seed: of the order.
        shuffle: False yields the rows as they lie.
        drop_last: leave out the rows that do not fill a batch; otherwise the last batch is smaller.
        window_bytes: memory for the rows of a window; without shuffling at most `SEQUENTIAL_BYTES` are used.
        extra: further columns by name: for each shard an array of as many rows as it has.

    Attributes:
        num_rows: rows that are wanted.
        num_batches: batches of an epoch.

    Raises:
        DatasetError: there is no such column, or no batch can be filled.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        columns: Sequence[str],
        batch_size: int,
        episodes: Array | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        extra: Mapping[str, Sequence[Array]] | None = None,
    ) -> None:
        known = dataset.manifest.along("step")
        for name in columns:
            if name not in known:
                raise DatasetError(f"{dataset.path} has no column '{name}'; it has {', '.join(sorted(known))}")
        for shard in dataset.shards:
            shard.require_sizes(columns)
        self._dataset, self._seed, self._shuffle = dataset, seed, shuffle
        self._columns, self._extra = tuple(columns), dict(extra or {})
        self.batch_size = batch_size
        shapes = {name: (known[name].shape, known[name].kind) for name in columns}
        shapes |= {name: (arrays[0].shape[1:], arrays[0].dtype) for name, arrays in self._extra.items()}
        row_bytes = max(1, sum(math.prod(shape) * kind.itemsize for shape, kind in shapes.values()))
        if not shuffle:
            window_bytes = min(window_bytes, SEQUENTIAL_BYTES)
        window_rows = max(2 * batch_size, window_bytes // row_bytes)
        self._wanted = _Wanted(dataset, episodes)
        block_rows = window_rows // BLOCKS_OF_WINDOW if shuffle else window_rows  # what is in order needs no mixing
        self._blocks = _cut(dataset, self._wanted, max(1, block_rows))
        self.num_rows = int(self._blocks.count.sum())
        self.num_batches = self.num_rows // batch_size if drop_last else -(-self.num_rows // batch_size)
        if self.num_batches == 0:
            raise DatasetError(
                f"{dataset.path} has {self.num_rows:,} rows to read, fewer than the batch size {batch_size:,}"
            )
        self._drop_last, self._window_rows = drop_last, window_rows
        self._is_resident = self.num_rows <= window_rows
        self._held: tuple[int, int] | None = None
        self._are_many = len(dataset.shards) * len(self._columns) > most_mapped()
        size = min(self.num_rows, window_rows + int(self._blocks.count.max()))
        self._window = {name: np.empty((size, *shape), kind) for name, (shape, kind) in shapes.items()}
        self._batch = {  # aligned, because the last bits of a small product depend on where its operands lie
            name: aligned_empty(batch_size * math.prod(shape), kind).reshape(batch_size, *shape)
            for name, (shape, kind) in shapes.items()
        }

    def epoch(self, number: int, *, first_batch: int = 0) -> Iterator[dict[str, Array]]:
        """Yield the batches of epoch `number` from `first_batch` on.

        The rows of all windows, one window after the other, are one stream, and batch k is its rows [k B, (k + 1) B).
        So a batch may have rows of two windows, and beginning in the middle reads no window before.

        Yields:
            column -> (B, ...); the arrays are used again for the next batch.
        """
        position, filled, begin = first_batch * self.batch_size, 0, 0
        windows = self._windows(number)
        for index, blocks in enumerate(windows):
            size = int(self._blocks.count[blocks].sum())
            if begin + size > position:
                self._load(blocks, number, index)
                self._announce(windows[index + 1] if index + 1 < len(windows) else [])
                order = self._order(number, index, size)
                offset = max(0, position - begin)
                while offset < size:
                    self._load(blocks, number, index)  # another epoch may have been read since the last batch
                    rows = order[offset : offset + self.batch_size - filled]
                    self._gather(rows, filled)
                    filled += len(rows)
                    offset += len(rows)
                    if filled == self.batch_size:
                        yield self._batch
                        filled = 0
            begin += size
        if filled and not self._drop_last:
            yield {name: array[:filled] for name, array in self._batch.items()}

    def _windows(self, epoch: int) -> list[Array]:
        """Return the blocks of each window of an epoch, in their order."""
        blocks = np.arange(len(self._blocks.count))
        if self._shuffle and not self._is_resident:
            blocks = randomness.permutation(randomness.key(self._seed, "blocks", epoch), len(blocks))[0]
        ends = np.cumsum(self._blocks.count[blocks])
        window = (ends - self._blocks.count[blocks]) // self._window_rows
        return np.split(blocks, np.flatnonzero(np.diff(window)) + 1)

    def _order(self, epoch: int, window: int, size: int) -> Array:
        if not self._shuffle:
            return np.arange(size)
        order: Array = randomness.permutation(randomness.key(self._seed, "rows", epoch, window), size)[0]
        return order

    def _load(self, blocks: Array, epoch: int, index: int) -> None:
        """Copy the wanted rows of `blocks` into the window, and give the files' pages back to the system.

        Nothing is done where it holds them: the window `index` of this epoch, or, where all fit, of any epoch.
        """
        window_held = (0, 0) if self._is_resident else (epoch, index)
        if self._held == window_held:
            return
        self._held = None
        end = 0
        for block in blocks.tolist():
            shard, first, last, count = self._blocks.at(block)
            wanted = self._wanted(shard, first, last) if count < last - first else slice(None)
            for name, window in self._window.items():
                window[end : end + count] = self._source(name, shard)[first:last][wanted]
            end += count
            for name in self._columns:  # whole: a fault maps the pages around as well, which are other blocks'
                self._dataset.shards[shard].forget(name)
            if self._are_many:
                self._dataset.shards[shard].unmap()
        self._held = window_held

    def _announce(self, blocks: Sequence[int] | Array) -> None:
        """Tell the system which rows are read next, so that a slow disk is read while this window is used."""
        for block in blocks:
            shard, first, last, _ = self._blocks.at(int(block))
            for name in self._columns:
                self._dataset.shards[shard].announce(name, first, last)
            if self._are_many:
                self._dataset.shards[shard].unmap()

    def _source(self, name: str, shard: int) -> Array:
        return self._extra[name][shard] if name in self._extra else self._dataset.shards[shard].column(name)

    def _gather(self, rows: Array, filled: int) -> None:
        for name, batch in self._batch.items():
            # 'clip' lets NumPy write into `out` directly; every row is in range.
            np.take(self._window[name], rows, axis=0, out=batch[filled : filled + len(rows)], mode="clip")


def most_mapped() -> int:
    """Return how many files may stay mapped: each holds a descriptor, of which systems allow 256 or more.

    What does not fit under that is mapped when it is needed, which makes reading slower by about a third.
    """
    if sys.platform == "win32":
        return _WINDOWS_MAPPED
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_MAPPED, limit // 2) if limit != resource.RLIM_INFINITY else _MOST_MAPPED


class _Wanted:
    """Which rows are wanted, by episode.

    Args:
        dataset: what is read.
        episodes: (E,) bool, or None for all.
    """

    def __init__(self, dataset: Dataset, episodes: Array | None) -> None:
        self._ends = None
        if episodes is not None and not episodes.all():
            self._episodes = episodes
            self._ends = dataset.episodes.first_row + dataset.episodes.num_steps
        self._first_rows = [shard.first_row for shard in dataset.shards]

    def __call__(self, shard: int, first: int, last: int) -> Array:
        """Return (last - first,) bool for rows [first, last) of a shard."""
        if self._ends is None:
            return np.ones(last - first, np.bool_)
        begin = self._first_rows[shard]
        low = int(np.searchsorted(self._ends, begin + first, side="right"))
        high = int(np.searchsorted(self._ends, begin + last, side="left")) + 1
        ends = np.clip(self._ends[low:high] - begin, first, last)
        return np.asarray(np.repeat(self._episodes[low:high], np.diff(ends, prepend=first)))


def _cut(dataset: Dataset, wanted: _Wanted, block_rows: int) -> _Blocks:
    """Return the blocks of at most `block_rows` rows that have any wanted ones."""
    blocks = [
        (number, first, min(first + block_rows, shard.entry.num_rows))
        for number, shard in enumerate(dataset.shards)
        for first in range(0, shard.entry.num_rows, block_rows)
    ]
    counts = [int(np.count_nonzero(wanted(*block))) for block in blocks]
    kept = [(*block, count) for block, count in zip(blocks, counts, strict=True) if count]
    shard, first, last, count = np.array(kept, np.int64).reshape(-1, 4).T
    return _Blocks(shard, first, last, count)
