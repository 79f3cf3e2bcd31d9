"""What a directory of files has to contain: a manifest of names, sizes and SHA-256, and the reader that verifies it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from io import FileIO
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from townlet_core.checkpoint.filesystem import BINARY, CLOSE_ON_EXEC, NO_FOLLOW, storage_error
from townlet_core.errors import DataError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST_NAME = "manifest.json"
PREVIOUS_SUFFIX = ".previous"
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 4096
DEFAULT_MAX_BYTES = 4 << 30

# Letters, digits, '.', '_' and '-', no dot in front or at the end: no separator, no '..', no drive, no NUL.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")


def is_plain_name(name: str) -> bool:
    """Return whether `name` names a file in its directory on every system, and nothing anywhere else."""
    return _PLAIN_NAME.fullmatch(name) is not None


def previous_path(target: Path) -> Path:
    """Return where an old directory stands while a new one takes the name `target`."""
    return target.with_name(f".{target.name}{PREVIOUS_SUFFIX}")


class FileEntry(BaseModel):
    """One file of the directory.

    Attributes:
        name: plain file name.
        bytes: size.
        sha256: SHA-256 of the contents, lower-case hexadecimal.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not is_plain_name(name) or name.lower() == MANIFEST_NAME:
            raise ValueError(f"{name!r} is not a plain file name")
        return name


class Manifest(BaseModel):
    """The files of a directory, sorted by name.

    Attributes:
        schema_version: version of this format.
        files: one entry for each file; names differ in more than case.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    files: Annotated[tuple[FileEntry, ...], Field(max_length=MAX_FILES)]

    @field_validator("files")
    @classmethod
    def _names_differ(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        names = [entry.name.lower() for entry in files]
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise ValueError(f"names that differ in nothing but case: {', '.join(repeated)}")
        return files


def build_manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of `files` (name -> contents) as JSON; the bytes depend on nothing else.

    Raises:
        ValueError: a name is not a plain file name, or there are too many files.
    """
    entries = [
        FileEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(files.items())
    ]
    return Manifest(files=tuple(entries)).model_dump_json(indent=1).encode()


def files_digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the names and bytes of `files`, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def read_directory(
    path: Path, *, error: type[DataError] = DataError, max_bytes: int = DEFAULT_MAX_BYTES
) -> dict[str, bytes]:
    """Return the verified contents of a directory that `write_directory` wrote; files outside its manifest are ignored.

    Each file is opened once, without following a link, and the bytes returned are the bytes that were hashed.

    Args:
        path: the directory.
        error: class of the exception for everything that is wrong in the directory.
        max_bytes: the most that all files together may hold; looked at before anything is read.

    Raises:
        MissingInputError: there is no such directory.
        DataError: as `error`; the text names the file and the reason.
    """
    if not os.path.lexists(path):
        if not os.path.lexists(previous_path(path)):
            raise MissingInputError(f"{path} does not exist")
        path = previous_path(path)  # a replacement is under way, or was killed half way
    raw = read_file(path / MANIFEST_NAME, MAX_MANIFEST_BYTES, error)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as cause:
        raise error(f"{path / MANIFEST_NAME} is damaged: {first_problem(cause)}") from cause
    total = sum(entry.bytes for entry in manifest.files)
    if total > max_bytes:
        raise error(f"{path} holds {total} bytes, more than the {max_bytes} allowed")
    return {entry.name: _read_entry(path / entry.name, entry, error) for entry in manifest.files}


def first_problem(cause: ValidationError) -> str:
    """Return the first thing that is wrong with a document, and the field."""
    problem = cause.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def _read_entry(path: Path, entry: FileEntry, error: type[DataError]) -> bytes:
    data = read_file(path, entry.bytes, error)
    if len(data) != entry.bytes:
        raise error(f"{path} is damaged: it has {len(data)} bytes instead of {entry.bytes}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise error(f"{path} is damaged: its contents do not match the SHA-256 in {MANIFEST_NAME}")
    return data


def read_file(path: Path, most: int, error: type[DataError]) -> bytes:
    """Return the contents of the regular file `path`, of at most `most` bytes; links are not followed.

    Raises:
        DataError: as `error`: it is missing, larger, no regular file, or cannot be read.
        StorageError: it may not be read: then nothing is known of its contents.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for its writer.
    flags = os.O_RDONLY | NO_FOLLOW | CLOSE_ON_EXEC | BINARY | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
        with FileIO(descriptor) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path} is not a regular file")
            if status.st_size > most:
                raise error(f"{path} is damaged: it has {status.st_size} bytes instead of at most {most}")
            return _read_all(file, status.st_size)
    except FileNotFoundError as cause:
        raise error(f"{path} is missing") from cause
    except PermissionError as cause:
        raise storage_error("read", path, cause) from cause
    except (OSError, MemoryError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
        raise error(f"{path} cannot be read: {reason}") from cause


def _read_all(file: FileIO, size: int) -> bytes:
    """Return `size` bytes, fewer at the end of the file; one read is enough for files below 2 GiB."""
    data = file.read(size)
    if len(data) in (0, size):
        return data
    parts = [data]
    while len(data) > 0 and sum(map(len, parts)) < size:
        data = file.read(size - sum(map(len, parts)))
        parts.append(data)
    return b"".join(parts)
