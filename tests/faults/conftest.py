"""A file system that writes what it is told to, and remembers every call; a test may have it refuse or skip some."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from townlet_core.checkpoint.filesystem import FileSystem

if TYPE_CHECKING:
    from pathlib import Path


class Killed(BaseException):
    """Stands for SIGKILL: whatever cleans up on its way finds that no call works any more."""


@dataclass
class RecordingFileSystem(FileSystem):
    """Records (call, path, ...) with paths relative to `root`.

    Attributes:
        root: what recorded paths are relative to.
        refuse: (call, number from 0) -> errno that this call of that kind fails with.
        lives: how many calls are left before the process is killed; None for ever.
        skip_sync: number, counted from the last `restart_counting`, of the one sync of any kind that is left out.
    """

    root: Path
    refuse: dict[tuple[str, int], int] = field(default_factory=dict)
    lives: int | None = None
    skip_sync: int | None = None
    calls: list[tuple[object, ...]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    syncs: int = 0
    paths: dict[int, str] = field(default_factory=dict)

    def restart_counting(self) -> None:
        self.syncs = 0

    def _record(self, call: str, *arguments: object) -> None:
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                raise Killed
        number = self.counts.get(call, 0)
        self.counts[call] = number + 1
        code = self.refuse.get((call, number))
        if code is not None:
            raise OSError(code, os.strerror(code))
        self.calls.append((call, *arguments))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _syncs_now(self) -> bool:
        self.syncs += 1
        return self.syncs - 1 != self.skip_sync

    def make_directory(self, path: Path) -> None:
        self._record("make_directory", self._relative(path))
        super().make_directory(path)

    def create(self, path: Path) -> int:
        self._record("create", self._relative(path))
        descriptor = super().create(path)
        self.paths[descriptor] = self._relative(path)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        self._record("write", self.paths[descriptor], bytes(data))
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        if self._syncs_now():
            self._record("sync", self.paths[descriptor])
            super().sync(descriptor)

    def sync_directory(self, path: Path) -> None:
        if self._syncs_now():
            self._record("sync_directory", self._relative(path))
            super().sync_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        self._record("rename", self._relative(source), self._relative(target))
        super().rename(source, target)

    def remove_file(self, path: Path) -> None:
        self._record("remove_file", self._relative(path))
        super().remove_file(path)

    def remove_directory(self, path: Path) -> None:
        self._record("remove_directory", self._relative(path))
        super().remove_directory(path)


@pytest.fixture
def recorder(tmp_path: Path) -> RecordingFileSystem:
    root = tmp_path / "run"
    root.mkdir()
    return RecordingFileSystem(root)


@pytest.fixture
def killed() -> type[Killed]:
    return Killed
