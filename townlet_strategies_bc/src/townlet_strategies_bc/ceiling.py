"""The held-out accuracy that the recorded labels allow.

Where a demonstrator was seen to do different things in situations that look the same to the policy, no policy can be
right in all of them: the best one takes the most frequent label of each observation (with its action mask). The
ceiling is the share of rows that this one gets right. It is an upper bound: where few observations occur twice, hardly
any disagreement can be seen, and where none does, nothing is known.

Rows are compared by 64-bit hashes of their bytes, 16 bytes each. Beyond `MAX_ROWS` the rows of an even part of the
observations are looked at, chosen by the hash, so that memory is bounded.

Legend: B rows.
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

MAX_ROWS = 200_000
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


def accuracy_ceiling(dataset: Dataset, episodes: Array, *, max_rows: int = MAX_ROWS) -> Ceiling:
    """Return the ceiling over the rows of the wanted episodes, (E,) bool.

    Args:
        dataset: the dataset.
        episodes: which episodes.
        max_rows: how many rows are kept in memory.
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
    limit = np.uint64(2**64 - 1)
    if reader.num_rows > max_rows:
        limit = np.uint64(int(2**64 * (max_rows / reader.num_rows)))
    kept: list[tuple[Array, Array]] = []
    for rows in reader.epoch(0):
        situations = hash_rows([rows[name] for name in seen])
        inside = situations <= limit
        kept.append((situations[inside], hash_rows([rows[ACTIONS]])[inside]))
    situations, labels = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return _ceiling(situations, labels)


def _ceiling(situations: Array, labels: Array) -> Ceiling:
    """Return the ceiling of rows that are given by two hashes each, (B,) uint64."""
    order = np.lexsort((labels, situations))
    situations, labels = situations[order], labels[order]
    new_situation = np.concatenate([[True], situations[1:] != situations[:-1]])
    new_pair = new_situation | np.concatenate([[True], labels[1:] != labels[:-1]])
    pair_begins = np.flatnonzero(new_pair)
    pair_counts = np.diff(pair_begins, append=len(situations))
    firsts = np.flatnonzero(new_situation[pair_begins])  # the first pair of each situation
    most = np.maximum.reduceat(pair_counts, firsts)
    counts = np.add.reduceat(pair_counts, firsts)
    rows = len(situations)
    return Ceiling(int(most.sum()) / rows, rows, int(counts[counts > 1].sum()) / rows)


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
