"""What the recorded labels are: counts, whether they are legal, how the rare ones are weighted, whether they differ.

Legend: B rows, K outputs of the actor (for several choices the sum of their counts), D action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import DatasetError
from townlet_core.replay.batches import BatchReader
from townlet_core.services.run_dataset import action_places, require_legal
from townlet_strategies_bc.batch import ACTION_MASK, ACTIONS

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_core.replay.dataset import Dataset

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the training rows.

    Attributes:
        counts: (K,) int64 rows that take each action; empty for a Gaussian.
        num_seen: different actions; of several choices, that of the most varied one. None for a Gaussian.
        majority_share: share of the most frequent action; of several choices, the smallest. None for a Gaussian.
        constant: whether all labels are one, exactly.
    """

    counts: Array
    num_seen: int | None
    majority_share: float | None
    constant: bool

    def are_degenerate(self, limit: float) -> bool:
        """Return whether they hardly differ: one action has a share of at least `limit`."""
        return self.constant or (self.majority_share is not None and self.majority_share >= limit)


def read_labels(dataset: Dataset, head: ActionHead, episodes: Array) -> Labels:
    """Return the labels of the wanted episodes, (E,) bool.

    Raises:
        DatasetError: an action does not exist, or its mask forbids it.
    """
    counts = np.zeros(head.num_outputs if head.counts else 0, np.int64)
    low, high = np.full(head.num_outputs, np.inf), np.full(head.num_outputs, -np.inf)
    has_mask = ACTION_MASK in dataset.manifest.along("step") and bool(head.counts)
    columns = [ACTIONS, ACTION_MASK] if has_mask else [ACTIONS]
    reader = BatchReader(
        dataset,
        columns=columns,
        batch_size=_ROWS_AT_ONCE,
        episodes=episodes,
        shuffle=False,
        drop_last=False,
    )
    for rows in reader.epoch(0):
        actions = rows[ACTIONS]
        if not head.counts:
            low, high = np.minimum(low, actions.min(axis=0)), np.maximum(high, actions.max(axis=0))
            continue
        chosen = action_places(dataset, head, actions)
        counts += np.bincount(chosen.ravel(), minlength=head.num_outputs)
        if has_mask:
            require_legal(dataset, chosen, rows[ACTION_MASK])
    if not head.counts:
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise DatasetError(f"{dataset.path}: an action is not finite; 'townlet replay validate' says where")
        return Labels(counts, None, None, constant=bool((low == high).all()))
    parts = [counts[segment] for segment in head.segments]
    num_seen = max(int(np.count_nonzero(part)) for part in parts)
    share = min(float(part.max() / part.sum()) for part in parts)
    return Labels(counts, num_seen, share, constant=num_seen == 1)


def balanced_weights(head: ActionHead, counts: Array) -> Array:
    """Return (K,) float32 weights that give every action that was seen the same sum; their mean over rows is 1."""
    weights = np.ones(len(counts), np.float32)
    for segment in head.segments:
        part = counts[segment]
        seen = part > 0
        weights[segment][seen] = part.sum() / (np.count_nonzero(seen) * part[seen])
    return weights
