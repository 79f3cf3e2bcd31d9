"""`Shard`: one directory of column files, which are memory-mapped when they are asked for.

Legend: R rows, E episodes, V events of the shard.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from townlet_core.checkpoint.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, read_file
from townlet_core.errors import DatasetError
from townlet_core.replay.column_file import MAX_HEADER, check_header, open_file, verify_file
from townlet_core.replay.documents import parse_entries
from townlet_core.replay.schema import (
    DATASET_NAME,
    EPISODES_NAME,
    MAX_EPISODES_BYTES,
    MAX_SHARD_BYTES,
    ColumnSpec,
    EpisodeEntry,
    ShardEntry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from townlet_core.arrays import Array


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
        if not num_bytes < size <= num_bytes + MAX_HEADER or size > MAX_SHARD_BYTES:
            raise DatasetError(f"{path} has {size} bytes, and rows of {num_bytes} bytes in all are expected")
        return shape, size, num_bytes

    def _mapped(self, spec: ColumnSpec) -> tuple[mmap.mmap, Array]:
        path = self.path / spec.file
        shape, size, num_bytes = self._layout(spec)
        descriptor = open_file(path, size)
        try:
            mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be mapped: {error}") from error
        finally:
            os.close(descriptor)
        check_header(path, mapped[: size - num_bytes], shape, spec.kind)
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
