"""The recorded data of a run: opened or imported, verified, and read a batch at a time.

Legend: E episodes, B rows.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.checkpoint.atomic import delete_tree
from townlet_core.errors import CheckpointError, ConfigError, DatasetError, TownletWarning, UsageError
from townlet_core.policy.inputs import empty_normalizer
from townlet_core.replay.batches import BatchReader
from townlet_core.replay.check_files import column_problem
from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.replay.legacy import import_legacy, is_legacy
from townlet_strategies_bc.batch import ACTION_MASK, ACTIONS, RETURNS
from townlet_strategies_bc.held_out import count_known, split_episodes
from townlet_strategies_bc.returns import MappedReturns, mapped_returns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_core.policy.inputs import Moments
    from townlet_core.runs.layout import RunDirectory
    from townlet_strategies_bc.settings import BCSettings

DATA_DIR = "data"
DATASET_FILE = "dataset.sha256"
"""File of a checkpoint: the digest of the dataset that the run learns from."""
ROWS_TO_MEASURE = 1024
_ROWS_OF_MOMENTS = 4096


def open_demonstrations(path: Path | None, run: RunDirectory | None) -> Dataset:
    """Return the dataset at `path`, every byte of it verified; the earlier format is imported into the run first.

    Raises:
        ConfigError: no path is given.
        MissingInputError: there is nothing there.
        DatasetError: it is damaged.
        UsageError: files of the earlier format need a run directory.
    """
    if path is None:
        raise ConfigError(
            "strategies.bc.dataset is not set: name the demonstrations with "
            "--set strategies.bc.dataset=DIR ('townlet capture' records some)"
        )
    dataset = Dataset(path) if is_dataset(path) or not is_legacy(path) else _imported(path, run)
    if not dataset.manifest.complete:
        warnings.warn(
            f"{path} is not complete: its writer was stopped, and what it had finished is used",
            TownletWarning,
            stacklevel=2,
        )
    dataset.require_intact()
    return dataset


def _imported(path: Path, run: RunDirectory | None) -> Dataset:
    if run is None:
        raise UsageError(f"{path} is of the earlier format, and a run that keeps nothing has no place to import it to")
    target = run.path / DATA_DIR
    if is_dataset(target) and (dataset := Dataset(target)).manifest.complete:
        return dataset  # imported when the run began
    if target.exists():
        delete_tree(target, filesystem=run.filesystem)
    return import_legacy(path, target)


def require_same_dataset(dataset: Dataset, files: Mapping[str, bytes], *, where: str) -> None:
    """Check that a run goes on with the dataset that it began with: another one has another split.

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


class Demonstrations:
    """Which rows are trained on and which are measured on, and what is read of them.

    Attributes:
        dataset: the recorded data.
        split: which episodes are on which side.
        train: reader of the training rows, shuffled.
        held_out: reader of the held-out rows, in their order; None where there are none.
        num_held_out_rows: rows measured on.
    """

    def __init__(
        self, dataset: Dataset, head: ActionHead, settings: BCSettings, *, seed: int, directory: Path | None
    ) -> None:
        """Split the dataset by `seed`; `directory` is where a temporary file of returns is made, if one is.

        Raises:
            DatasetError: a column is not what it has to be, a side of the split is missing, or rows are too few.
        """
        _require_columns(dataset, (ACTIONS, ACTION_MASK, "bootstrap_values"))
        self.dataset = dataset
        self.split = split_episodes(dataset, fraction=settings.held_out_fraction, seed=seed)
        if known := count_known(dataset, self.split):
            warnings.warn(
                f"{dataset.path}: {known:,} of {np.count_nonzero(self.split.held_out):,} held-out episodes are equal "
                "to ones that are trained on, so what is measured is too good: 'townlet replay curate "
                f"{dataset.path} NEW --dedupe' leaves one of each",
                TownletWarning,
                stacklevel=2,
            )
        columns = [*dataset.manifest.observation_spaces, ACTIONS]
        if ACTION_MASK in dataset.manifest.along("step") and head.counts:
            columns.append(ACTION_MASK)
        self._columns = columns
        self._window_bytes = settings.window_bytes
        self._extra: dict[str, MappedReturns] = {}
        if settings.value_coef > 0:
            self._extra[RETURNS] = mapped_returns(dataset, gamma=settings.gamma, directory=directory)
        num_train = int(dataset.episodes.num_steps[self.split.train].sum())
        self.num_held_out_rows = int(dataset.episodes.num_steps[self.split.held_out].sum())
        if num_train < settings.batch_size:
            raise DatasetError(
                f"{dataset.path} has {num_train:,} rows to train on, fewer than a batch: record more, or set "
                f"strategies.bc.batch_size to {max(1, num_train)} or less"
            )
        self.train = self._reader(self.split.train, batch_size=settings.batch_size, seed=seed)
        self.held_out = None
        if self.num_held_out_rows:
            self.held_out = self._reader(self.split.held_out, batch_size=ROWS_TO_MEASURE, seed=None)

    def _reader(self, episodes: Array, *, batch_size: int, seed: int | None) -> BatchReader:
        return BatchReader(
            self.dataset,
            columns=self._columns,
            batch_size=batch_size,
            episodes=episodes,
            seed=0 if seed is None else seed,
            shuffle=seed is not None,
            drop_last=seed is not None,
            window_bytes=self._window_bytes,
            extra=self._extra,
        )

    def moments(self) -> dict[str, Moments]:
        """Return the moments of the training rows' observations that can be normalised, read once."""
        normalizer = empty_normalizer(self.dataset.manifest.observation_spaces)
        if not normalizer:
            return {}
        reader = BatchReader(
            self.dataset,
            columns=list(normalizer),
            batch_size=_ROWS_OF_MOMENTS,
            episodes=self.split.train,
            shuffle=False,
            drop_last=False,
            window_bytes=self._window_bytes,
        )
        for rows in reader.epoch(0):
            normalizer = {name: moments.merged(rows[name]) for name, moments in normalizer.items()}
        return normalizer

    def environment_name(self) -> str:
        """Return the environment that was recorded; empty where there are several, or nobody knows."""
        names = {source.environment for source in self.dataset.manifest.sources}
        return names.pop() if len(names) == 1 else ""


def _require_columns(dataset: Dataset, names: Collection[str]) -> None:
    """Check the types and shapes of columns that a manifest may have as it likes, so that it can be looked into."""
    for column in dataset.manifest.columns:
        if column.name in names and (problem := column_problem(column, dataset.manifest)):
            raise DatasetError(
                f"{dataset.path}: column '{column.name}' is {column.dtype} of shape {column.shape}, {problem}: "
                "write it anew"
            )
