"""From a native dataset to the earlier format: a sample for each episode, and what was imported whole again.

The earlier format has no truncations, no action masks, and nothing of what was seen after the end: those are left out.

Legend: T steps of a sample, F features, C, H, W map channels and window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import DatasetError
from townlet_core.replay.files import dataset_guard
from townlet_core.replay.legacy.actions import ActionTable
from townlet_core.replay.legacy.importing import FEATURES, MAP, START_STEP
from townlet_core.replay.legacy.opening import DEFAULT_PREFIX
from townlet_core.replay.legacy.origin import Origin, origin_of
from townlet_core.replay.legacy.restoring import Restored, restore
from townlet_core.replay.legacy.sample import RIVALRY, LegacySample
from townlet_core.replay.legacy.writing import LegacyWriter, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.legacy.manifest import Form
    from townlet_core.replay.schema import EpisodeEntry
    from townlet_core.replay.trajectory import Trajectory

_VARIANTS = {0: "compact", 4: "hybrid", 6: "full"}
"""The town's kinds of observation, by the number of channels of their map."""

_COLUMNS = (FEATURES, MAP, "actions", "rewards", "terminations", "log_probs", "values")
_LENGTHS = ("timesteps", "value_pred_steps", "frame_count")
"""Metadata that a piece of a sample does not share with the whole."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """An episode, and the sample that it is a piece of if it was imported."""

    entry: EpisodeEntry
    trajectory: Trajectory
    origin: Origin | None

    def goes_on(self, other: _Piece) -> bool:
        """Whether the other begins in the sample where this one ends, with the same verdict."""
        if self.origin is None or other.origin is None or self.entry.accepted != other.entry.accepted:
            return False
        end = self.origin.offset + self.entry.num_steps
        return (self.origin.sample, self.origin.num_steps, end) == (
            other.origin.sample,
            other.origin.num_steps,
            other.origin.offset,
        )


def export_legacy(
    dataset: Dataset,
    out: Path,
    *,
    form: Form = "list",
    prefix: str = DEFAULT_PREFIX,
    dataset_id: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_verify: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a native dataset in the earlier format, and return the path of its manifest or catalogue.

    Episodes that were imported from the earlier format and stand one after the other become their samples again, equal
    in arrays and metadata to what was imported, less the features that the import has left out.

    Args:
        dataset: what to write. It needs `observation.features` with names, among them `rivalry_max` and
            `rivalry_avoid_count`, Discrete actions, rewards and terminations; log-probabilities and values that it does
            not have are written as 0, as of a script.
        out: the directory: new, or empty.
        form: of the manifest.
        prefix: of the names of files.
        dataset_id: name in a catalogue with checksums; without it, none is written.
        on_progress: called with (episodes written, episodes to write).
        on_verify: called with (bytes verified, bytes in all) before that.

    Raises:
        DatasetError: the dataset is damaged, or has not what the format needs.
        UsageError: `out` is not empty.
        StorageError: the system refused a write.
    """
    exporter = _Exporter(dataset, prefix)
    dataset.require_intact(on_verify)  # what is damaged must not get new digests
    writer = LegacyWriter(out, form=form, prefix=prefix, dataset_id=dataset_id)
    done = 0
    for number, pieces in enumerate(_samples(dataset)):
        with dataset_guard(dataset.path):
            sample, restored = exporter.sample(pieces, number)
            writer.add(sample, entry=restored.entry)
        done += len(pieces)
        if on_progress is not None:
            on_progress(done, dataset.num_episodes)
    return writer.close()


def _samples(dataset: Dataset) -> Iterator[list[_Piece]]:
    """Yield the episodes that become one sample."""
    pieces: list[_Piece] = []
    for entry, trajectory in dataset.trajectories():
        with dataset_guard(dataset.path):
            piece = _Piece(entry, trajectory, origin_of(entry.metadata))
        if pieces and not pieces[-1].goes_on(piece):
            yield pieces
            pieces = []
        pieces.append(piece)
    if pieces:
        yield pieces


