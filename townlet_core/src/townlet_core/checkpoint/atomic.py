"""Files and directories appear whole or not at all, and are on the device when the call returns.

The order is always: write under a temporary name, fsync, rename, fsync the directory. A write that fails or is killed
leaves the old contents as they were and at most a temporary `.<name>.<pid>-<n>.tmp`, which `clean_leftovers` removes.
No call makes the directory that it writes into: one that was deleted while a run was going stays deleted.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.checkpoint.manifest import MANIFEST_NAME, PREVIOUS_SUFFIX, build_manifest, previous_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"

Made = TypeVar("Made")


def write_file(path: Path, data: bytes, *, filesystem: FileSystem = DISK) -> None:
    """Write `data` to `path`, replacing what was there in one step.

    Raises:
        StorageError: the system refused; what was there is untouched.
    """
    with storage_guard("write", path):
        temporary, descriptor = _claim(path, filesystem.create)
        try:
            _write_and_close(descriptor, data, filesystem)
            filesystem.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                filesystem.remove_file(temporary)
            raise
        filesystem.sync_directory(path.parent)


def write_directory(
    target: Path, files: Mapping[str, bytes], *, replace: bool = False, filesystem: FileSystem = DISK
) -> None:
    """Write `files` (plain name -> contents) and their manifest as the directory `target`.

    Args:
        target: its parent exists.
        files: what `read_directory` returns again.
        replace: whether a directory `target` may exist. It is set aside as `.<name>.previous` until the new one is on
            the device; readers look there while there is no `target`.
        filesystem: the calls to make.

    Raises:
        StorageError: the system refused, or `target` exists and `replace` is false; what was there is untouched.
        ValueError: a name is not a plain file name.
    """
    contents = {**files, MANIFEST_NAME: build_manifest(files)}
    with storage_guard("write", target):
        temporary, _ = _claim(target, filesystem.make_directory)
        try:
            for name, data in contents.items():
                _write_and_close(filesystem.create(temporary / name), data, filesystem)
            filesystem.sync_directory(temporary)
            if replace:
                _set_aside(target, filesystem)
            _rename_new(temporary, target, filesystem)
        except BaseException:
            with suppress(OSError):
                delete_tree(temporary, filesystem=filesystem)
            raise
        filesystem.sync_directory(target.parent)
        if replace and os.path.lexists(previous_path(target)):
            delete_tree(previous_path(target), filesystem=filesystem)


def discard(path: Path, *, filesystem: FileSystem = DISK) -> None:
    """Delete the directory `path`, which loses its name first, so that no half of it is ever seen under it.

    Raises:
        StorageError: the system refused.
    """
    with storage_guard("delete", path):
        temporary, _ = _claim(path, lambda free: filesystem.rename(path, free))
        delete_tree(temporary, filesystem=filesystem)


def clean_leftovers(directory: Path, *, filesystem: FileSystem = DISK) -> list[str]:
    """Delete what killed writes left in `directory`, finish what they replaced, and return the names dealt with.

    Only the one writer of a directory may call this.

    Raises:
        StorageError: the system refused.
    """
    with storage_guard("clean", directory):
        names = sorted(path.name for path in directory.iterdir() if path.name.startswith("."))
        leftovers = [name for name in names if name.endswith((TEMPORARY_SUFFIX, PREVIOUS_SUFFIX))]
        for name in leftovers:
            target = directory / name[1:].removesuffix(PREVIOUS_SUFFIX)
            if name.endswith(PREVIOUS_SUFFIX) and not os.path.lexists(target):
                filesystem.rename(directory / name, target)
            else:
                filesystem.sync_directory(directory)  # is what took its place on the device?
                delete_tree(directory / name, filesystem=filesystem)
    return leftovers


def delete_tree(path: Path, *, filesystem: FileSystem = DISK) -> None:
    """Delete a file, a link (never what it points to) or a directory with all that is in it; raises `OSError`."""
    if not stat.S_ISDIR(path.lstat().st_mode):
        filesystem.remove_file(path)
        return
    for child in sorted(path.iterdir()):
        delete_tree(child, filesystem=filesystem)
    filesystem.remove_directory(path)


def _claim(path: Path, make: Callable[[Path], Made]) -> tuple[Path, Made]:
    """Make something under a temporary name beside `path` that nobody has, and return the name and what was made."""
    for attempt in count():
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{attempt}{TEMPORARY_SUFFIX}")
        if os.path.lexists(temporary):
            continue
        with suppress(FileExistsError):
            return temporary, make(temporary)
    raise AssertionError  # count() does not end


def _write_and_close(descriptor: int, data: bytes, filesystem: FileSystem) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[filesystem.write(descriptor, rest) :]
        filesystem.sync(descriptor)
    finally:
        filesystem.close(descriptor)


def _set_aside(target: Path, filesystem: FileSystem) -> None:
    """Free the name `target` for its successor."""
    previous = previous_path(target)
    if not os.path.lexists(target):
        return
    if os.path.lexists(previous):  # of a replacement that was killed near its end: is `target` on the device?
        filesystem.sync_directory(target.parent)
        delete_tree(previous, filesystem=filesystem)
    filesystem.rename(target, previous)


def _rename_new(temporary: Path, target: Path, filesystem: FileSystem) -> None:
    """Give a directory a name that nothing has; if that fails, what was set aside for it comes back."""
    if os.path.lexists(target):  # rename would replace an empty directory without a word
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    try:
        filesystem.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            filesystem.rename(previous_path(target), target)
        raise
