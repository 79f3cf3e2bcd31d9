"""Which world-episodes are trained on and which are measured on; never by row.

Rows of one episode resemble each other, and agents of one world see each other: a split by row would measure what was
learned by heart. So what is held out is whole groups (`EpisodeEntry.group`).

Legend: E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from townlet_core import randomness
from townlet_core.errors import DatasetError

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset

TRAIN_LABELS = ("", "train", "training")
HELD_OUT_LABELS = ("validation", "val", "valid", "dev", "held_out", "holdout", "test")
"""Names of parts that are measured on; the first of them that the dataset has is the one."""


@dataclass(frozen=True, slots=True)
class Split:
    """Two parts of a dataset.

    Attributes:
        train: (E,) bool.
        held_out: (E,) bool; all False where nothing is held out.
        by: whether the dataset's own labels decided, or random numbers, or nothing is held out.
        num_train_groups: world-episodes trained on.
        num_held_out_groups: world-episodes measured on.
    """

    train: Array
    held_out: Array
    by: Literal["labels", "fraction", "nothing"]
    num_train_groups: int
    num_held_out_groups: int


def split_episodes(dataset: Dataset, *, fraction: float, seed: int) -> Split:
    """Return the split of the accepted episodes.

    Where any episode has a split label, the labels hold: those of `TRAIN_LABELS` are trained on, those of the first of
    `HELD_OUT_LABELS` that occurs are measured on, and all others are neither. Elsewhere each group draws a number from
    (seed, its own number), and those with the smallest numbers are held out: a dataset that has grown keeps most of its
    split. With `fraction` 0 nothing is held out.

    Raises:
        DatasetError: a side has no group, or a group is on both sides.
    """
    table = dataset.episodes
    accepted = table.accepted
    if not accepted.any():
        raise DatasetError(f"{dataset.path}: no episode is accepted, so there is nothing to learn from")
    nobody = np.zeros_like(accepted)
    if fraction == 0:
        labels = {str(label) for label in table.split[accepted]} - set(TRAIN_LABELS)
        train = accepted & np.isin(table.split.astype(str), TRAIN_LABELS) if labels else accepted
        return _checked(dataset, train, nobody, "nothing")
    labels = {str(label) for label in table.split[accepted]}
    if labels != {""}:
        text = table.split.astype(str)
        held_out_label = next((label for label in HELD_OUT_LABELS if label in labels), None)
        if held_out_label is None:
            raise DatasetError(
                f"{dataset.path} has the splits {_listed(labels)}, and none to measure on, such as 'validation': "
                "split it with 'townlet replay curate', or set strategies.bc.held_out_fraction to 0"
            )
        return _checked(dataset, accepted & np.isin(text, TRAIN_LABELS), accepted & (text == held_out_label), "labels")
    groups = np.unique(table.group[accepted])
    if len(groups) < 2:
        raise DatasetError(
            f"{dataset.path} has one world-episode, and nothing can be held out of it: record more with "
            "'townlet capture --episodes', or set strategies.bc.held_out_fraction to 0 to train without measuring"
        )
    count = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    draws = randomness.bits(randomness.key(seed, "held_out", groups), 0)
    chosen = groups[np.argsort(draws, kind="stable")[:count]]
    is_chosen = np.isin(table.group, chosen)
    return _checked(dataset, accepted & ~is_chosen, accepted & is_chosen, "fraction")


def _checked(dataset: Dataset, train: Array, held_out: Array, by: Literal["labels", "fraction", "nothing"]) -> Split:
    groups = dataset.episodes.group
    sides = np.unique(groups[train]), np.unique(groups[held_out])
    both = np.intersect1d(*sides)
    if len(both):
        raise DatasetError(
            f"{dataset.path}: world-episode {both[0]} is both trained on and measured on ({len(both)} such): "
            "split it by world-episode with 'townlet replay curate'"
        )
    if not train.any():
        labels = {str(label) for label in dataset.episodes.split[dataset.episodes.accepted]}
        raise DatasetError(
            f"{dataset.path}: no accepted episode is labelled {_listed(TRAIN_LABELS[1:])}, or not at all; the labels "
            f"are {_listed(labels)}: split it with 'townlet replay curate'"
        )
    return Split(train, held_out, by, len(sides[0]), len(sides[1]))


def count_known(dataset: Dataset, split: Split) -> int:
    """Return how many held-out episodes are, by their digests, also trained on: those say nothing of what was learned.

    The first 8 bytes of the digests are compared, of which two are equal by chance once in 2**64 pairs.
    """
    content = dataset.episodes.content
    return int(np.count_nonzero(np.isin(content[split.held_out & (content > 0)], content[split.train])))


def _listed(names: object) -> str:
    return ", ".join(repr(name) for name in sorted(names))  # type: ignore[call-overload]  # any collection of texts
