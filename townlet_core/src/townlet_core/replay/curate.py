"""`curate`: a new dataset of the episodes of others that pass some rules; the others are only read.

Legend: V events.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.checkpoint.filesystem import DISK, FileSystem
from townlet_core.errors import UsageError
from townlet_core.replay.columns import EVENT_COLUMNS
from townlet_core.replay.curation_plan import CurationPlan
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.schema import Parent, Source
from townlet_core.replay.writer import DEFAULT_SHARD_BYTES, DatasetWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.dto.curation import CurationReport
    from townlet_core.replay.curation_plan import Curation
    from townlet_core.replay.shard import Shard
    from townlet_core.replay.trajectory import Trajectory


def curate(
    datasets: Sequence[Dataset],
    out: Path,
    *,
    curation: Curation,
    dry_run: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
    on_verify: Callable[[int, int], None] | None = None,
    filesystem: FileSystem = DISK,
) -> CurationReport:
    """Write a dataset of what passes, and return what was left out by which rule.

    Group numbers stay what they were; of several datasets those of the second begin after the first one's, and so on.

    Args:
        datasets: where episodes come from; their spaces, names and columns are equal.
        out: where the new one goes: a new or empty directory.
        curation: what is made.
        dry_run: write nothing.
        shard_bytes: of the new dataset.
        on_progress: called with (rows written, rows in all).
        on_verify: called with (bytes verified, bytes in all) of each dataset before that.
        filesystem: the calls to make.

    Raises:
        UsageError: nothing would be left, the datasets do not fit together or are the same, or `out` is taken.
        DatasetError: a file is damaged.
        StorageError: the system refused.
    """
    for dataset in datasets:
        if out.resolve().is_relative_to(dataset.path.resolve()):
            raise UsageError(f"{out} lies in the dataset {dataset.path}: choose another directory")
        _require_equal(datasets[0], dataset)
    if not curation.rules.dedupe:
        _require_different(datasets)
    plan = CurationPlan(datasets, curation)
    digest = None
    if not dry_run:
        for dataset in datasets:
            dataset.require_intact(on_verify)  # what is damaged must not get new digests
        _write(plan, out, on_progress, shard_bytes=shard_bytes, filesystem=filesystem)
        digest = Dataset(out).digest
    return plan.report(out, digest)


def _require_different(datasets: Sequence[Dataset]) -> None:
    """Check that no dataset is given twice; raises `UsageError`."""
    paths: dict[str, Path] = {}
    for dataset in datasets:
        if dataset.digest in paths:
            raise UsageError(
                f"{paths[dataset.digest]} and {dataset.path} are the same dataset, and its episodes would count twice: "
                "name it once, or leave equal episodes out with --dedupe"
            )
        paths[dataset.digest] = dataset.path


def _require_equal(first: Dataset, other: Dataset) -> None:
    for field, what in (
        ("observations", "other observations"),
        ("action", "another action space"),
        ("action_names", "other action names"),
        ("feature_names", "other feature names"),
        ("event_kinds", "other kinds of events"),
        ("columns", "other columns"),
    ):
        if getattr(first.manifest, field) != getattr(other.manifest, field):
            raise UsageError(f"{other.path} has {what} than {first.path}: they cannot become one dataset")


def _write(plan: CurationPlan, out: Path, on_progress: Callable[[int, int], None] | None, **options: Any) -> None:
    manifest = plan.datasets[0].manifest
    done = plan.curation.options()
    total = plan.num_rows
    with DatasetWriter(
        out,
        observation_spaces=manifest.observation_spaces,
        action_space=manifest.action_space,
        action_names=manifest.action_names,
        feature_names=manifest.feature_names,
        event_kinds=manifest.event_kinds,
        parents=[
            Parent(path=str(dataset.path), digest=dataset.digest, operation="curate", options=done)
            for dataset in plan.datasets
        ],
        **options,
    ) as writer:
        last: Trajectory | None = None
        for item in _kept(plan, writer):
            if isinstance(item, dict):
                writer.add_events(item)
                continue
            # One episode is held back, because events are written with the next shard, and some come after it.
            if last is not None:
                writer.add(last)
                if on_progress is not None:
                    on_progress(writer.num_rows, total)
            last = item
        assert last is not None  # the plan refuses to keep nothing
        writer.add(last)
        if on_progress is not None:
            on_progress(total, total)


def _kept(plan: CurationPlan, writer: DatasetWriter) -> Iterator[Trajectory | dict[str, Array]]:
    """Yield the episodes that are kept, and before those of a shard its events of groups that are kept."""
    number = 0
    groups = np.array(sorted(plan.groups), np.int64)
    are_said = any(dataset.manifest.sources for dataset in plan.datasets)
    for dataset, offset in zip(plan.datasets, plan.offsets, strict=True):
        trajectories = dataset.trajectories()
        places: dict[int, int] = {}
        for shard in dataset.shards:
            if dataset.manifest.event_kinds and shard.entry.num_events:
                yield _events(shard, offset, groups)
            for _, trajectory in islice(trajectories, shard.entry.num_episodes):
                if plan.keeps(number):
                    index = trajectory.source
                    if index not in places:
                        places[index] = _place(writer, dataset, index) if are_said else 0
                    yield plan.changed(number, trajectory, source=places[index])
                number += 1


def _events(shard: Shard, offset: int, groups: Array) -> dict[str, Array]:
    """Return the events of a shard whose group, counted from `offset`, is one of `groups`."""
    columns = {name: shard.column(name) for name in EVENT_COLUMNS}
    columns["event.group"] = columns["event.group"] + offset
    wanted = np.isin(columns["event.group"], groups)
    return {name: np.array(column[wanted]) for name, column in columns.items()}


def _place(writer: DatasetWriter, dataset: Dataset, index: int) -> int:
    """Return the place of an episode's source; one that nobody knows must not become that of another dataset."""
    sources = dataset.manifest.sources
    unknown = Source(kind="import", path=str(dataset.path), sha256=dataset.digest)
    return writer.add_source(sources[index] if index < len(sources) else unknown)
