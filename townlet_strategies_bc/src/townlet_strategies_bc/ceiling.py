"""The held-out accuracy that the recorded labels allow.

Where a demonstrator was seen to do different things in situations that look the same to the policy, no policy can be
right in all of them: the best one takes the most frequent label of each observation (with its action mask). The
ceiling is the share of rows that this one gets right. It is an upper bound: where few observations occur twice, hardly
any disagreement can be seen, and where none does, nothing is known.

Rows are compared by 64-bit hashes of their bytes, and equal ones are counted, in 24 bytes. Where there are more than
`MAX_PAIRS` different ones, the rows of an even part of the observations are looked at, chosen by the hash, so that
memory is bounded; there is always at least one observation among them.

Legend: B rows, P different pairs of a situation and a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.replay.batches import BatchReader
from townlet_strategies_bc.batch import ACTION_MASK, ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset

MAX_PAIRS = 200_000
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the labels allow.

    Attributes:
        accuracy: share of rows that take the most frequent label of their observation.
        rows: rows that were looked at.
        repeated_share: share of them whose observation occurs more than once.
    """

    accuracy: float
    rows: int
    repeated_share: float


def accuracy_ceiling(dataset: Dataset, episodes: Array, *, max_pairs: int = MAX_PAIRS) -> Ceiling:
    """Return the ceiling over the rows of the wanted episodes, (E,) bool.

    Args:
        dataset: the dataset.
        episodes: which episodes.
        max_pairs: how many different pairs of observation and label are kept in memory.
    """
    seen = list(dataset.manifest.observation_spaces)
    if ACTION_MASK in dataset.manifest.along("step"):
        seen.append(ACTION_MASK)
    reader = BatchReader(
        dataset,
        columns=[*seen, ACTIONS],
        batch_size=_ROWS_AT_ONCE,
        episodes=episodes,
        shuffle=False,
        drop_last=False,
    )
    pairs = _Pairs(max_pairs)
    for rows in reader.epoch(0):
        pairs.add(hash_rows([rows[name] for name in seen]), hash_rows([rows[ACTIONS]]))
    return pairs.ceiling()


class _Pairs:
    """Different pairs of a situation and a label, counted; of too many, those whose situation has a small hash.

    The limit only ever falls, so what is below it at the end has been counted from the first row on.

    Args:
        most: how many are kept, unless one situation alone has more labels; as many again wait to be counted.
    """

    def __init__(self, most: int) -> None:
        self._most, self._limit = most, np.uint64(2**64 - 1)
        self._situations, self._labels = np.zeros((2, 0), np.uint64)
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[tuple[Array, Array]] = []
        self._num_waiting = 0

    def add(self, situations: Array, labels: Array) -> None:
        """Count rows, given by two hashes each, (B,) uint64."""
        inside = situations <= self._limit
        self._waiting.append((situations[inside], labels[inside]))
        self._num_waiting += len(self._waiting[-1][0])
        if self._num_waiting >= self._most:
            self._count()

    def _count(self) -> None:
        situations = np.concatenate([self._situations, *(waiting[0] for waiting in self._waiting)])
        labels = np.concatenate([self._labels, *(waiting[1] for waiting in self._waiting)])
        counts = np.concatenate([self._counts, np.ones(self._num_waiting, np.int64)])
        self._waiting, self._num_waiting = [], 0
        order = np.lexsort((labels, situations))
        situations, labels = situations[order], labels[order]
        begins = np.flatnonzero(_differs(situations) | _differs(labels))
        situations, labels, counts = situations[begins], labels[begins], np.add.reduceat(counts[order], begins)
        if len(situations) > self._most:
            inside = max(1, int(np.searchsorted(situations, situations[self._most])))  # a situation stays whole or goes
            self._limit = situations[inside - 1]
            kept = situations <= self._limit
            situations, labels, counts = situations[kept], labels[kept], counts[kept]
        self._situations, self._labels, self._counts = situations, labels, counts

    def ceiling(self) -> Ceiling:
        """Return the ceiling of what was counted; at least one row was."""
        if self._waiting:
            self._count()
        firsts = np.flatnonzero(_differs(self._situations))
        most = np.maximum.reduceat(self._counts, firsts)
        counts = np.add.reduceat(self._counts, firsts)
        rows = int(counts.sum())
        return Ceiling(int(most.sum()) / rows, rows, int(counts[counts > 1].sum()) / rows)


def _differs(numbers: Array) -> Array:
    """Return where each of (P,) numbers, at least one, is another one than that before it; True for the first."""
    return np.concatenate([[True], numbers[1:] != numbers[:-1]])


def hash_rows(columns: Iterable[Array]) -> Array:
    """Return a 64-bit hash (B,) of the bytes of each row of several columns, (B, ...) each.

    Every word is mixed with a key of its place before they are added, so that equal rows have equal hashes and others
    differ but for one pair in 2**64.
    """
    total: Array = np.zeros(0, np.uint64)
    place = 0
    for column in columns:
        flat = np.ascontiguousarray(column).reshape(len(column), -1).view(np.uint8)
        padded = np.zeros((len(flat), -(-flat.shape[1] // 8) * 8), np.uint8)
        padded[:, : flat.shape[1]] = flat
        words = padded.view(np.uint64)
        keys = randomness.key(0, "row hash", np.arange(place, place + words.shape[1]))
        mixed = randomness.bits(keys, words).sum(axis=1, dtype=np.uint64)
        total = mixed if len(total) == 0 else total + mixed
        place += words.shape[1]
    return total
