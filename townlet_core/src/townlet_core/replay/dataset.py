"""`Dataset`: a directory of shards, opened without reading them; columns are memory-mapped when they are asked for.

Everything that is read is checked first: names are plain, files are regular, not links, and as long as they have to be,
headers say what the manifest says, and nothing is ever unpickled. Contents are compared with their SHA-256 by `verify`.

Legend: R rows (agent-steps), E episodes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.checkpoint.manifest import read_file
from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.documents import parse_manifest
from townlet_core.replay.mistaken import mistaken
from townlet_core.replay.schema import DATASET_NAME, MAX_DATASET_BYTES, DatasetManifest, EpisodeEntry
from townlet_core.replay.shard import Shard
from townlet_core.replay.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from townlet_core.arrays import Array

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
