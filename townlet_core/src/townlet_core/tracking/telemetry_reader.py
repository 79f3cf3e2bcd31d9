"""Reads telemetry line by line, of this version and of older ones, from files that may still grow.

Memory is bounded by the longest line that is allowed, whatever the file's size.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.errors import DataError, MissingInputError
from townlet_core.runs.layout import TELEMETRY_NAME
from townlet_core.tracking.telemetry_record import parse_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from townlet_core.tracking.telemetry_record import TelemetryRecord

MAX_LINE_BYTES = 1 << 20


def telemetry_path(path: Path) -> Path:
    """Return the telemetry file that is meant: `path` itself, or the one in it if it is a directory."""
    with storage_guard("look at", path):
        return path / TELEMETRY_NAME if path.is_dir() else path


def read_telemetry(path: Path) -> Iterator[TelemetryRecord]:
    """Yield the records of a telemetry file, or of the one in a run directory; half a last line is left out.

    Raises:
        MissingInputError: there is no such file.
        DataError: a line is damaged, or of an unknown version; the text names file, line and field.
        StorageError: the system refused.
    """
    tail = TelemetryTail(telemetry_path(path))
    if not tail.exists():
        raise missing_log(path)
    yield from tail.records()
    last = tail.unfinished_record()
    if last is not None:
        yield last


def missing_log(path: Path) -> MissingInputError:
    """Return the error that says what is not there."""
    if path.is_dir():
        return MissingInputError(f"{path} has no {TELEMETRY_NAME}: name a run directory, or a telemetry file")
    return MissingInputError(f"{path} does not exist")


class TelemetryTail:
    """The lines of a file that have not been read yet: `records` can be called again when it has grown.

    A resumed run shortens its telemetry to the last checkpoint and writes on, and another program may replace the file.
    Both show in the last line that was read, which is then gone or another: see `begin_again_if_rewritten`.

    Args:
        path: the file, which need not exist yet.

    Attributes:
        unfinished: the bytes behind the last newline.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unfinished = b""
        self._offset = 0
        self._last = b""
        self._line = 0

    def exists(self) -> bool:
        """Return whether the file is there.

        Raises:
            DataError: there is something else of that name.
            StorageError: the system refused.
        """
        try:
            with storage_guard("look at", self.path):
                try:
                    status = self.path.stat()
                except (FileNotFoundError, NotADirectoryError):
                    return False
        except ValueError:  # a NUL in the name
            return False
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{self.path} is not a file")
        return True

    def begin_again_if_rewritten(self) -> bool:
        """Go back to the beginning if the last line that was read is no longer there; return whether it was so.

        A file that has vanished is waited for: it may come back as it was.
        """
        file = self._opened()
        if file is None:
            return False
        with storage_guard("read", self.path), file:
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) == self._last:
                return False
        self._offset, self._last, self._line, self.unfinished = 0, b"", 0, b""
        return True

    def records(self) -> Iterator[TelemetryRecord]:
        """Yield the records of all complete lines that are new; none if the file does not exist.

        Raises:
            DataError: a line is damaged.
            StorageError: the system refused.
        """
        file = self._opened()
        if file is None:
            return
        with storage_guard("read", self.path), file:
            file.seek(self._offset)
            while (data := file.readline(MAX_LINE_BYTES + 1)).endswith(b"\n"):
                self._offset += len(data)
                self._last = data
                self._line += 1
                if data.strip():
                    yield parse_record(data, source=str(self.path), line=self._line)
            if len(data) > MAX_LINE_BYTES:
                raise DataError(
                    f"{self.path}:{self._line + 1}: the line is damaged: it has more than {MAX_LINE_BYTES} bytes"
                )
            self.unfinished = data

    def unfinished_record(self) -> TelemetryRecord | None:
        """Return the record behind the last newline if it is whole: some programs write no newline at the end."""
        if not self.unfinished.strip():
            return None
        try:
            record = parse_record(self.unfinished, source=str(self.path), line=self._line + 1)
        except DataError:
            return None
        self.unfinished = b""
        return record

    def _opened(self) -> BinaryIO | None:
        if not self.exists():
            return None
        with storage_guard("read", self.path):
            try:
                return self.path.open("rb")
            except FileNotFoundError:  # it has vanished since
                return None
