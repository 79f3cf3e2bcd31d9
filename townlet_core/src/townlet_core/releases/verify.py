"""`verify`: every byte of a store is read and compared: lines with the chain, bundles and evidence with the log."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import TEMPORARY_SUFFIX
from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.checkpoint.manifest import MANIFEST_NAME, PREVIOUS_SUFFIX, read_file
from townlet_core.dto.promotion import PromotionStatus, StoreFinding, VerificationReport
from townlet_core.errors import DataError, MissingInputError
from townlet_core.releases.bundle import is_digest, read_bundle
from townlet_core.releases.log import LOG_NAME, History, read_log
from townlet_core.releases.status import STATUS_NAME, differing, read_status
from townlet_core.releases.writer import BUNDLES, EVIDENCE, MAX_EVIDENCE_BYTES
from townlet_core.runs.lock import LOCK_NAME

if TYPE_CHECKING:
    from pathlib import Path

_TOP = {LOG_NAME, STATUS_NAME, BUNDLES, EVIDENCE, LOCK_NAME}
_TEMPORARY = (TEMPORARY_SUFFIX, PREVIOUS_SUFFIX)
_UNKNOWN = "the log does not know it"


def verify(root: Path) -> VerificationReport:
    """Return what is wrong in the store at `root`, and what killed writers have left there.

    Raises:
        MissingInputError: there is no store.
        StorageError: something may not be read.
    """
    if not root.is_dir():
        raise MissingInputError(f"{root} does not exist: there are no releases yet")
    return _Verification(root).report()


class _Verification:
    """Reads a store, and collects.

    Args:
        root: the store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._problems: list[StoreFinding] = []
        self._leftovers: list[StoreFinding] = []
        self._bundles = self._num_bytes = 0

    def report(self) -> VerificationReport:
        for path in self._listed(self._root):
            if path.name not in _TOP:
                self._problem(path, "does not belong to releases")
        history = self._history()
        if history is not None:
            self._check_bundles(history)
            self._check_evidence(history)
        return VerificationReport(
            events=len(history.events) if history else 0,
            bundles=self._bundles,
            num_bytes=self._num_bytes,
            problems=tuple(self._problems),
            leftovers=tuple(self._leftovers),
        )

    def _history(self) -> History | None:
        """Return what the log says; None, and a problem, where it is damaged."""
        path, log = self._root / STATUS_NAME, self._root / LOG_NAME
        try:
            status = read_status(path)
        except DataError as error:
            self._problem(path, str(error))
            status = None
        try:
            history = read_log(log, acknowledged=status.events if status else 0)
        except DataError as error:
            self._problem(log, str(error))
            return None
        if history.torn:
            self._leftover(log, f"ends with {history.torn} bytes of a line that a killed write has left")
        self._num_bytes += history.size
        self._check_status(status, history)
        return history

    def _check_status(self, status: PromotionStatus | None, history: History) -> None:
        path, log, count = self._root / STATUS_NAME, self._root / LOG_NAME, len(history.events)
        if status is None:
            if count > 1 and not self._problems:
                self._problem(path, "is missing: that no line of the log was lost cannot be told")
        elif status.events > count:
            self._problem(log, f"has {count} events, and {STATUS_NAME} knows of {status.events}: lines were lost")
        elif wrong := differing(status, history):
            self._problem(path, f"does not say what follows from {LOG_NAME}")
            if wrong == ["head"]:
                self._problem(log, f"line {status.events} is not the one that {STATUS_NAME} knows: one was changed")
        elif status.events < count - 1:
            self._problem(path, f"knows of {status.events} events, and {LOG_NAME} has {count}")
        elif status.events < count:
            self._leftover(path, "is one event behind: a killed write has left it so")

    def _check_bundles(self, history: History) -> None:
        known = dict.fromkeys((event.release, event.manifest) for event in history.events if event.release)
        found = {path.name: path for path in self._listed(self._root / BUNDLES)}
        for release, manifest in known:
            found.pop(release, None)
            self._check_bundle(self._root / BUNDLES / release, manifest)
        for name, path in found.items():
            if not is_digest(name):
                self._problem(path, "is not the bundle of a release")
            elif self._check_bundle(path, ""):
                self._leftover(path, _UNKNOWN)

    def _check_bundle(self, path: Path, manifest: str) -> bool:
        try:
            if path.is_symlink():
                raise DataError(f"{path} is a link")
            files = read_bundle(path, manifest=manifest)
        except (DataError, MissingInputError) as error:
            self._problem(path, str(error))
            return False
        for extra in sorted({child.name for child in path.iterdir()} - {*files, MANIFEST_NAME}):
            self._problem(path / extra, f"is not in {MANIFEST_NAME}")
        self._bundles += 1
        self._num_bytes += sum(map(len, files.values())) + (path / MANIFEST_NAME).stat().st_size
        return True

    def _check_evidence(self, history: History) -> None:
        known = {f"{event.evidence_file}.json" for event in history.events if event.evidence_file}
        found = {path.name: path for path in self._listed(self._root / EVIDENCE)}
        for name in sorted(known | found.keys()):
            path = self._root / EVIDENCE / name
            try:
                data = read_file(path, MAX_EVIDENCE_BYTES, DataError)
            except DataError as error:
                self._problem(path, str(error))
                continue
            self._num_bytes += len(data)
            if f"{hashlib.sha256(data).hexdigest()}.json" != name:
                self._problem(path, "is damaged: its contents do not match its name")
            elif name not in known:
                self._leftover(path, _UNKNOWN)

    def _listed(self, directory: Path) -> list[Path]:
        """Return what is in a directory, but for what killed writes have left, which is told."""
        if directory.is_symlink() and directory != self._root:
            self._problem(directory, "is a link")
            return []
        with storage_guard("list", directory):
            paths = sorted(directory.iterdir()) if directory.is_dir() else []
        left = [path for path in paths if path.name.startswith(".") and path.name.endswith(_TEMPORARY)]
        for path in left:
            self._leftover(path, "was left by a killed write, and goes with the next one")
        return [path for path in paths if path not in left]

    def _problem(self, path: Path, text: str) -> None:
        self._problems.append(self._finding(path, text))

    def _leftover(self, path: Path, text: str) -> None:
        self._leftovers.append(self._finding(path, text))

    def _finding(self, path: Path, text: str) -> StoreFinding:
        return StoreFinding(path=path.relative_to(self._root).as_posix(), text=text.removeprefix(f"{path} "))
