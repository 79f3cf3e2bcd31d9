"""Discounted returns of recorded rows: what the critic is regressed on.

G[t] = r[t] + gamma G[t + 1] within an episode. Where a time limit or the end of the recording cut it, the recorded
value of what followed is bootstrapped: G[last] = r[last] + gamma V. A script has no critic and recorded zeros, so its
cut episodes count as ended.

The sums are made by doubling: with H[t] over s steps, those over 2 s are H[t] + gamma^s H[t + s]. So a shard takes
log2(longest episode) passes, whatever its episodes are. All returns of a dataset lie in one temporary file that is
mapped, and the pages of a shard are given back when another one is read: memory does not grow with the data.

Legend: R rows, E episodes.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import DatasetError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset

_NEGLIGIBLE = 1e-15


def discounted_returns(rewards: Array, num_steps: Array, *, gamma: float, bootstrap_values: Array | None) -> Array:
    """Return the discounted returns (R,) float64 of episodes that lie one after the other.

    Args:
        rewards: (R,).
        num_steps: (E,) rows of each episode.
        gamma: the discount.
        bootstrap_values: (E,) value of what followed the last row; 0 where the episode ended.
    """
    returns = rewards.astype(np.float64)
    ends = np.cumsum(num_steps)
    if bootstrap_values is not None:
        returns[ends - 1] += gamma * bootstrap_values.astype(np.float64)
    left = np.repeat(ends, num_steps) - np.arange(len(returns))  # rows from this one to the episode's last
    shift, longest = 1, int(num_steps.max(initial=0))
    while shift < longest and gamma**shift > _NEGLIGIBLE:
        later = np.where(left[:-shift] > shift, returns[shift:], 0.0)
        returns[:-shift] += gamma**shift * later
        shift *= 2
    return returns


class MappedReturns(Sequence["Array"]):
    """The returns of each shard's rows, (rows,) float32, as views of a temporary file.

    Args:
        mapped: (R,) the file.
        first_rows: number of each shard's first row, and R.
    """

    def __init__(self, mapped: np.memmap[Any, Any], first_rows: list[int]) -> None:
        self._mapped, self._first_rows, self._last = mapped, first_rows, 0

    def __len__(self) -> int:
        return len(self._first_rows) - 1

    def __getitem__(self, shard: Any) -> Any:
        """Return the returns of one shard; the pages of the one that was asked for before are given back."""
        if not 0 <= shard < len(self):
            raise IndexError(shard)
        if shard != self._last:
            self._forget(self._last)
            self._last = shard
        return np.asarray(self._mapped[self._first_rows[shard] : self._first_rows[shard + 1]])

    def _forget(self, shard: int) -> None:
        memory = self._mapped._mmap  # type: ignore[attr-defined]  # noqa: SLF001  (NumPy offers no other way to it)
        if hasattr(mmap, "MADV_DONTNEED"):
            begin = 4 * self._first_rows[shard] // mmap.PAGESIZE * mmap.PAGESIZE
            memory.madvise(mmap.MADV_DONTNEED, begin, 4 * self._first_rows[shard + 1] - begin)


def mapped_returns(dataset: Dataset, *, gamma: float, directory: Path | None) -> MappedReturns:
    """Return the discounted returns of all rows.

    Args:
        dataset: the dataset.
        gamma: the discount.
        directory: where the file is made; None for the system's place. It has no name and goes with the process.

    Raises:
        DatasetError: no rewards are recorded.
        StorageError: the file cannot be made.
    """
    if "rewards" not in dataset.manifest.along("step"):
        raise DatasetError(f"{dataset.path} has no rewards, and strategies.bc.value_coef asks for returns: set it to 0")
    for shard in dataset.shards:
        shard.require_sizes(["rewards"])
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.truncate(4 * dataset.num_rows)
            if hasattr(os, "posix_fallocate"):  # without room, writing to what is mapped ends the process by a signal
                os.posix_fallocate(file.fileno(), 0, 4 * dataset.num_rows)
            mapped = np.memmap(file, np.float32, "r+", shape=(dataset.num_rows,))
    except OSError as error:
        raise StorageError(f"no file for {dataset.num_rows:,} returns can be made: {error.strerror}") from error
    has_values = "bootstrap_values" in dataset.manifest.along("episode")
    returns = MappedReturns(mapped, [*(shard.first_row for shard in dataset.shards), dataset.num_rows])
    for number, shard in enumerate(dataset.shards):
        num_steps = dataset.episodes.num_steps[dataset.episodes.shard == number]
        returns[number][:] = discounted_returns(
            shard.column("rewards"),
            num_steps,
            gamma=gamma,
            bootstrap_values=shard.column("bootstrap_values") if has_values else None,
        )
        for name in ("rewards", "bootstrap_values") if has_values else ("rewards",):
            shard.forget(name)
    return returns