class _Exporter:
    """Episodes in, samples out."""

    def __init__(self, dataset: Dataset, prefix: str) -> None:
        self._dataset, self._prefix = dataset, prefix
        manifest = dataset.manifest
        self._names = manifest.feature_names.get(FEATURES, ())
        self._columns = manifest.along("step")
        _require(dataset)
        self._table = ActionTable.of(manifest, dataset.path)
        shape = self._columns[MAP].shape if MAP in self._columns else ()
        self._map_shape = shape if len(shape) == 3 else ()

    def sample(self, pieces: list[_Piece], number: int) -> tuple[LegacySample, Restored]:
        """Return the sample of some episodes, and what is known of the one that they were imported from."""
        first, last = pieces[0], pieces[-1]
        rows = {
            name: np.concatenate([np.asarray(piece.trajectory.steps[name]) for piece in pieces])
            for name in self._columns
            if name in _COLUMNS
        }
        restored = restore(
            first.origin,
            num_steps=len(rows["actions"]),
            feature_names=self._names,
            action_names=self._dataset.manifest.action_names,
            used=np.unique(rows["actions"]).tolist(),
            accepted=first.entry.accepted,
            fallback=f"{self._prefix}_{number:06d}.npz",
        )
        arrays = self._arrays(rows, restored, _bootstrap(last, restored))
        made_up = self._metadata(arrays, first.entry, number, restored)
        if restored.metadata is None:
            metadata = made_up
        else:
            changed = (() if restored.is_whole else _LENGTHS) + (("action_lookup", "action_dim") * (not restored.ids))
            metadata = restored.metadata | {name: made_up[name] for name in changed if name in restored.metadata}
        name = restored.entry.sample
        if not restored.is_whole and (restored.metadata is None or "metrics" in metadata):
            whole = LegacySample(name=name, arrays=arrays, metadata=metadata, path=self._dataset.path)
            metadata = {**metadata, "metrics": measure(whole)}
        arrays |= {flat: arrays[flat][0] for flat in restored.flat}
        return LegacySample(name=name, arrays=arrays, metadata=metadata, path=self._dataset.path), restored

    def _arrays(self, rows: Mapping[str, Array], restored: Restored, bootstrap: float | None) -> dict[str, Array]:
        columns = [self._names.index(name) for name in restored.feature_names]
        if restored.ids:
            places = np.array([restored.ids.get(place, -1) for place in range(max(restored.ids) + 1)], np.int64)
            actions = places[rows["actions"]]
        else:
            actions = self._table.ids(rows["actions"], rows[FEATURES], self._names)
        zeros = np.zeros(len(actions), np.float32)
        values = rows.get("values", zeros)
        return {
            "map": self._map(rows, len(actions), restored),
            "features": rows[FEATURES][:, columns].astype(np.float32, copy=False),
            "actions": actions,
            "old_log_probs": rows.get("log_probs", zeros),
            "value_preds": values if bootstrap is None else np.append(values, np.float32(bootstrap)),
            "rewards": rows["rewards"],
            "dones": rows["terminations"],
        }

    def _map(self, rows: Mapping[str, Array], num_steps: int, restored: Restored) -> Array:
        if self._map_shape:
            return rows[MAP].astype(np.float32, copy=False)
        return np.zeros((num_steps, *(restored.map_shape or (0, 0, 0))), np.float32)

    def _metadata(
        self, arrays: Mapping[str, Array], entry: EpisodeEntry, number: int, restored: Restored
    ) -> dict[str, Any]:
        """Return the metadata of a sample that nobody knows any."""
        sources = self._dataset.manifest.sources
        source = sources[entry.source] if entry.source < len(sources) else None
        num_steps = len(arrays["actions"])
        capture = {
            "scenario_name": source and source.scenario,
            "seed": entry.seed,
            "policy_hash": source and source.policy_digest,
            "config_id": source and source.config_digest,
        }
        metadata = {
            "variant": _VARIANTS.get(self._map_shape[0] if self._map_shape else 0),
            "map_shape": list(arrays["map"].shape[1:]),
            "feature_names": list(restored.feature_names),
            "timesteps": num_steps,
            "value_pred_steps": len(arrays["value_preds"]),
            "action_lookup": self._table.lookup,
            "action_dim": int(arrays["actions"].max()) + 1,
            "agent_id": f"agent_{entry.agent}",
            "frame_count": num_steps,
            "capture_metadata": {name: value for name, value in capture.items() if value not in (None, "")},
            START_STEP: entry.start_step,
            "trajectory_id": f"episode_{number:06d}",
            "tags": list(entry.tags),
            "scenario": source and source.scenario,
        }
        return {name: value for name, value in metadata.items() if value not in (None, "")}


def _bootstrap(last: _Piece, restored: Restored) -> float | None:
    """Return the value after the last step: as it was imported, or 0 after the end; None where nobody knows it."""
    if restored.is_end:
        return restored.bootstrap
    if last.entry.ending == "terminated":
        return 0.0
    known = last.trajectory.final.get("bootstrap_values")
    return None if known is None else float(known)


def _require(dataset: Dataset) -> None:
    """Check that a dataset has what the earlier format needs; raises `DatasetError`."""
    steps, names = dataset.manifest.along("step"), dataset.manifest.feature_names.get(FEATURES, ())
    if not names:
        raise DatasetError(
            f"{dataset.path}: the earlier format has named features, and this dataset has no '{FEATURES}' with names "
            f"(it observes {', '.join(dataset.manifest.observations)}); use another format, such as minari"
        )
    missing = [name for name in RIVALRY if name not in names]
    if missing:
        raise DatasetError(
            f"{dataset.path}: the earlier format needs the town's features {' and '.join(map(repr, missing))}, which "
            "this dataset does not have; use another format, such as minari"
        )
    for name in ("rewards", "terminations"):
        if name not in steps:
            raise DatasetError(f"{dataset.path}: the earlier format needs '{name}', which this dataset does not record")
