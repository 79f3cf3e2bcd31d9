"""`Dataset`: a directory of shards, opened without reading them; columns are memory-mapped when they are asked for.

Everything that is read is checked first: names are plain, files are regular, not links, and as long as they have to be,
headers say what the manifest says, and nothing is ever unpickled. Contents are compared with their SHA-256 by `verify`.

Legend: R rows (agent-steps), E episodes.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import stat
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from townlet_core.checkpoint.filesystem import BINARY, CLOSE_ON_EXEC, NO_FOLLOW, storage_error
from townlet_core.checkpoint.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, read_file
from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.mistaken import mistaken
from townlet_core.replay.schema import (
    DATASET_NAME,
    EPISODES_NAME,
    MAX_DATASET_BYTES,
    MAX_EPISODES_BYTES,
    MAX_SHARD_BYTES,
    ColumnSpec,
    DatasetManifest,
    EpisodeEntry,
    ShardEntry,
    parse_entries,
    parse_manifest,
)
from townlet_core.replay.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from townlet_core.arrays import Array

_HASH_CHUNK = 1 << 20
_MAX_HEADER = 10_000
ENDINGS = ("terminated", "truncated", "cut")


def is_dataset(path: Path) -> bool:
    """Return whether `path` is the directory of a native dataset."""
    return (path / DATASET_NAME).is_file()


def read_manifest(path: Path) -> DatasetManifest:
    """Return the manifest of the dataset in the directory `path`.

    Raises:
        MissingInputError: there is no dataset.
        DatasetError: its manifest is damaged.
    """
    return _read_manifest(path)[0]


def _read_manifest(path: Path) -> tuple[DatasetManifest, str]:
    if not os.path.lexists(path / DATASET_NAME):  # what lies there and is no file is looked at below
        reason = f"has no {DATASET_NAME}" if path.is_dir() else "does not exist" if not path.exists() else "is a file"
        raise MissingInputError(mistaken(path) or f"{path} is not a dataset: it {reason}")
    data = read_file(path / DATASET_NAME, MAX_DATASET_BYTES, DatasetError)
    return parse_manifest(data, path / DATASET_NAME), hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class EpisodeTable:
    """The episodes of a whole dataset as columns, (E,) each.

    Attributes:
        first_row: int64, number of the first row, counted over all shards.
        num_steps: int64.
        group: int64, number of the world-episode.
        agent: int64.
        life: int64.
        ending: uint8, place in `ENDINGS`.
        episode_return: float64.
        accepted: bool.
        source: int64.
        split: (E,) object array of strings.
        shard: int64, number of the shard.
        content: uint64, the first 8 bytes of the digest of what was seen, done and earned; 0 where none is recorded.
    """

    first_row: Array
    num_steps: Array
    group: Array
    agent: Array
    life: Array
    ending: Array
    episode_return: Array
    accepted: Array
    source: Array
    split: Array
    shard: Array
    content: Array


class Shard:
    """One shard of a dataset; files are opened when they are asked for.

    Attributes:
        entry: what the manifest says about it.
        path: its directory.
        first_row: number of its first row, counted over all shards.
    """

    def __init__(
        self, path: Path, entry: ShardEntry, columns: dict[str, ColumnSpec], first_row: int, num_sources: int
    ) -> None:
        self.path, self.entry, self.first_row = path, entry, first_row
        self._columns, self._num_sources = columns, num_sources
        self._maps: dict[str, tuple[mmap.mmap, Array]] = {}

    @cached_property
    def files(self) -> Manifest:
        """The shard's manifest; raises `DatasetError` where it is not the one that the dataset names."""
        path = self.path / MANIFEST_NAME
        if self.path.is_symlink():
            raise DatasetError(f"{self.path} is a link; a shard lies in the directory of its dataset")
        data = read_file(path, MAX_MANIFEST_BYTES, DatasetError)
        if hashlib.sha256(data).hexdigest() != self.entry.sha256:
            raise DatasetError(f"{path} is damaged: its contents do not match the SHA-256 in {DATASET_NAME}")
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            raise DatasetError(f"{path} is damaged: {error.errors()[0]['msg']}") from error
        names = {entry.name for entry in manifest.files}
        for name in (EPISODES_NAME, *(column.file for column in self._columns.values())):
            if name not in names:
                raise DatasetError(f"{path} does not name {name}")
        num_bytes = sum(entry.bytes for entry in manifest.files)
        if num_bytes != self.entry.num_bytes:
            raise DatasetError(f"{path} names {num_bytes} bytes in all; {DATASET_NAME} says {self.entry.num_bytes}")
        return manifest

    def entries(self) -> list[EpisodeEntry]:
        """Return the shard's episodes in the order of their rows; raises `DatasetError`."""
        path = self.path / EPISODES_NAME
        size, digest = self._promised(EPISODES_NAME)
        data = read_file(path, min(size, MAX_EPISODES_BYTES), DatasetError)
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise DatasetError(f"{path} is damaged: its contents do not match the SHA-256 in {MANIFEST_NAME}")
        entries = parse_entries(data, path)
        rows = sum(entry.num_steps for entry in entries)
        if (len(entries), rows) != (self.entry.num_episodes, self.entry.num_rows):
            raise DatasetError(
                f"{path} has {len(entries)} episodes of {rows} rows in all; {DATASET_NAME} says "
                f"{self.entry.num_episodes} of {self.entry.num_rows}"
            )
        source = max(entry.source for entry in entries)
        if source >= max(1, self._num_sources):
            raise DatasetError(f"{path} names source {source}; {DATASET_NAME} lists {self._num_sources}")
        return entries

    def _promised(self, name: str) -> tuple[int, str]:
        return next((entry.bytes, entry.sha256) for entry in self.files.files if entry.name == name)

    def column(self, name: str) -> Array:
        """Return a read-only view of a column's file, (rows, ...).

        Raises:
            DatasetError: the file is not what the manifest says; its contents are not looked at.
            KeyError: there is no such column.
        """
        if name not in self._maps:
            self._maps[name] = self._mapped(self._columns[name])
        return self._maps[name][1]

    def require_sizes(self, names: Iterable[str]) -> None:
        """Check that files are as long as their rows take, before memory is taken for those; raises `DatasetError`."""
        for name in names:
            self._layout(self._columns[name])

    def _layout(self, spec: ColumnSpec) -> tuple[tuple[int, ...], int, int]:
        """Return the shape of a column, the bytes of its file, and those of its rows."""
        path = self.path / spec.file
        counts = {
            "step": self.entry.num_rows,
            "episode": self.entry.num_episodes,
            "event": self.entry.num_events,
        }
        shape = (counts[spec.axis], *spec.shape)
        size, _ = self._promised(spec.file)
        num_bytes = math.prod(shape) * spec.kind.itemsize
        if not num_bytes < size <= num_bytes + _MAX_HEADER or size > MAX_SHARD_BYTES:
            raise DatasetError(f"{path} has {size} bytes, and rows of {num_bytes} bytes in all are expected")
        return shape, size, num_bytes

    def _mapped(self, spec: ColumnSpec) -> tuple[mmap.mmap, Array]:
        path = self.path / spec.file
        shape, size, num_bytes = self._layout(spec)
        descriptor = _open(path, size)
        try:
            mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be mapped: {error}") from error
        finally:
            os.close(descriptor)
        _check_header(path, mapped[: size - num_bytes], shape, spec.kind)
        try:
            array = np.frombuffer(mapped, spec.kind, math.prod(shape), size - num_bytes).reshape(shape)
        except ValueError as error:  # nothing, times more than an array may have
            raise DatasetError(f"{path} cannot have the shape {shape}: {error}") from error
        return mapped, array

    def forget(self, name: str) -> None:
        """Tell the system that a column will not be needed soon, so that it may take the memory.

        The rows can still be read, and then come from the file again.
        """
        self._advise("MADV_DONTNEED", name, 0, None)

    def announce(self, name: str, first: int = 0, last: int | None = None) -> None:
        """Tell the system that rows [first, last) of a column will be needed soon, so that it may read them ahead."""
        self.column(name)
        self._advise("MADV_WILLNEED", name, first, last)

    def _advise(self, advice: str, name: str, first: int, last: int | None) -> None:
        if name not in self._maps or not hasattr(mmap, advice):  # macOS and Windows lack some or all
            return
        mapped, array = self._maps[name]
        row = array.nbytes // max(1, len(array))
        header = len(mapped) - array.nbytes
        begin = (header + first * row) // mmap.PAGESIZE * mmap.PAGESIZE
        end = len(mapped) if last is None else header + last * row
        if end > begin:
            mapped.madvise(getattr(mmap, advice), begin, end - begin)

    def unmap(self) -> None:
        """Let go of the mapped files; they are mapped again when they are asked for."""
        self._maps.clear()

    def verify(self, on_bytes: Callable[[int], None] | None = None) -> list[str]:
        """Return one line for each file whose contents do not match its SHA-256; [] if all do.

        Args:
            on_bytes: called with the bytes looked at since the last call.
        """
        try:
            files = self.files.files
        except DatasetError as error:
            return [str(error)]
        problems = []
        for entry in files:
            try:
                verify_file(self.path / entry.name, entry.bytes, entry.sha256, on_bytes)
            except DatasetError as error:
                problems.append(str(error))
        return problems


