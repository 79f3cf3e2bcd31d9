"""Numbered checkpoints in a directory: the newest whose digests verify is found again, whatever happened before.

Layout: `<root>/<step>/` for each checkpoint, and `<root>/newest`, a pointer with the name of the last one that was
completed. The pointer is a hint for people and programs; recovery looks at the checkpoints themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import clean_leftovers, discard, write_directory, write_file
from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.checkpoint.manifest import DEFAULT_MAX_BYTES, PREVIOUS_SUFFIX, read_directory
from townlet_core.errors import CheckpointError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

POINTER_NAME = "newest"
MAX_STEP = 10**12 - 1
_STEP_NAME = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCheckpoint:
    """A checkpoint that verified.

    Attributes:
        step: its number.
        path: its directory.
        files: name -> contents.
        skipped: one line for each newer checkpoint that did not verify, with the reason.
    """

    step: int
    path: Path
    files: dict[str, bytes]
    skipped: tuple[str, ...]


class CheckpointStore:
    """Saves and finds checkpoints. One process at a time may save (see `runs.lock`); any may load.

    Args:
        root: directory of the checkpoints; made by the first `save` if its parent exists.
        keep_last: how many of the newest checkpoints are kept, at least 1.
        max_bytes: size of the largest checkpoint that is loaded.
        filesystem: the calls to make.
    """

    def __init__(
        self, root: Path, *, keep_last: int = 2, max_bytes: int = DEFAULT_MAX_BYTES, filesystem: FileSystem = DISK
    ) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}, and at least 1 checkpoint has to be kept")
        self.root = root
        self.keep_last = keep_last
        self._max_bytes = max_bytes
        self._filesystem = filesystem
        self._opened = False
        self._damaged: set[int] = set()

    def save(self, step: int, files: Mapping[str, bytes], *, keep: Collection[int] = ()) -> Path:
        """Write a checkpoint, point to it, and only then delete what is no longer kept, the newest of that last.

        Checkpoints of a higher step belong to a future that this run has left, and go too.

        Args:
            step: number of the checkpoint, 0 to 10**12 - 1; an existing one is replaced.
            files: plain name -> contents.
            keep: steps of checkpoints, such as the best, that are kept as well, however old they are.

        Returns:
            The directory of the checkpoint, which is on the device.

        Raises:
            StorageError: the system refused; the checkpoints that were there still are.
        """
        if not 0 <= step <= MAX_STEP:
            raise ValueError(f"step is {step}, and has to be 0 to {MAX_STEP}")
        self._open_for_writing()
        path = self._path(step)
        write_directory(path, files, replace=True, filesystem=self._filesystem)
        self._damaged.discard(step)
        write_file(self.root / POINTER_NAME, f"{path.name}\n".encode(), filesystem=self._filesystem)
        for old in self._superseded(step, keep):
            discard(self._path(old), filesystem=self._filesystem)
        return path

    def load_newest(self) -> LoadedCheckpoint | None:
        """Return the newest checkpoint that verifies, or None if there is no checkpoint at all.

        Raises:
            CheckpointError: there are checkpoints, and none verifies; the text says why for each.
            StorageError: the directory cannot be listed.
        """
        skipped: list[str] = []
        pointed = self._pointed_step()
        for step in reversed(self.steps()):
            if pointed is not None and pointed > step:
                skipped.append(f"{self._path(pointed)} is missing, though it was completed")
            pointed = None
            try:
                return replace(self.load(step), skipped=tuple(skipped))
            except (CheckpointError, MissingInputError) as error:
                skipped.append(str(error))
                self._damaged.add(step)
        if skipped:
            raise CheckpointError(f"no checkpoint in {self.root} is intact: {'; '.join(skipped)}")
        return None

    def load(self, step: int) -> LoadedCheckpoint:
        """Return the checkpoint of this step.

        Raises:
            CheckpointError: it does not verify.
            MissingInputError: it is not there.
        """
        path = self._path(step)
        files = read_directory(path, error=CheckpointError, max_bytes=self._max_bytes)
        return LoadedCheckpoint(step=step, path=path, files=files, skipped=())

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, intact or not, in ascending order.

        Raises:
            StorageError: the directory cannot be listed.
        """
        with storage_guard("list", self.root):
            try:
                names = [path.name for path in self.root.iterdir()]
            except FileNotFoundError:
                return []
        present = {name.removeprefix(".").removesuffix(PREVIOUS_SUFFIX) for name in names}
        return sorted(int(name) for name in present if _STEP_NAME.fullmatch(name))

    def _path(self, step: int) -> Path:
        return self.root / f"{step:012d}"

    def _open_for_writing(self) -> None:
        """Make the root, once, and clean up after a writer that was killed."""
        if self._opened:
            return
        with storage_guard("make", self.root):
            if not self.root.is_dir():
                self._filesystem.make_directory(self.root)
                self._filesystem.sync_directory(self.root.parent)
        clean_leftovers(self.root, filesystem=self._filesystem)
        self._opened = True

    def _superseded(self, step: int, keep: Collection[int]) -> list[int]:
        """Return the steps to delete after `step` was saved: future and damaged ones first, then from the oldest on."""
        steps = self.steps()
        unusable = [other for other in steps if other > step or other in self._damaged]
        usable = [other for other in steps if other not in unusable]
        return unusable + [other for other in usable[: -self.keep_last] if other not in keep]

    def _pointed_step(self) -> int | None:
        try:
            name = (self.root / POINTER_NAME).read_bytes()[:64].decode("ascii", "replace").strip()
        except OSError:
            return None
        return int(name) if _STEP_NAME.fullmatch(name) else None
