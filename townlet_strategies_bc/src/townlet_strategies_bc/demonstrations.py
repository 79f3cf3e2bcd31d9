"""The recorded data of a run: opened or imported, verified, and read a batch at a time.

Legend: E episodes, B rows.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import ConfigError, DatasetError, TownletWarning
from townlet_core.policy.inputs import empty_normalizer
from townlet_core.replay.batches import BatchReader
from townlet_core.services.run_dataset import open_run_dataset, require_columns
from townlet_strategies_bc.batch import ACTION_MASK, ACTIONS, RETURNS
from townlet_strategies_bc.held_out import count_known, split_episodes
from townlet_strategies_bc.returns import MappedReturns, mapped_returns

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_core.policy.inputs import Moments
    from townlet_core.replay.dataset import Dataset
    from townlet_core.runs.layout import RunDirectory
    from townlet_strategies_bc.settings import BCSettings

ROWS_TO_MEASURE = 1024
_ROWS_OF_MOMENTS = 4096


def open_demonstrations(path: Path | None, run: RunDirectory | None) -> Dataset:
    """Return the dataset at `path`; see `open_run_dataset`.

    Raises:
        ConfigError: no path is given.
    """
    if path is None:
        raise ConfigError(
            "strategies.bc.dataset is not set: name the demonstrations with "
            "--set strategies.bc.dataset=DIR ('townlet capture' records some)"
        )
    return open_run_dataset(path, run)


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
        require_columns(dataset, (ACTIONS, ACTION_MASK, "bootstrap_values"))
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
