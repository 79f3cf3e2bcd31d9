"""One writer for each run: a lock that the operating system frees when its holder ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from townlet_core.checkpoint.filesystem import CLOSE_ON_EXEC, NO_FOLLOW, storage_guard
from townlet_core.errors import RunLockedError, StorageError
from townlet_core.runs.status import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.runs.status import Clock

LOCK_NAME = ".lock"
# `is_locked` holds a shared lock for an instant: a writer that meets it tries again.
_ATTEMPTS, _PAUSE_SEC = 10, 0.02
_BUSY = {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_held: WeakSet[RunLock] = WeakSet()


class RunLock:
    """The right to write to one run directory, to be held in a `with` block.

    A forked child gives up its copy at once, and a program that is started never gets one: no child keeps the lock of
    a run whose parent was killed.

    Args:
        directory: the run directory; it exists.
        clock: seconds since 1970, for `since` in what others are told.
    """

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunLockedError: another process, or another `RunLock` of this one, has it.
            StorageError: the directory is gone, read-only or of a file system without locks.
        """
        if self._descriptor is not None:
            raise RunLockedError(f"{self.directory} is already locked by this object")
        path = self.directory / LOCK_NAME
        with storage_guard("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | CLOSE_ON_EXEC | NO_FOLLOW, 0o666)
            try:
                if not _locked_after_a_while(descriptor):
                    raise RunLockedError(f"{self.directory} is in use by {_holder(descriptor)}")
                _introduce(descriptor, self._clock())
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        _give_up_in_forked_children(self)
        try:
            self.check()  # another process may have withdrawn its run, lock and all, since the file was opened
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Free the lock; its file stays, since removing it would let two others lock two different files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def check(self) -> None:
        """Raise `StorageError` if the lock is not held, or the directory is not the one that was locked."""
        if self._descriptor is None:
            raise StorageError(f"{self.directory} is not locked")
        path = self.directory / LOCK_NAME
        held = os.fstat(self._descriptor)
        try:
            found = path.lstat()
        except OSError as error:
            raise StorageError(f"{self.directory} was deleted or moved by another program") from error
        if (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
            raise StorageError(f"{self.directory} was replaced by another program")

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def is_locked(directory: Path) -> bool:
    """Return whether some process holds the lock of a run directory; nothing is written or created."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | CLOSE_ON_EXEC | NO_FOLLOW)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, exclusive=False)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)


def _locked_after_a_while(descriptor: int) -> bool:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SEC)
        if _try_lock(descriptor, exclusive=True):
            return True
    return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, *, exclusive: bool) -> bool:  # noqa: ARG001  (Windows has exclusive locks only)
        """Lock a byte far behind the text, since nobody else may read what is locked there."""
        try:
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True
else:
    import fcntl

    def _try_lock(descriptor: int, *, exclusive: bool) -> bool:
        """Lock the open file, which every copy of the descriptor shares, and return whether that worked."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True


def _introduce(descriptor: int, now: float) -> None:
    """Write who holds the lock; the text is information, the lock itself is the system's."""
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp(now)}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(holder).encode())


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(descriptor, 1024))
        text = f"process {int(holder['pid'])} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "another process"
    return text if text.isprintable() else "another process"


def _give_up_in_forked_children(lock: RunLock) -> None:
    _register_release()
    _held.add(lock)


@cache
def _register_release() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_release_all)


def _release_all() -> None:
    for lock in list(_held):
        lock.release()
