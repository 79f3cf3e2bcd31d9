"""`telemetry.jsonl`: one line of JSON for each record, never half a line."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from townlet_core.checkpoint.filesystem import BINARY, CLOSE_ON_EXEC, DISK, NO_FOLLOW, FileSystem, storage_guard
from townlet_core.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BLOCK_BYTES = 64 << 10


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return `record` as one line of JSON with its newline.

    JSON has no NaN and no infinity: both are written as null, so that every reader can read every line. Scalars of
    array libraries are written as plain numbers.

    Raises:
        TypeError: a value is no number, text, boolean, None, list or mapping.
    """
    return json.dumps(_plain(record), separators=(",", ":"), allow_nan=False).encode() + b"\n"


class TelemetryLog:
    """Appends records to a file that one process writes. Opening it drops an incomplete last line, left by a kill.

    Each record is handed to the system in one piece, so a kill of the process loses nothing that was logged. Only
    `sync` puts it on the device: call it before saving a checkpoint that refers to `offset`.

    Args:
        path: the file; its directory exists, and is not made again when it vanishes.
        filesystem: the calls that open and `sync` make.

    Raises:
        StorageError: the system refused.
    """

    def __init__(self, path: Path, *, filesystem: FileSystem = DISK) -> None:
        self.path = path
        self._filesystem = filesystem
        self._descriptor: int | None = None
        with storage_guard("open", path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_FOLLOW | CLOSE_ON_EXEC | BINARY
            self._descriptor = os.open(path, flags, 0o666)
            try:
                status = os.fstat(self._descriptor)
                self._identity = (status.st_dev, status.st_ino)
                self.offset = _end_of_last_line(self._descriptor, status.st_size)
                if self.offset < status.st_size:
                    os.ftruncate(self._descriptor, self.offset)
                filesystem.sync_directory(path.parent)
            except BaseException:
                self.close()
                raise

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            StorageError: the system refused, or somebody else changed the file; it ends with a complete line.
            TypeError: the record cannot be written as JSON; nothing is written.
        """
        line = encode_record(record)
        descriptor = self._checked_descriptor()
        with storage_guard("write", self.path):
            try:
                written = os.write(descriptor, line)
                while written < len(line):  # the next call says why
                    written += os.write(descriptor, line[written:])
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(descriptor, self.offset)
                raise
        self.offset += len(line)

    def sync(self) -> int:
        """Return the offset behind the last line, when all lines are on the device; raises `StorageError`."""
        descriptor = self._checked_descriptor()
        with storage_guard("write", self.path):
            self._filesystem.sync(descriptor)
        return self.offset

    def truncate(self, offset: int) -> None:
        """Drop every line behind `offset`: they were written after the checkpoint that stores it.

        Raises:
            CheckpointError: no line ends at `offset`, so the file is not the one that the checkpoint was saved with.
            StorageError: the system refused.
        """
        descriptor = self._checked_descriptor()
        with storage_guard("shorten", self.path):
            if not 0 <= offset <= self.offset or _end_of_last_line(descriptor, offset) != offset:
                raise CheckpointError(
                    f"{self.path} does not belong to the checkpoint: that was saved when it had {offset} bytes, "
                    f"and now it has {self.offset}"
                    + (", with no line that ends there" if offset <= self.offset else "")
                )
            os.ftruncate(descriptor, offset)
            self._filesystem.sync(descriptor)
        self.offset = offset

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _checked_descriptor(self) -> int:
        """Return the descriptor, if the path still names the file that was opened, and that ends where it was left."""
        if self._descriptor is None:
            raise StorageError(f"{self.path} is closed")
        with storage_guard("write", self.path):
            status = os.stat(self.path, follow_symlinks=False)  # noqa: PTH116  (Path.lstat costs twice as much)
        if (status.st_dev, status.st_ino) != self._identity or status.st_size != self.offset:
            raise StorageError(f"{self.path} was replaced or changed by another program while the run was going")
        return self._descriptor


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return the offset behind the last newline in the first `size` bytes."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        os.lseek(descriptor, start, os.SEEK_SET)
        newline = os.read(descriptor, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _plain(value: Any) -> Any:
    """Return `value` with nothing in it but what JSON has."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "items"):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    raise TypeError(f"telemetry cannot hold {value!r}: use a number, text, None, a list or a mapping")
