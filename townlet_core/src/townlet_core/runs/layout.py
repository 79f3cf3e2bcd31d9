"""Where the files of a run stand."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import TEMPORARY_SUFFIX, clean_leftovers
from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.checkpoint.manifest import is_plain_name
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import MissingInputError, UsageError
from townlet_core.runs.lock import LOCK_NAME, RunLock
from townlet_core.runs.status import RunRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.runs.status import Clock

RECORD_NAME, CONFIG_NAME, TELEMETRY_NAME = "run.json", "config.yaml", "telemetry.jsonl"
RESULT_NAME, STAGES_NAME = "result.json", "stages"
_WRITTEN_FIRST = {LOCK_NAME, RECORD_NAME, CONFIG_NAME, TELEMETRY_NAME}


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it is a single safe path component.

    Raises:
        UsageError: it is not.
    """
    if not is_plain_name(run_id):
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
        self._made_here = False

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def record_path(self) -> Path:
        """`run.json`: identity, versions, threads, status."""
        return self.path / RECORD_NAME

    @property
    def config_path(self) -> Path:
        """`config.yaml`: the resolved configuration."""
        return self.path / CONFIG_NAME

    @property
    def telemetry_path(self) -> Path:
        """`telemetry.jsonl`: one line for each update."""
        return self.path / TELEMETRY_NAME

    @property
    def result_path(self) -> Path:
        """`result.json`: the result DTO."""
        return self.path / RESULT_NAME

    @property
    def policy_dir(self) -> Path:
        """`policy/`: the artefact that the run is for."""
        return self.path / "policy"

    @property
    def checkpoints_dir(self) -> Path:
        """`checkpoints/`: what a run is resumed from."""
        return self.path / "checkpoints"

    def stage(self, number: int, strategy: str) -> RunDirectory:
        """Return the directory of a stage, which need not be there: `stages/<number>-<strategy>`."""
        name = f"{number:03d}-{strategy.rpartition(':')[2]}"
        return RunDirectory(self.path / STAGES_NAME / name, filesystem=self.filesystem)

    def checkpoints(self, keep_last: int = 2) -> CheckpointStore:
        """Return the store of the run's checkpoints."""
        return CheckpointStore(self.checkpoints_dir, keep_last=keep_last, filesystem=self.filesystem)

    def lock(self, *, clock: Clock) -> RunLock:
        """Return the run's lock, not yet taken."""
        return RunLock(self.path, clock=clock)

    def clean(self) -> list[str]:
        """Delete what killed writes left, and return the names. Only the holder of the lock may call this."""
        directories = [path for path in (self.path, self.checkpoints_dir) if path.is_dir()]
        return [name for path in directories for name in clean_leftovers(path, filesystem=self.filesystem)]

    def require_free(self) -> None:
        """Check that nothing is here but what a run leaves that was killed before it had a record.

        What `create` found may have changed until the lock is held, so this is asked again then.

        Raises:
            UsageError: there is a run, or something that is not ours.
            StorageError: the directory cannot be listed.
        """
        with storage_guard("list", self.path):
            names = {child.name for child in self.path.iterdir()}
        if RECORD_NAME in names:
            raise UsageError(f"{self.path} is a run already: resume it with --resume, or choose another --run-dir")
        if names and not (LOCK_NAME in names and all(map(_is_of_a_beginning, names))):
            raise UsageError(f"{self.path} is not empty and is not a run: choose another --run-dir")

    def withdraw(self) -> bool:
        """Delete a run that nothing came of, and return whether that was done. Only the holder of the lock may call it.

        Where anything is here that is not written before a strategy begins, nothing is deleted. The directory itself
        goes only if it was made by this object's `create` or `create_new`.
        """
        try:
            names = {child.name for child in self.path.iterdir()}
            if names - _WRITTEN_FIRST or (TELEMETRY_NAME in names and self.telemetry_path.stat().st_size > 0):
                return False
            for name in sorted(names):
                self.filesystem.remove_file(self.path / name)
            if self._made_here:
                self.filesystem.remove_directory(self.path)
        except OSError:
            return False
        return True

    def record(self) -> RunRecord:
        """Return `run.json`; raises `MissingInputError` or `DataError`."""
        return read_record(self.record_path)

    def write_record(self, record: RunRecord) -> None:
        """Write `run.json` in one step; raises `StorageError`."""
        record.write(self.record_path, filesystem=self.filesystem)

    @classmethod
    def create(cls, path: Path, *, filesystem: FileSystem = DISK) -> RunDirectory:
        """Make the directory `path`, its parents where they are missing, and return it.

        An empty directory, or one in which a run was killed before it had a record, is taken as it is.

        Raises:
            UsageError: the name is not safe, or there is a run or something else already.
            StorageError: the system refused.
        """
        run = cls(path, filesystem=filesystem)
        with storage_guard("make", path):
            run._made_here = make_with_parents(path, filesystem)
        run.require_free()
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
            make_with_parents(runs_dir, filesystem)
            while True:
                run = cls(runs_dir / f"{moment}-{name}-{token()}", filesystem=filesystem)
                try:
                    filesystem.make_directory(run.path)
                except FileExistsError:
                    continue
                filesystem.sync_directory(runs_dir)
                run._made_here = True
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


def _is_of_a_beginning(name: str) -> bool:
    """Return whether a file of this name may be there before a run has its record."""
    is_torn = name.startswith((f".{CONFIG_NAME}.", f".{RECORD_NAME}.")) and name.endswith(TEMPORARY_SUFFIX)
    return name in (LOCK_NAME, CONFIG_NAME) or is_torn


def make_with_parents(path: Path, filesystem: FileSystem) -> bool:
    """Make `path` and its missing parents, each on the device before the next; return whether `path` was missing."""
    if path.is_dir():
        return False
    make_with_parents(path.parent, filesystem)
    try:
        filesystem.make_directory(path)
    except FileExistsError:
        if not path.is_dir():
            raise
        return False
    filesystem.sync_directory(path.parent)
    return True
