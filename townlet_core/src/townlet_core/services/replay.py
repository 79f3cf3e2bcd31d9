"""`ReplayDatasetService`: recorded experience of any format, found, read in batches, and summarised.

Legend: B rows of a batch, R steps of an episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.replay import BatchSummary, LegacySummary, ResolvedDataset, SampleSummary
from townlet_core.errors import DatasetError, UsageError
from townlet_core.replay.batches import DEFAULT_WINDOW_BYTES, BatchReader
from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.replay.legacy.batches import LegacyBatchReader
from townlet_core.replay.legacy.metrics import sample_metrics
from townlet_core.replay.legacy.opening import open_legacy
from townlet_core.replay.legacy.sample import LegacySample
from townlet_core.replay.legacy.summary import actions_of, form_of, summarise_legacy
from townlet_core.replay.moments import RunningSpread, histogram
from townlet_core.replay.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.dto.dataset_summary import DatasetSummary
    from townlet_core.replay.trajectory import Trajectory


class ReplayBatches:
    """Batches of a dataset, an epoch at a time; iterating over it yields epoch 0.

    Args:
        reader: what reads them.
        action_names: what the numbers of an action mean; empty if nobody knows.
    """

    def __init__(self, reader: BatchReader | LegacyBatchReader, action_names: Sequence[str]) -> None:
        self._reader = reader
        self.action_names = tuple(action_names)
        self.batch_size, self.num_rows, self.num_batches = reader.batch_size, reader.num_rows, reader.num_batches

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self.num_batches

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the batches of epoch 0."""
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[dict[str, Array]]:
        """Yield the batches of epoch `number`: column -> (B, ...), arrays of their own."""
        for batch in self._reader.epoch(number):
            yield {name: np.array(column) for name, column in batch.items()}


