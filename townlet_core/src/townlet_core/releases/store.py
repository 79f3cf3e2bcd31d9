"""`ReleaseStore`: a directory of bundles, evidence and the log; one writer, and one line for each transaction.

The log alone says how things stand. `status.json`, written after each line, is for people and programs, and a witness:
if it knows more lines than the log has, lines were lost, and nothing is written until somebody has looked.

The order of a transaction is: what the line refers to, the line, `status.json`. A kill in between leaves a bundle or
evidence that nobody refers to, which harms nothing, half a line, which the next writer cuts off, or an old
`status.json`, which the next writer renews.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import clean_leftovers
from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.errors import DataError, MissingInputError, RaceLostError, TownletWarning
from townlet_core.releases.bundle import read_bundle
from townlet_core.releases.log import LOG_NAME, History, read_log, sync_log
from townlet_core.releases.status import STATUS_NAME, differing, read_status, write_status
from townlet_core.releases.writer import BUNDLES, EVIDENCE, ReleaseWriter
from townlet_core.runs.layout import make_with_parents
from townlet_core.runs.lock import LOCK_NAME, RunLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from townlet_core.runs.status import Clock

ALIASES = ("candidate", "champion", "previous")
OWN_NAMES = frozenset({LOG_NAME, STATUS_NAME, BUNDLES, EVIDENCE, LOCK_NAME})


class ReleaseStore:
    """Finds and reads releases; `writing` is the only way to change anything.

    Args:
        root: the directory; made by the first writer.
        clock: seconds since 1970.
        filesystem: the calls that a writer makes.
    """

    def __init__(self, root: Path, *, clock: Clock, filesystem: FileSystem = DISK) -> None:
        self.root = root
        self._clock = clock
        self._filesystem = filesystem

    def history(self, *, expected_head: str | None = None) -> History:
        """Return every event so far; none where there is no store yet.

        Args:
            expected_head: the head of the log that the caller decided on; None if it has decided nothing.

        Raises:
            RaceLostError: another process has written since.
            DataError: the directory is no store, or what it says contradicts itself; the text names the file.
            StorageError: it may not be read.
        """
        history = self._read()
        if expected_head not in (None, history.head):
            last = f"{history.events[-1].event} by {history.events[-1].by}" if history.events else "it has no events"
            raise RaceLostError(
                f"{self.root} was changed by another process ({last}), and nothing was done: look at "
                "'townlet releases', and decide again"
            )
        return history

    def _read(self) -> History:
        self._check_names()
        status = read_status(self.root / STATUS_NAME)  # before the log, which may grow in between
        history = read_log(self.root / LOG_NAME, acknowledged=status.events if status else 0)
        if status is None:
            return history
        if status.events > len(history.events):
            raise DataError(
                f"{self.root / LOG_NAME} has {len(history.events)} events, and {STATUS_NAME} knows of {status.events}: "
                f"lines were lost. Bring the log back from a copy, or delete {STATUS_NAME} if they may be forgotten"
            )
        if differing(status, history):
            raise DataError(
                f"{self.root / STATUS_NAME} does not say what follows from {LOG_NAME}: if the log is right, delete it, "
                "and the next event writes it anew"
            )
        return history

    def bundle_path(self, release: str) -> Path:
        """Return where the bundle of a release is."""
        return self.root / BUNDLES / release

    def verified_bundle(self, release: str) -> Path:
        """Return where the bundle of a release is, after every byte of it was read.

        Raises:
            MissingInputError: the log does not know the release, or its bundle is gone.
            DataError: it is damaged.
        """
        path = self.bundle_path(release)
        read_bundle(path, manifest=self.history().manifest_of(release))
        return path

    def evidence_path(self, digest: str) -> Path:
        """Return where a file of evidence is."""
        return self.root / EVIDENCE / f"{digest}.json"

    def find(self, name: str) -> str:
        """Return the release that an alias, a digest or the beginning of one means.

        Raises:
            MissingInputError: there is none, or there are several.
        """
        history = self.history()
        if name in ALIASES:
            release: str | None = getattr(history.state, name)
            if release is None:
                raise MissingInputError(f"{self.root} has no {name}")
            return release
        known = dict.fromkeys(event.release for event in history.events if event.release)
        found = [release for release in known if len(name) >= 4 and release.startswith(name)]
        if len(found) != 1:
            what = "is the beginning of several releases" if found else "is no release"
            raise MissingInputError(
                f"{name!r} {what} in {self.root}: name {', '.join(ALIASES)}, or 4 letters of a digest or more"
            )
        return found[0]

    @contextmanager
    def writing(self, *, expected_head: str | None = None) -> Iterator[ReleaseWriter]:
        """Hold the lock of the store, and give what may change it.

        Args:
            expected_head: the head of the log that the caller decided on; None if it decides under the lock.

        Raises:
            RunLockedError: another process is writing.
            RaceLostError: another process has written since.
            DataError: as in `history`; nothing was written.
            StorageError: the system refused.
        """
        self.history()  # what is not right is told before anything is written
        with storage_guard("make", self.root):
            is_new = make_with_parents(self.root, self._filesystem)
        with RunLock(self.root, clock=self._clock):
            history = self.history(expected_head=expected_head)
            if not is_new:
                with storage_guard("write to", self.root):
                    self._recover(history)
            yield ReleaseWriter(self.root, history, self._clock, self._filesystem)

    def _recover(self, history: History) -> None:
        """Finish what a killed writer began; half a line stays until there is a line to be written.

        What it wrote may not be on the device yet, and is from here on built upon.
        """
        if not history.events:
            self._filesystem.sync_directory(self.root.parent)
        sync_log(self.root / LOG_NAME, filesystem=self._filesystem)
        for directory in (self.root, self.root / BUNDLES, self.root / EVIDENCE):
            if directory.is_dir():
                self._filesystem.sync_directory(directory)
                clean_leftovers(directory, filesystem=self._filesystem)
        status = read_status(self.root / STATUS_NAME)
        if status is None and len(history.events) > 1:
            warnings.warn(f"{self.root / STATUS_NAME} was missing and is written anew", TownletWarning, stacklevel=4)
        if history.events and (status is None or status.events < len(history.events)):
            write_status(self.root / STATUS_NAME, history, filesystem=self._filesystem)

    def _check_names(self) -> None:
        """Raise `DataError` where the directory is something else than a store."""
        with storage_guard("list", self.root):
            if not os.path.lexists(self.root):
                return
            if not self.root.is_dir():
                raise DataError(f"{self.root} is not a directory")
            names = {path.name for path in self.root.iterdir()}
        foreign = sorted(name for name in names - OWN_NAMES if not name.startswith("."))
        if foreign:
            raise DataError(
                f"{self.root / foreign[0]} does not belong to releases: choose another directory, or move it"
            )
        for name in (BUNDLES, EVIDENCE):
            path = self.root / name
            if path.is_symlink() or (name in names and not path.is_dir()):
                raise DataError(f"{path} is not a directory of its own; links are not followed")
