"""Shuffled batches of samples of the earlier format, those of one shape together, in the columns of a native dataset.

Samples are put in a random order and joined into windows; the rows of a window are shuffled among themselves. Memory is
one window, or with `streaming=False` all samples; the batches are the same.

Legend: B rows of a batch, T steps of a sample, F features, C, H, W map channels and window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.errors import DatasetError
from townlet_core.replay.legacy.importing import FEATURES, MAP
from townlet_core.replay.legacy.opening import LegacyDataset, Shape
from townlet_core.replay.legacy.summary import actions_of
from townlet_core.replay.legacy.vocabulary import FileActions, Vocabulary, renumbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from townlet_core.arrays import Array

DEFAULT_WINDOW_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept of a sample that can be trained on."""

    index: int
    shape: Shape
    num_steps: int
    actions: FileActions
    sha256: str


class LegacyBatchReader:
    """Batches of the samples that no curator has rejected and that have more than observations.

    Features stand in the order of their sorted names, and actions are places in one vocabulary.

    Args:
        legacy: the samples; each is read once here.
        batch_size: B.
        seed: of the order.
        shuffle: False yields samples as the manifest has them, those of one shape after those of another.
        drop_last: leave out the rows of a shape that do not fill a batch; otherwise its last batch is smaller.
        streaming: read samples when they are needed, instead of keeping all of them.
        window_rows: rows that are shuffled among each other.

    Attributes:
        num_rows: rows of all samples.
        num_batches: batches of an epoch.
        action_names: what the actions mean, by their JSON.
        unlisted: file -> ids that it uses and does not name; each of those is an action of its own.
        feature_names: for each shape, in the order of the batches, the names of its features.

    Raises:
        DatasetError: a file is damaged, nothing can be trained on, or no batch can be filled.
    """

    def __init__(
        self,
        legacy: LegacyDataset,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        streaming: bool = True,
        window_rows: int = DEFAULT_WINDOW_ROWS,
    ) -> None:
        self._legacy, self._seed, self._shuffle, self._drop_last = legacy, seed, shuffle, drop_last
        self.batch_size, self._window_rows = batch_size, window_rows
        vocabulary = Vocabulary()
        self._groups: dict[Shape, list[_Known]] = {}
        for index, entry in enumerate(legacy.manifest.samples):
            sample = legacy.load(index, names=("actions",))
            if sample.is_trainable and entry.accepted is not False:
                known = _Known(index, Shape.of(sample), sample.num_steps, actions_of(sample), sample.sha256)
                vocabulary.add(known.actions, sample.name)
                self._groups.setdefault(known.shape, []).append(known)
        if not self._groups:
            raise DatasetError(
                f"{legacy.path} has no sample that can be trained on: all are rejected, or only observed"
            )
        self.action_names, self.unlisted = vocabulary.names, dict(vocabulary.unlisted)
        self.feature_names = [shape.feature_names for shape in self._groups]
        self._place = {name: place for place, name in enumerate(self.action_names)}
        counts = [sum(known.num_steps for known in group) for group in self._groups.values()]
        self.num_rows = sum(counts)
        self.num_batches = sum(count // batch_size if drop_last else -(-count // batch_size) for count in counts)
        if self.num_batches == 0:
            raise DatasetError(
                f"{legacy.path} has at most {max(counts):,} rows of one shape, fewer than the batch size {batch_size:,}"
            )
        self._kept = None if streaming else [self._read(k) for group in self._groups.values() for k in group]
        self._slots = {known.index: slot for slot, known in enumerate(k for g in self._groups.values() for k in g)}

    def epoch(self, number: int) -> Iterator[dict[str, Array]]:
        """Yield the batches of epoch `number`, a pure function of the samples, the settings, the seed and the number.

        Yields:
            column -> (B, ...): `observation.features`, `observation.map` where there is one, `actions`, `rewards`,
            `terminations`, `log_probs`, `values`.
        """
        for group_number, group in enumerate(self._groups.values()):
            rest: dict[str, Array] = {}
            for window_number, window in enumerate(self._windows(group, number, group_number)):
                rows = _joined([self._rows(known) for known in window])
                if self._shuffle:
                    key = randomness.key(self._seed, "legacy rows", number, group_number, window_number)
                    order = randomness.permutation(key, len(rows["actions"]))[0]
                    rows = {name: column[order] for name, column in rows.items()}
                rows = _joined([rest, rows]) if rest else rows
                full = len(rows["actions"]) // self.batch_size * self.batch_size
                for first in range(0, full, self.batch_size):
                    yield {name: column[first : first + self.batch_size] for name, column in rows.items()}
                rest = {name: column[full:] for name, column in rows.items()}
            if len(rest["actions"]) and not self._drop_last:
                yield rest

    def _windows(self, group: Sequence[_Known], epoch: int, group_number: int) -> Iterator[list[_Known]]:
        order = np.arange(len(group))
        if self._shuffle:
            key = randomness.key(self._seed, "legacy samples", epoch, group_number)
            order = randomness.permutation(key, len(group))[0]
        window: list[_Known] = []
        for place in order.tolist():
            window.append(group[place])
            if sum(known.num_steps for known in window) >= self._window_rows:
                yield window
                window = []
        if window:
            yield window

    def _rows(self, known: _Known) -> dict[str, Array]:
        return self._read(known) if self._kept is None else self._kept[self._slots[known.index]]

    def _read(self, known: _Known) -> dict[str, Array]:
        """Return the columns of a sample, (T, ...); raises `DatasetError`."""
        sample = self._legacy.load(known.index)
        if sample.sha256 != known.sha256:
            raise DatasetError(f"{sample.path} has changed since it was opened: open it again")
        arrays, num_steps = sample.steps, sample.num_steps
        column = {name: place for place, name in enumerate(sample.feature_names)}
        rows = {
            FEATURES: arrays["features"][:, [column[name] for name in known.shape.feature_names]],
            "actions": renumbered(arrays["actions"], known.actions.names, self._place),
            "rewards": arrays["rewards"],
            "terminations": arrays["dones"],
            "log_probs": arrays["old_log_probs"],
            "values": arrays["value_preds"][:num_steps],
        }
        return rows | ({MAP: arrays["map"]} if known.shape.map_shape else {})


def _joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