class Dataset:
    """A dataset that is read.

    Attributes:
        path: its directory.
        manifest: what it says about itself.
        digest: SHA-256 of `dataset.json`, which stands for every byte of it.
        shards: its shards in the order of their rows.
        num_rows: R.
        num_episodes: E.
    """

    def __init__(self, path: Path) -> None:
        """Open the dataset at `path`; no shard is read.

        Raises:
            MissingInputError: there is none.
            DatasetError: its manifest is damaged, or it has no shards yet.
        """
        self.path = path
        self.manifest, self.digest = _read_manifest(path)
        columns = {column.name: column for column in self.manifest.columns}
        self.shards: list[Shard] = []
        self.num_rows = 0
        for entry in self.manifest.shards:
            self.shards.append(Shard(path / entry.name, entry, columns, self.num_rows, len(self.manifest.sources)))
            self.num_rows += entry.num_rows
        self.num_episodes = sum(shard.entry.num_episodes for shard in self.shards)
        if not self.shards:
            raise DatasetError(f"{path} has no shard: nothing was recorded")

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.entry.num_bytes for shard in self.shards)

    def require_intact(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Read every file and compare it with its SHA-256.

        Args:
            on_progress: called with (bytes looked at, bytes in all).

        Raises:
            DatasetError: one does not match; the text names it.
        """
        for problem in self.verify(on_progress):
            raise DatasetError(problem)

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
        """Yield one line for each file whose contents do not match its SHA-256; arguments as `require_intact`."""
        done = 0

        def count(num_bytes: int) -> None:
            nonlocal done
            done += num_bytes
            if on_progress is not None:
                on_progress(done, self.num_bytes)

        for shard in self.shards:
            yield from shard.verify(count)

    @cached_property
    def episodes(self) -> EpisodeTable:
        """The episodes as columns; about 100 bytes each stay in memory."""
        columns: dict[str, list[Any]] = {name: [] for name in EpisodeTable.__slots__}
        row = 0
        for number, shard in enumerate(self.shards):
            for entry in shard.entries():
                for name, values in columns.items():
                    if name not in ("first_row", "shard", "ending", "content"):
                        value = getattr(entry, name)
                        values.append(sys.intern(value) if isinstance(value, str) else value)
                columns["first_row"].append(row)
                columns["shard"].append(number)
                columns["content"].append(int(entry.content[:16] or "0", 16))
                columns["ending"].append(ENDINGS.index(entry.ending))
                row += entry.num_steps
        kinds: dict[str, Any] = {
            "ending": np.uint8,
            "episode_return": np.float64,
            "accepted": np.bool_,
            "split": object,
            "content": np.uint64,
        }
        return EpisodeTable(**{name: np.array(v, kinds.get(name, np.int64)) for name, v in columns.items()})

    def trajectories(self, *, columns: set[str] | None = None) -> Iterator[tuple[EpisodeEntry, Trajectory]]:
        """Yield every episode with its entry; arrays are views of the files.

        What was read of a shard is given back to the system when the next one begins.

        Args:
            columns: names of the step columns that are wanted; None for all.
        """
        steps = [name for name in self.manifest.along("step") if columns is None or name in columns]
        finals = list(self.manifest.along("episode"))
        for shard in self.shards:
            arrays = {name: shard.column(name) for name in steps}
            last = {name: shard.column(name) for name in finals}
            row = 0
            for index, entry in enumerate(shard.entries()):
                rows = {name: array[row : row + entry.num_steps] for name, array in arrays.items()}
                yield entry, Trajectory.of(entry, rows, {name: array[index] for name, array in last.items()})
                row += entry.num_steps
            for name in (*steps, *finals):
                shard.forget(name)
            shard.unmap()  # each mapped file holds a descriptor, of which some systems allow 256

    def unmap(self) -> None:
        """Let go of all mapped files; views that somebody still holds stay valid."""
        for shard in self.shards:
            shard.unmap()

    def events(self) -> Iterator[dict[str, Array]]:
        """Yield the events of each shard that has any, column -> (V,)."""
        names = list(self.manifest.along("event"))
        for shard in self.shards:
            if names and shard.entry.num_events:
                yield {name: shard.column(name) for name in names}


def _open(path: Path, size: int) -> int:
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
    descriptor = _open(path, size)
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


def _check_header(path: Path, header: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Check that the header of a `.npy` file is the one that NumPy writes for this shape and type, to the byte."""
    if header != npy_header(shape, kind):
        raise DatasetError(f"{path} is damaged: its header does not say {kind.str} of shape {shape}")


def npy_header(shape: tuple[int, ...], kind: np.dtype[Any]) -> bytes:
    """Return the header of a `.npy` file (format 1.0) for an array in C order."""
    text = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(10 + len(text) + 1) % 64
    line = (text + " " * padding + "\n").encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
