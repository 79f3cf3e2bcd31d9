"""The dataset that a run learns from: opened or imported, verified, and the same one when the run goes on.

Legend: B rows, K outputs of the actor (for several choices the sum of their counts).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.checkpoint.atomic import delete_tree
from townlet_core.errors import CheckpointError, DatasetError, TownletWarning, UsageError
from townlet_core.replay.check_files import column_problem
from townlet_core.replay.check_values import Limits, describe_wrong, wrong_rows
from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.replay.legacy import import_legacy, is_legacy
from townlet_core.replay.schema import FINAL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_core.replay.shard import Shard
    from townlet_core.runs.layout import RunDirectory

DATA_DIR = "data"
DATASET_FILE = "dataset.sha256"
"""File of a checkpoint: the digest of the dataset that the run learns from."""


def open_run_dataset(path: Path, run: RunDirectory | None) -> Dataset:
    """Return the dataset at `path`, every byte of it verified; the earlier format is imported into the run first.

    Raises:
        MissingInputError: there is nothing there.
        DatasetError: it is damaged, or what was seen is of a category that does not exist.
        UsageError: files of the earlier format need a run directory.
    """
    dataset = Dataset(path) if is_dataset(path) or not is_legacy(path) else _imported(path, run)
    if not dataset.manifest.complete:
        warnings.warn(
            f"{path} is not complete: its writer was stopped, and what it had finished is used",
            TownletWarning,
            stacklevel=2,
        )
    dataset.require_intact()
    _require_categories(dataset)
    return dataset


def _require_categories(dataset: Dataset) -> None:
    """Check that observed categories exist, in the episodes that are accepted: others would be fed as nothing at all.

    Raises:
        DatasetError: one does not.
    """
    limits = {name: Limits.of(space) for name, space in dataset.manifest.observation_spaces.items()}
    categories = {name: limit for name, limit in limits.items() if limit.is_category}
    episodes, along_episode = dataset.episodes, dataset.manifest.along("episode")
    for number, shard in enumerate(dataset.shards if categories else ()):
        here = np.flatnonzero(episodes.shard == number)
        of_row = np.repeat(here, episodes.num_steps[here])
        for name, limit in categories.items():
            for column, of in ((name, of_row), (FINAL_PREFIX + name, here)):
                if of is of_row or column in along_episode:
                    places = wrong_rows(shard.column(column), limit)[1]
                    places = places[episodes.accepted[of[places]]]
                    if len(places):
                        raise DatasetError(_wrong_category(dataset, shard, column, limit, int(places[0]), of))
                    shard.forget(column)
        shard.unmap()


def _wrong_category(dataset: Dataset, shard: Shard, column: str, limit: Limits, place: int, of: Array) -> str:
    """Return what is wrong with a row of a column, or with the entry of an episode."""
    row = f"row {place} of {shard.entry.name}, in episode {int(of[place])}"
    return (
        f"{dataset.path}: column '{column}', {row}: {describe_wrong(shard.column(column)[place], limit)}; "
        f"'townlet replay validate {dataset.path}' names all, 'townlet replay curate' drops their episodes"
    )


def _imported(path: Path, run: RunDirectory | None) -> Dataset:
    if run is None:
        raise UsageError(f"{path} is of the earlier format, and a run that keeps nothing has no place to import it to")
    target = run.path / DATA_DIR
    if is_dataset(target) and (dataset := Dataset(target)).manifest.complete:
        return dataset  # imported when the run began
    if target.exists():
        delete_tree(target, filesystem=run.filesystem)
    return import_legacy(path, target)


def dataset_files(dataset: Dataset) -> dict[str, bytes]:
    """Return the file of a checkpoint that says which dataset a run learns from."""
    return {DATASET_FILE: f"{dataset.digest}\n".encode()}


def require_same_dataset(dataset: Dataset, files: Mapping[str, bytes], *, where: str) -> None:
    """Check that a run goes on with the dataset that it began with: another one has other rows in another order.

    Args:
        dataset: what is there now.
        files: those of the checkpoint.
        where: the checkpoint's name.

    Raises:
        CheckpointError: the checkpoint is of another dataset, or does not say of which.
    """
    recorded = files.get(DATASET_FILE, b"").decode(errors="replace").strip()
    if not recorded:
        raise CheckpointError(f"{where} does not belong to this run: it has no {DATASET_FILE}")
    if recorded != dataset.digest:
        raise CheckpointError(
            f"{dataset.path} has changed since this run began (sha256 {dataset.digest[:12]} now, {recorded[:12]} in "
            f"{where}): give it its former contents, or begin a new run without --resume"
        )


def require_columns(dataset: Dataset, names: Collection[str]) -> None:
    """Check the types and shapes of columns that a manifest may have as it likes, so that it can be looked into.

    Raises:
        DatasetError: one of `names` is there, and is not what it has to be.
    """
    for column in dataset.manifest.columns:
        if column.name in names and (problem := column_problem(column, dataset.manifest)):
            raise DatasetError(
                f"{dataset.path}: column '{column.name}' is {column.dtype} of shape {column.shape}, {problem}: "
                "write it anew"
            )


def action_places(dataset: Dataset, head: ActionHead, actions: Array) -> Array:
    """Return where recorded choices stand among the outputs of the actor, (B, parts) int64.

    Args:
        dataset: where they are from.
        head: what is chosen from.
        actions: (B,) or (B, parts) integers.

    Raises:
        DatasetError: an action does not exist.
    """
    columns = actions.reshape(len(actions), -1).astype(np.int64, copy=False)
    limits = np.array(head.counts)
    outside = (columns < 0) | (columns >= limits)
    if outside.any():
        row, part = (int(index) for index in np.argwhere(outside)[0])
        raise DatasetError(
            f"{dataset.path}: action {columns[row, part]} does not exist, there are {limits[part]} from 0 on; "
            "'townlet replay validate' says where"
        )
    return np.asarray(columns + (np.cumsum(limits) - limits))


def require_legal(dataset: Dataset, places: Array, action_mask: Array) -> None:
    """Check that recorded choices are allowed by the masks (B, K) recorded with them; `places` as of `action_places`.

    Raises:
        DatasetError: one is forbidden.
    """
    legal = np.asarray(np.take_along_axis(action_mask, places, axis=1).all(axis=1))
    if not legal.all():
        raise DatasetError(
            f"{dataset.path}: {np.count_nonzero(~legal):,} of {len(legal):,} rows take an action that their own "
            f"action mask forbids; 'townlet replay validate' names them, 'townlet replay curate' drops their episodes"
        )


def environment_name(dataset: Dataset) -> str:
    """Return the environment that was recorded; empty where there are several, or nobody knows."""
    names = {source.environment for source in dataset.manifest.sources}
    return names.pop() if len(names) == 1 else ""
