"""`summarise`: what is in a native dataset, in one pass over its columns, one at a time.

Legend: R rows of a shard, F features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.dataset_summary import ColumnSpread, DatasetSummary, EventCount, Spread
from townlet_core.errors import DatasetError
from townlet_core.replay.action_counts import ActionCounts
from townlet_core.replay.episode_counts import EpisodeCounts
from townlet_core.replay.moments import RunningSpread, histogram, sampled_rows, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.shard import Shard

_MAX_FEATURES = 1024
_STRIDE = 7919  # a prime: one entry of a map in each row of the sample, and in the end all of them
_NUMBERS = ("rewards", "log_probs", "values")


def summarise(dataset: Dataset, *, on_progress: Callable[[int, int], None] | None = None) -> DatasetSummary:
    """Return what is in `dataset`; memory does not grow with its rows.

    Args:
        dataset: what is looked at; contents are not compared with their digests.
        on_progress: called with (rows done, rows in all).

    Raises:
        DatasetError: a file is not what the manifest says.
    """
    manifest = dataset.manifest
    episodes, columns = EpisodeCounts(), _Columns(dataset)
    events = _Events(len(manifest.event_kinds))
    for shard in dataset.shards:
        episodes.add(shard.entries())
        columns.add(shard)
        events.add(shard)
        shard.unmap()
        if on_progress is not None:
            on_progress(shard.first_row + shard.entry.num_rows, dataset.num_rows)
    return DatasetSummary(
        path=str(dataset.path),
        digest=dataset.digest,
        dataset_schema=manifest.schema_version,
        complete=manifest.complete,
        agent_steps=dataset.num_rows,
        observations={name: tuple(space.shape or ()) for name, space in manifest.observation_spaces.items()},
        bytes=dataset.num_bytes,
        shards=len(dataset.shards),
        events=events.by_name(manifest.event_kinds),
        **episodes.fields(manifest),
        **columns.fields(),
    )


class _Columns:
    """What passes by of the step columns.

    Args:
        dataset: what they are of.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._manifest = dataset.manifest
        self._steps = dataset.manifest.along("step")
        self._sample = sampled_rows(dataset.num_rows)
        self._actions = ActionCounts(self._manifest.action_space)
        actions = self._steps["actions"]
        if self._actions.num_choices and actions.kind.kind not in "iu":
            raise DatasetError(f"{dataset.path}: column 'actions' is {actions.dtype}, and choices are whole numbers")
        mask = self._steps.get("action_mask")
        self._has_masks = mask is not None and mask.shape == (self._actions.num_choices,)
        self._zero_log_probs = 0
        self._watched = [name for name in (*self._manifest.observations, *_NUMBERS) if name in self._steps]
        if not self._actions.num_choices:
            self._watched.append("actions")
        self._running = {name: RunningSpread(self._width(name)) for name in self._watched}
        self._kept: dict[str, list[Array]] = {name: [] for name in self._watched}

    def _is_vector(self, name: str) -> bool:
        """Return whether each entry is worth a line, unlike those of a map."""
        shape = self._steps[name].shape
        return len(shape) == 1 and shape[0] <= _MAX_FEATURES

    def _width(self, name: str) -> int:
        """Return F: the entries of a vector, or 1 for all of a map together."""
        return self._steps[name].shape[0] if self._is_vector(name) else 1

    def add(self, shard: Shard) -> None:
        """Take in a shard's rows."""
        first, last = np.searchsorted(self._sample, [shard.first_row, shard.first_row + shard.entry.num_rows])
        sample = self._sample[first:last]
        for name in self._watched:
            rows = shard.column(name)
            if rows.size:
                self._running[name].add(rows.reshape(-1, self._width(name)))
            self._kept[name].append(self._sampled(name, shard, sample))
            if name == "log_probs":
                self._zero_log_probs += len(rows) - int(np.count_nonzero(rows))
            shard.forget(name)
        if self._actions.num_choices:
            self._actions.add(shard.column("actions"))
            if self._steps.keys() & {"action_mask"} and self._steps["action_mask"].shape == (
                self._actions.num_choices,
            ):
                self._actions.add_masks(shard.column("action_mask"))

    def _sampled(self, name: str, shard: Shard, sample: Array) -> Array:
        """Return the rows of a sample as (rows, F); of a map, one entry of each, another one in every row."""
        rows, wanted = shard.column(name), sample - shard.first_row
        if self._is_vector(name):
            return np.asarray(rows[wanted])
        flat = rows.reshape(len(rows), -1)
        entries = (sample * _STRIDE) % max(1, flat.shape[1])
        return flat[wanted, entries].reshape(-1, 1) if flat.size else flat[:0, :1]

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `DatasetSummary` that follow."""
        actions = self._actions
        return {
            **{name: self._one(name) for name in _NUMBERS},
            "features": self._lines([name for name in self._watched if name in self._manifest.observations]),
            "actions": actions.shares(self._manifest),
            "impossible_actions": actions.impossible,
            "action_entropy": actions.entropy(),
            "action_values": self._lines([name for name in self._watched if name == "actions"]),
            "allowed_actions": int(actions.allowed.sum()) / actions.num_masks if actions.num_masks else None,
            "scripted_share": self._scripted_share(),
            "sampled_rows": len(self._sample),
        }

    def _scripted_share(self) -> float | None:
        running = self._running.get("log_probs")
        return None if running is None else self._zero_log_probs / int((running.count + running.non_finite)[0])

    def _one(self, name: str) -> Spread:
        if name not in self._running:
            return Spread(count=0)
        return spread(self._running[name], np.concatenate(self._kept[name])[:, 0])

    def _lines(self, names: list[str]) -> tuple[ColumnSpread, ...]:
        return tuple(line for name in names for line in self._entries(name, np.concatenate(self._kept[name])))

    def _entries(self, name: str, sample: Array) -> Iterator[ColumnSpread]:
        is_vector = self._is_vector(name)
        called = self._manifest.feature_names.get(name) if is_vector else (name,)
        for index in range(self._width(name)):
            yield ColumnSpread(
                column=name,
                index=index if is_vector else None,
                name=called[index] if called else f"{name}[{index}]",
                **self._running[name].fields(index),
                histogram=histogram(sample[:, index]),
            )


class _Events:
    def __init__(self, num_kinds: int) -> None:
        self._counts, self._values = np.zeros(num_kinds, np.int64), np.zeros(num_kinds)

    def add(self, shard: Shard) -> None:
        if not len(self._counts) or not shard.entry.num_events:
            return
        recorded = shard.column("event.kind")
        known = (recorded >= 0) & (recorded < len(self._counts))
        kinds, values = recorded[known].astype(np.int64), shard.column("event.value")[known].astype(np.float64)
        self._counts += np.bincount(kinds, minlength=len(self._counts))
        self._values += np.bincount(kinds, np.where(np.isfinite(values), values, 0.0), len(self._counts))

    def by_name(self, kinds: tuple[str, ...]) -> dict[str, EventCount]:
        return {
            kind: EventCount(count=int(count), value=float(value))
            for kind, count, value in zip(kinds, self._counts, self._values, strict=True)
        }
