"""The few operating-system calls that writing safely takes, as one object, so that tests can record and refuse them."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A flag that a system lacks is 0 there. Windows, which has no O_CLOEXEC, opens in text mode unless told otherwise.
CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
BINARY = getattr(os, "O_BINARY", 0)

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "a limit on file sizes is in force: raise it (see `ulimit -f`)",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EACCES: "check the owner and the permissions of the directory",
    errno.EPERM: "check the owner and the permissions of the directory",
    errno.ENOENT: "its directory does not exist, and is not made here",
    errno.ELOOP: "symbolic links are not followed here",
}


def storage_error(action: str, path: Path | str, error: OSError) -> StorageError:
    """Return the error for users that names `action`, `path`, the cause and what helps."""
    code = f" [{errno.errorcode.get(error.errno, error.errno)}]" if error.errno else ""
    is_itself_missing = error.errno == errno.ENOENT and Path(path).parent.is_dir()
    hint = None if is_itself_missing else _HINTS.get(error.errno or 0)
    return StorageError(f"cannot {action} {path}: {error.strerror or error}{code}" + (f" ({hint})" if hint else ""))


@contextmanager
def storage_guard(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that names `action`, `path`, the cause and what helps."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, path, error) from error


class FileSystem:
    """The calls of a writer. Each does one thing to the disk, and raises `OSError` when it cannot.

    `sync` and `sync_directory` return when the device has the data: without the first a file may be empty after a power
    loss, without the second its name may be missing.
    """

    def make_directory(self, path: Path) -> None:
        """Make the directory `path`; its parent exists, and it does not."""
        path.mkdir()

    def create(self, path: Path) -> int:
        """Create the new file `path` and return a descriptor to write to; a file or link of that name is an error."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | CLOSE_ON_EXEC | BINARY, 0o666)

    def append(self, path: Path) -> int:
        """Open the file `path`, made where it is missing, and return a descriptor that writes to its end."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_FOLLOW | CLOSE_ON_EXEC | BINARY, 0o666)

    def shorten(self, descriptor: int, size: int) -> None:
        """Cut an open file to its first `size` bytes."""
        os.ftruncate(descriptor, size)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write the beginning of `data` and return how many bytes that were."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the contents of an open file are on the device."""
        if sys.platform == "darwin":
            import fcntl

            try:  # fsync of macOS stops at the cache of the drive
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            except OSError:  # not every file system has it
                os.fsync(descriptor)
        else:
            os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in the directory `path` are on the device; Windows offers no such call."""
        if sys.platform == "win32":
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | CLOSE_ON_EXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, in one step, replacing a file of that name."""
        source.replace(target)

    def remove_file(self, path: Path) -> None:
        """Remove a file or a link."""
        path.unlink()

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()


DISK = FileSystem()
