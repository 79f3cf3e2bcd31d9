"""The files of a shard: opened, measured and hashed before anything in them is believed, and their headers."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.filesystem import BINARY, CLOSE_ON_EXEC, NO_FOLLOW, storage_error
from townlet_core.checkpoint.manifest import MANIFEST_NAME
from townlet_core.errors import DatasetError
from townlet_core.replay.schema import MAX_SHARD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

MAX_HEADER = 10_000
"""Longest header of a `.npy` file. [bytes]"""
_HASH_CHUNK = 1 << 20


def open_file(path: Path, size: int) -> int:
    """Return a descriptor of the regular file `path` of `size` bytes, to be closed.

    Raises:
        DatasetError: it is missing, another kind of file, or of another size.
        StorageError: it may not be read.
    """
    flags = os.O_RDONLY | NO_FOLLOW | CLOSE_ON_EXEC | BINARY | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except PermissionError as error:
        raise storage_error("read", path, error) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file"
    elif status.st_size != size:
        problem = f"is damaged: it has {status.st_size} bytes instead of {size}"
    if problem is not None:
        os.close(descriptor)
        raise DatasetError(f"{path} {problem}")
    return descriptor


def verify_file(path: Path, size: int, sha256: str, on_bytes: Callable[[int], None] | None = None) -> None:
    """Read a file and compare it with its size and SHA-256; raises `DatasetError`.

    Args:
        path: where it lies.
        size: what it has to have. [bytes]
        sha256: of its contents.
        on_bytes: called with the bytes looked at since the last call.
    """
    if size > MAX_SHARD_BYTES:  # of zeros that take no space on the disk there can be terabytes
        raise DatasetError(f"{path} has {size:,} bytes, more than the {MAX_SHARD_BYTES:,} allowed")
    digest = hashlib.sha256()
    descriptor = open_file(path, size)
    try:
        while chunk := os.read(descriptor, _HASH_CHUNK):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if digest.hexdigest() != sha256:
        raise DatasetError(f"{path} is damaged: its contents do not match the SHA-256 in {MANIFEST_NAME}")


def check_header(path: Path, header: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Check that the header of a `.npy` file is the one that NumPy writes for this shape and type, to the byte."""
    if header != npy_header(shape, kind):
        raise DatasetError(f"{path} is damaged: its header does not say {kind.str} of shape {shape}")


def npy_header(shape: tuple[int, ...], kind: np.dtype[Any]) -> bytes:
    """Return the header of a `.npy` file (format 1.0) for an array in C order."""
    text = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(10 + len(text) + 1) % 64
    line = (text + " " * padding + "\n").encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