class ReplayDatasetService:
    """What strategies and users do with recorded experience; holds no state."""

    def resolve_manifest(self, path: Path, *, dataset: str | None = None) -> ResolvedDataset:
        """Say what lies at `path`, and make sure that every file that it names is there and of the right size.

        Contents are looked at when they are read; `townlet replay validate` compares all of them with their digests.

        Args:
            path: the directory of a dataset; or of the earlier format a manifest, a capture directory, a catalogue or
                a sample.
            dataset: name of the data set in a catalogue.

        Raises:
            MissingInputError: there is nothing at `path`.
            DatasetError: a file is missing or damaged; the text names it.
            UsageError: a catalogue has several data sets, and none was named.
        """
        if not is_dataset(path):
            legacy = open_legacy(path, dataset=dataset)
            return ResolvedDataset.model_validate(
                {
                    "path": str(path),
                    "format": "legacy",
                    "form": form_of(legacy),
                    "samples": len(legacy),
                    "accepted": sum(entry.accepted is not False for entry in legacy.manifest.samples),
                    "notes": legacy.notes,
                }
            )
        _refuse_name(path, dataset)
        native = Dataset(path)
        for shard in native.shards:
            for column in native.manifest.columns:
                shard.column(column.name)
            shard.unmap()
        return ResolvedDataset(
            path=str(path),
            format="native",
            form="dataset",
            digest=native.digest,
            samples=native.num_episodes,
            accepted=int(native.episodes.accepted.sum()),
            notes=() if native.manifest.complete else ("the dataset was not completed",),
        )

    def build_dataset(
        self,
        path: Path,
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        streaming: bool = True,
        dataset: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> ReplayBatches:
        """Return the batches of what lies at `path`; episodes that a curator has rejected are left out.

        Samples of the earlier format that differ in shape are never in one batch.

        Args:
            path: as for `resolve_manifest`, like `dataset`.
            batch_size: B.
            shuffle: whether rows come in a random order, another one in each epoch.
            seed: of that order.
            drop_last: leave out the rows that do not fill a batch; otherwise the last batch is smaller.
            streaming: read what is needed when it is needed; otherwise everything is kept in memory, and a native
                dataset is shuffled as a whole.
            dataset: name of the data set in a catalogue.
            columns: step columns of a native dataset that are wanted; None for all.

        Raises:
            MissingInputError: there is nothing at `path`.
            DatasetError: a file is damaged, a column is not there, or no batch can be filled.
            UsageError: a batch size below 1, or a name that does not belong here.
        """
        if batch_size < 1:
            raise UsageError(f"a batch needs at least one row, not {batch_size}")
        options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        if not is_dataset(path):
            if columns is not None:
                raise UsageError(f"columns are chosen of native datasets, and {path} is of the earlier format")
            legacy = LegacyBatchReader(open_legacy(path, dataset=dataset), streaming=streaming, **options)
            return ReplayBatches(legacy, legacy.action_names)
        _refuse_name(path, dataset)
        native = Dataset(path)
        accepted = native.episodes.accepted
        if not accepted.any():
            raise DatasetError(f"{path} has no episode that can be trained on: a curator has rejected all of them")
        reader = BatchReader(
            native,
            columns=tuple(native.manifest.along("step")) if columns is None else columns,
            episodes=accepted,
            window_bytes=DEFAULT_WINDOW_BYTES if streaming else max(DEFAULT_WINDOW_BYTES, native.num_bytes),
            **options,
        )
        return ReplayBatches(reader, native.manifest.action_names)

    def summarize_sample(self, sample: Trajectory | LegacySample) -> SampleSummary:
        """Return what is in one episode, or in one sample of the earlier format; raises `DatasetError`."""
        if not isinstance(sample, LegacySample):
            return SampleSummary(
                agent_steps=sample.num_steps,
                shapes={name: column.shape for name, column in sample.steps.items()},
                metrics=_episode_metrics(sample),
            )
        metrics = {}
        if sample.is_trainable:
            metrics = sample_metrics(sample.steps, sample.feature_names, actions_of(sample).names)
        return SampleSummary(
            name=sample.name,
            agent_steps=sample.num_steps,
            trainable=sample.is_trainable,
            shapes=dict(sample.shapes),
            metrics=metrics,
        )

    def summarize_batch(self, batch: Mapping[str, Array]) -> BatchSummary:
        """Return what is in a batch, column -> (B, ...)."""
        columns = {}
        for name, column in batch.items():
            running = RunningSpread(1)
            running.add(column.reshape(-1, 1))
            columns[name] = {**running.fields(0), "histogram": histogram(column.astype(np.float64).ravel())}
        actions = batch.get("actions")
        return BatchSummary.model_validate(
            {
                "rows": len(next(iter(batch.values()), ())),
                "columns": columns,
                "action_entropy": None if actions is None or actions.dtype.kind not in "iu" else _entropy(actions),
            }
        )

    def summarize_dataset(
        self, path: Path, *, dataset: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> DatasetSummary | LegacySummary:
        """Return what lies at `path`; arguments and errors as in `resolve_manifest`.

        Args:
            path: the dataset.
            dataset: name of the data set in a catalogue.
            on_progress: called with (agent-steps or files read, those in all).
        """
        if is_dataset(path):
            _refuse_name(path, dataset)
            return summarise(Dataset(path), on_progress=on_progress)
        return summarise_legacy(open_legacy(path, dataset=dataset), on_progress=on_progress)


def _refuse_name(path: Path, dataset: str | None) -> None:
    if dataset is not None:
        raise UsageError(f"{path} is a dataset and no catalogue: there is no '{dataset}' in it")


def _episode_metrics(trajectory: Trajectory) -> dict[str, float]:
    """Return the metrics of an episode that it can have, by the names of the earlier format."""
    steps = trajectory.steps
    metrics: dict[str, float] = {"timesteps": trajectory.num_steps}
    if "rewards" in steps:
        total = trajectory.episode_return
        metrics |= {"reward_sum": total, "reward_mean": total / trajectory.num_steps}
    if "log_probs" in steps:
        metrics["log_prob_mean"] = float(steps["log_probs"].mean(dtype=np.float64))
    if "bootstrap_values" in trajectory.final:
        metrics["value_pred_last"] = float(trajectory.final["bootstrap_values"])
    elif "values" in steps:
        metrics["value_pred_last"] = float(steps["values"][-1])
    if steps["actions"].dtype.kind in "iu":
        metrics["action_nonzero"] = len(np.unique(steps["actions"], axis=0))
        metrics["action_total"] = trajectory.num_steps
        metrics["action_entropy"] = _entropy(steps["actions"])
    return metrics


def _entropy(actions: Array) -> float:
    """Return the entropy of actions (R,) or (R, parts), each row as one choice [nats]."""
    if not len(actions):
        return 0.0
    shares = np.unique(actions, axis=0, return_counts=True)[1] / len(actions)
    return float(max(0.0, -(shares * np.log(shares)).sum()))
