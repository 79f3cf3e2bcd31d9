"""Where the files of a run stand."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import clean_leftovers
from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import MissingInputError, UsageError
from townlet_core.runs.lock import RunLock
from townlet_core.runs.status import RunRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.runs.status import Clock

RECORD_NAME = "run.json"
_SAFE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it is a single safe path component.

    Raises:
        UsageError: it is not.
    """
    if not _SAFE_ID.fullmatch(run_id):
        raise UsageError(
            f"{run_id!r} cannot be the name of a run: use 1 to 128 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit and not ending with '.'"
        )
    return run_id


class RunDirectory:
    """The paths of one run. Making this object touches no file; see `create`, `create_new` and `open`.

    Args:
        path: the run directory; its last component is the run's id.
        filesystem: the calls that writers of this run make.

    Raises:
        UsageError: the last component is not a safe name.
    """

    def __init__(self, path: Path, *, filesystem: FileSystem = DISK) -> None:
        self.path = path
        self.filesystem = filesystem
        self.id = check_run_id(path.name or path.resolve().name)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def record_path(self) -> Path:
        """`run.json`: identity, versions, threads, status."""
        return self.path / RECORD_NAME

    @property
    def config_path(self) -> Path:
        """`config.yaml`: the resolved configuration."""
        return self.path / "config.yaml"

    @property
    def telemetry_path(self) -> Path:
        """`telemetry.jsonl`: one line for each update."""
        return self.path / "telemetry.jsonl"

    @property
    def result_path(self) -> Path:
        """`result.json`: the result DTO."""
        return self.path / "result.json"

    @property
    def policy_dir(self) -> Path:
        """`policy/`: the artefact that the run is for."""
        return self.path / "policy"

    @property
    def checkpoints_dir(self) -> Path:
        """`checkpoints/`: what a run is resumed from."""
        return self.path / "checkpoints"

    def checkpoints(self, keep_last: int = 2) -> CheckpointStore:
        """Return the store of the run's checkpoints."""
        return CheckpointStore(self.checkpoints_dir, keep_last=keep_last, filesystem=self.filesystem)

    def lock(self, *, clock: Clock) -> RunLock:
        """Return the run's lock, not yet taken."""
        return RunLock(self.path, clock=clock)

    def clean(self) -> list[str]:
        """Delete what killed writes left, and return the names. Only the holder of the lock may call this."""
        return clean_leftovers(self.path, filesystem=self.filesystem)

    def record(self) -> RunRecord:
        """Return `run.json`; raises `MissingInputError` or `DataError`."""
        return read_record(self.record_path)

    def write_record(self, record: RunRecord) -> None:
        """Write `run.json` in one step; raises `StorageError`."""
        record.write(self.record_path, filesystem=self.filesystem)

    @classmethod
    def create(cls, path: Path, *, filesystem: FileSystem = DISK) -> RunDirectory:
        """Make the directory `path`, its parents where they are missing, and return it.

        A directory that holds nothing but hidden files is taken as it is.

        Raises:
            UsageError: the name is not safe, or there is a run or something else already.
            StorageError: the system refused.
        """
        run = cls(path, filesystem=filesystem)
        with storage_guard("make", path):
            _make_with_parents(path, filesystem)
            names = [child.name for child in path.iterdir()]
        if RECORD_NAME in names:
            raise UsageError(f"{path} is a run already: resume it with --resume, or choose another --run-dir")
        if any(not name.startswith(".") for name in names):
            raise UsageError(f"{path} is not empty and is not a run: choose another --run-dir")
        return run

    @classmethod
    def create_new(
        cls,
        runs_dir: Path,
        strategy: str,
        *,
        clock: Clock,
        token: Callable[[], str] = lambda: secrets.token_hex(2),
        filesystem: FileSystem = DISK,
    ) -> RunDirectory:
        """Make a directory with a new id such as `20261123-064108-ppo-ab12` (UTC) in `runs_dir`, and return it.

        Raises:
            StorageError: the system refused.
        """
        moment = datetime.fromtimestamp(clock(), UTC).strftime("%Y%m%d-%H%M%S")
        name = re.sub(r"[^a-z0-9_-]+", "-", strategy.lower())[:64]
        with storage_guard("make a run in", runs_dir):
            _make_with_parents(runs_dir, filesystem)
            while True:
                run = cls(runs_dir / f"{moment}-{name}-{token()}", filesystem=filesystem)
                try:
                    filesystem.make_directory(run.path)
                except FileExistsError:
                    continue
                filesystem.sync_directory(runs_dir)
                return run

    @classmethod
    def open(cls, path: Path, *, filesystem: FileSystem = DISK) -> RunDirectory:
        """Return the existing run directory `path`.

        Raises:
            MissingInputError: there is no run there.
        """
        if not (path / RECORD_NAME).is_file():
            reason = f"has no {RECORD_NAME}" if path.is_dir() else "does not exist"
            raise MissingInputError(f"{path} is not a run: it {reason}")
        return cls(path, filesystem=filesystem)


def _make_with_parents(path: Path, filesystem: FileSystem) -> None:
    """Make `path` and its missing parents, each on the device before the next."""
    if path.is_dir():
        return
    _make_with_parents(path.parent, filesystem)
    try:
        filesystem.make_directory(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    filesystem.sync_directory(path.parent)
