"""`events.jsonl`: one line for each event, each with the SHA-256 of the line before, and never rewritten.

What a killed write left behind the last whole line was never acknowledged: readers do not believe it, and the next
writer cuts it off.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.checkpoint.manifest import first_problem, read_file
from townlet_core.dto.promotion import ReleaseEvent
from townlet_core.errors import DataError
from townlet_core.releases.state import NOTHING, ReleaseState

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.checkpoint.filesystem import FileSystem
    from townlet_core.dto.comparison import Verdict

LOG_NAME = "events.jsonl"
MAX_LOG_BYTES = 256 << 20
MAX_LINE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A log that was read and whose lines follow from each other.

    Attributes:
        events: its events.
        digests: the SHA-256 of each line, without its newline.
        states: how things stood after each.
        size: bytes of these lines.
        torn: bytes behind them that nobody was told are safe.
    """

    events: tuple[ReleaseEvent, ...] = ()
    digests: tuple[str, ...] = ()
    states: tuple[ReleaseState, ...] = ()
    size: int = 0
    torn: int = 0

    @property
    def head(self) -> str:
        """SHA-256 of the last line; zeros where there is none."""
        return self.digests[-1] if self.digests else NOTHING

    @property
    def state(self) -> ReleaseState:
        """How things stand."""
        return self.states[-1] if self.states else ReleaseState()

    def manifest_of(self, release: str) -> str:
        """Return the SHA-256 of the manifest of a release's bundle; empty if no event is about that release."""
        return next((event.manifest for event in self.events if event.release == release), "")

    def run_of(self, release: str) -> str:
        """Return the name of the run that a release came from; empty if nobody said."""
        return next((event.run for event in self.events if event.release == release and event.run), "")

    def known_verdict(self, run: str, policy: str, verdict: Verdict, evidence_file: str) -> ReleaseEvent | None:
        """Return the event that recorded a verdict, or that counts the policy in the streak; None if there is none."""
        for event in reversed(self.events):
            if (run, policy, verdict, evidence_file) == (event.run, event.policy, event.verdict, event.evidence_file):
                return event
            if verdict == event.verdict == "PASS" and event.policy == policy and policy in self.state.passed:
                return event
        return None


def read_log(path: Path, *, acknowledged: int) -> History:
    """Return what the log at `path` says; an empty history if there is none.

    Args:
        path: the log.
        acknowledged: lines that are known to have been written to the end. One more that makes no sense is what a power
            loss left of the next one.

    Raises:
        DataError: a line is damaged, or does not follow from those before; the text names it.
        StorageError: it may not be read.
    """
    data = read_file(path, MAX_LOG_BYTES, DataError) if os.path.lexists(path) else b""
    lines = data.split(b"\n")[:-1]
    events: list[ReleaseEvent] = []
    digests: list[str] = []
    states: list[ReleaseState] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = _decoded(line)
            state = _next(states[-1] if states else ReleaseState(), digests[-1] if digests else NOTHING, event)
        except ValueError as error:
            if number == len(lines) == acknowledged + 1:
                lines = lines[:-1]
                break
            raise DataError(f"{path} is damaged at line {number}: {error}") from error
        events.append(event)
        digests.append(hashlib.sha256(line).hexdigest())
        states.append(state)
    size = sum(len(line) + 1 for line in lines)
    if len(data) - size > 2 * MAX_LINE_BYTES:
        raise DataError(f"{path} is damaged: {len(data) - size} bytes stand behind its last line")
    return History(events=tuple(events), digests=tuple(digests), states=tuple(states), size=size, torn=len(data) - size)


def encoded(event: ReleaseEvent) -> bytes:
    """Return an event as its line, without a newline; the same event always gives the same bytes."""
    line = event.model_dump_json().encode()
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"an event of {len(line)} bytes is more than the {MAX_LINE_BYTES} that a line may have")
    return line


def append(path: Path, history: History, event: ReleaseEvent, *, filesystem: FileSystem) -> History:
    """Write an event behind the last line and return the history with it, when it is on the device.

    What a killed write left behind the last line is cut off first. If the write fails, so is what it wrote.

    Args:
        path: the log; only the holder of the lock may write to it.
        history: what it says.
        event: what follows; its `previous` is the head of `history`.
        filesystem: the calls to make.

    Raises:
        StorageError: the system refused.
    """
    line = encoded(event)
    state = _next(history.state, history.head, event)
    with storage_guard("write", path):
        descriptor = filesystem.append(path)
        try:
            if history.torn:
                filesystem.shorten(descriptor, history.size)
            try:
                _write(descriptor, line + b"\n", filesystem)
                filesystem.sync(descriptor)
            except OSError:
                with suppress(OSError):
                    filesystem.shorten(descriptor, history.size)
                raise
        finally:
            filesystem.close(descriptor)
        if not history.events:  # a killed writer may have made the file, and its name may not be on the device
            filesystem.sync_directory(path.parent)
    return History(
        events=(*history.events, event),
        digests=(*history.digests, hashlib.sha256(line).hexdigest()),
        states=(*history.states, state),
        size=history.size + len(line) + 1,
    )


def sync_log(path: Path, *, filesystem: FileSystem) -> None:
    """Return when the log, if there is one, is on the device as far as it was written; raises `OSError`."""
    if path.exists():
        descriptor = filesystem.append(path)
        try:
            filesystem.sync(descriptor)
        finally:
            filesystem.close(descriptor)


def _next(state: ReleaseState, head: str, event: ReleaseEvent) -> ReleaseState:
    if event.previous != head:
        raise ValueError("it does not hold the SHA-256 of the line before: one of the two was changed")
    return state.after(event)


def _write(descriptor: int, data: bytes, filesystem: FileSystem) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[filesystem.write(descriptor, rest) :]


def _decoded(line: bytes) -> ReleaseEvent:
    """Return the event of a line; raises `ValueError` unless the line is exactly what that event is written as."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"it has {len(line)} bytes")
    try:
        event = ReleaseEvent.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    if encoded(event) != line:
        raise ValueError("it is not written as an event is")
    return event
