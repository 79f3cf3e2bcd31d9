"""`validate`: everything that can be found wrong with a dataset, in one pass, shard by shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.errors import DatasetError
from townlet_core.replay.check_episodes import check_episodes
from townlet_core.replay.check_files import check_columns, check_directory, check_shard
from townlet_core.replay.check_independence import Independence, Seen
from townlet_core.replay.check_labels import Labels
from townlet_core.replay.check_values import Limits, check_actions, check_events, check_numbers, check_observations
from townlet_core.replay.dataset import Dataset, read_manifest
from townlet_core.replay.finding_log import FindingLog
from townlet_core.replay.schema import DATASET_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.dto.dataset_findings import ValidationReport
    from townlet_core.replay.schema import DatasetManifest
    from townlet_core.replay.shard_view import ShardView

DEFAULT_LIMIT = 5


def validate_path(
    path: Path,
    *,
    against: Path | None = None,
    limit: int = DEFAULT_LIMIT,
    on_progress: Callable[[int, int], None] | None = None,
) -> ValidationReport:
    """Return what is wrong with the dataset at `path`, which may be too damaged to be opened.

    Args:
        path: its directory.
        against: another dataset, which it should have nothing in common with.
        limit: places that are told for each code.
        on_progress: called with (bytes looked at, bytes in all).

    Raises:
        MissingInputError: there is no dataset at one of the two.
        DatasetError: `against` cannot be read.
    """
    other = None if against is None else Dataset(against)
    try:
        dataset = Dataset(path)
    except DatasetError as error:
        log = FindingLog(limit)
        log.add("D009" if _has_manifest(path) else "D001", str(error), file=DATASET_NAME)
        return log.report(path=str(path), digest="", against=None if against is None else str(against))
    return validate(dataset, against=other, limit=limit, on_progress=on_progress)


def _has_manifest(path: Path) -> bool:
    try:
        read_manifest(path)
    except DatasetError:
        return False
    return True


def validate(
    dataset: Dataset,
    *,
    against: Dataset | None = None,
    limit: int = DEFAULT_LIMIT,
    on_progress: Callable[[int, int], None] | None = None,
) -> ValidationReport:
    """Return what is wrong with `dataset`; memory grows with its episodes, not with its rows.

    Arguments as in `validate_path`.

    Raises:
        DatasetError: `against` cannot be read.
    """
    log = FindingLog(limit)
    contents = _Contents(dataset.manifest, None if against is None else Seen.of(against), log)
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if on_progress is not None:
            on_progress(min(done, dataset.num_bytes), dataset.num_bytes)

    if not dataset.manifest.complete:
        log.add("D008", file=DATASET_NAME)
    if against is not None:
        for field in ("observations", "action"):
            if getattr(against.manifest, field) != getattr(dataset.manifest, field):
                log.add("D406", f"'{field}' differs from that of {against.path}", file=DATASET_NAME)
    check_directory(dataset, log)
    fitting = check_columns(dataset.manifest, log)
    first_episode = 0
    for shard in dataset.shards:
        view = check_shard(dataset, shard, log, first_episode=first_episode, fitting=fitting, on_bytes=count)
        if view is not None:
            contents.look_at(view)
        first_episode += shard.entry.num_episodes
        shard.unmap()
    contents.finish()
    return log.report(
        path=str(dataset.path), digest=dataset.digest, against=None if against is None else str(against.path)
    )


class _Contents:
    """Checks what the files hold, shard by shard.

    Args:
        manifest: of the dataset.
        other: the episodes of the dataset that it is compared with.
        log: where findings go.
    """

    def __init__(self, manifest: DatasetManifest, other: Seen | None, log: FindingLog) -> None:
        self._log = log
        self._independence, self._labels = Independence(manifest, other), Labels(manifest)
        self._limits = {name: Limits.of(space) for name, space in manifest.observation_spaces.items()}
        self._action_limits = Limits.of(manifest.action_space)

    def look_at(self, view: ShardView) -> None:
        """Check one shard."""
        check_episodes(view, self._log)
        check_observations(view, self._limits, self._log)
        check_actions(view, self._action_limits, self._log)
        check_numbers(view, self._log)
        check_events(view, self._log)
        self._labels.add(view)
        self._independence.add(view, self._log)

    def finish(self) -> None:
        """Say what needs all shards."""
        self._labels.finish(self._log)
        self._independence.finish(self._log)
