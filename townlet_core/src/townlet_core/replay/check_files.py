"""Checks of files: all there, nothing more, every byte as promised, and columns as their meaning requires."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.checkpoint.manifest import MANIFEST_NAME
from townlet_core.errors import DatasetError
from townlet_core.replay.column_file import verify_file
from townlet_core.replay.schema import DATASET_NAME, EPISODES_NAME, FINAL_PREFIX
from townlet_core.replay.shard_view import ShardView
from townlet_core.spaces import action_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.finding_log import FindingLog
    from townlet_core.replay.schema import ColumnSpec, DatasetManifest
    from townlet_core.replay.shard import Shard

_FLAGS = ("terminations", "truncations")
_FLOATS = ("rewards", "log_probs", "values", "bootstrap_values")


def check_columns(manifest: DatasetManifest, log: FindingLog) -> set[str]:
    """Check types, shapes and axes of the columns, and return the names of those that are right."""
    right = set()
    for column in manifest.columns:
        problem = column_problem(column, manifest)
        if problem:
            log.add("D010", f"it is {column.dtype} of shape {column.shape}, {problem}", column=column.name)
        else:
            right.add(column.name)
    for code, names in (("D012", ("rewards", *_FLAGS)), ("D204", ("log_probs", "values"))):
        for name in names:
            if name not in manifest.along("step"):
                log.add(code, f"there is no '{name}'", column=name)
    return right


def column_problem(column: ColumnSpec, manifest: DatasetManifest) -> str:
    """Return what a column has to be where it is something else; what is not known may be anything."""
    name = column.name
    kinds, axis = "", "step"
    shape: tuple[int, ...] = ()
    if name in manifest.observation_spaces or column.axis == "event":
        return ""  # looked at when the manifest was read
    if name.removeprefix(FINAL_PREFIX) in manifest.observation_spaces:
        space = manifest.observation_spaces[name.removeprefix(FINAL_PREFIX)]
        kinds, shape, axis = np.dtype(space.dtype).kind, tuple(space.shape or ()), "episode"
    elif name == "actions":
        kinds, shape = "f" if isinstance(manifest.action_space, spaces.Box) else "iu", column.shape
    elif name == "action_mask":
        kinds, shape = "b", (action_count(manifest.action_space),)
    elif name in _FLAGS:
        kinds = "b"
    elif name in _FLOATS:
        kinds, axis = "f", "episode" if name == "bootstrap_values" else "step"
    if not kinds or (column.kind.kind in kinds and (column.shape, column.axis) == (shape, axis)):
        return ""
    words = {"f": "floats", "b": "booleans"}.get(kinds, "integers")
    return f"and has to be {words} of shape {shape}, one for each {axis}"


def check_directory(dataset: Dataset, log: FindingLog) -> None:
    """Look for what lies in the dataset's directory and belongs to nothing."""
    known = {DATASET_NAME, *(shard.entry.name for shard in dataset.shards)}
    for name in sorted(set(_names(dataset.path)) - known):
        log.add("D004", file=name)


def _names(path: os.PathLike[str]) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208  (names, not paths)
    except OSError:
        return []


def check_shard(
    dataset: Dataset,
    shard: Shard,
    log: FindingLog,
    *,
    first_episode: int,
    fitting: set[str],
    on_bytes: Callable[[int], None],
) -> ShardView | None:
    """Check the files of a shard.

    Args:
        dataset: the dataset.
        shard: one of its shards.
        log: where findings go.
        first_episode: number of the shard's first episode.
        fitting: names of the columns that `check_columns` returned.
        on_bytes: called with the bytes looked at since the last call.

    Returns:
        What of it can be read; None where its episodes cannot.
    """
    name = shard.entry.name
    try:
        files = shard.files.files
    except DatasetError as error:
        code = "D005" if (shard.path / MANIFEST_NAME).exists() else "D002"
        log.add(code, str(error), file=f"{name}/{MANIFEST_NAME}")
        return None
    for extra in sorted(set(_names(shard.path)) - {MANIFEST_NAME, *(entry.name for entry in files)}):
        log.add("D004", file=f"{name}/{extra}")
    intact = set()
    for entry in files:
        try:
            verify_file(shard.path / entry.name, entry.bytes, entry.sha256, on_bytes)
            intact.add(entry.name)
        except DatasetError as error:
            code = "D003" if os.path.lexists(shard.path / entry.name) else "D002"
            log.add(code, str(error), file=f"{name}/{entry.name}")
    readable = {
        column.name
        for column in dataset.manifest.columns
        if column.file in intact and column.name in fitting and _is_readable(shard, column, log)
    }
    if EPISODES_NAME not in intact:
        return None
    try:
        entries = shard.entries()
    except DatasetError as error:
        log.add("D007", str(error), file=f"{name}/{EPISODES_NAME}")
        return None
    return ShardView(shard, dataset.manifest, entries, first_episode=first_episode, readable=readable)


def _is_readable(shard: Shard, column: ColumnSpec, log: FindingLog) -> bool:
    try:
        shard.column(column.name)
    except DatasetError as error:
        log.add("D006", str(error), file=f"{shard.entry.name}/{column.file}", column=column.name)
        return False
    return True
