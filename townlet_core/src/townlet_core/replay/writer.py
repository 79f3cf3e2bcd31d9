"""`DatasetWriter`: trajectories in, shards out; what was finished when it is killed is a valid dataset.

A shard is gathered in memory, written as a directory of its own, and only then named in `dataset.json`, which is
replaced in one step. So memory stays at a few times `shard_bytes` however much is written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import ValidationError

from townlet_core.checkpoint.atomic import clean_leftovers, delete_tree, write_directory, write_file
from townlet_core.checkpoint.filesystem import DISK, FileSystem, storage_guard
from townlet_core.checkpoint.manifest import MANIFEST_NAME
from townlet_core.errors import DatasetError, UsageError
from townlet_core.replay.column_file import npy_header
from townlet_core.replay.columns import EVENT_COLUMNS
from townlet_core.replay.dataset import read_manifest
from townlet_core.replay.documents import entries_bytes, first_problem, manifest_bytes, parse_manifest
from townlet_core.replay.schema import DATASET_NAME, EPISODES_NAME, ColumnSpec, DatasetManifest, ShardEntry, Source
from townlet_core.replay.written_columns import columns_of, difference
from townlet_core.spaces import space_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gymnasium import spaces

    from townlet_core.arrays import Array
    from townlet_core.replay.schema import EpisodeEntry, Parent
    from townlet_core.replay.trajectory import Trajectory

DEFAULT_SHARD_BYTES = 32 << 20
_MOST_SHARDS_AT_ONCE = 4
"""A world-episode that is larger than so many shards is written in parts."""
_ENTRY_BYTES = 32 << 20
"""A shard is written when what `episodes.json` says has grown to this: readers take no more than 256 MiB. [bytes]"""


class DatasetWriter:
    """Writes a dataset; use it with `with`, which completes it, or after an error keeps what was finished.

    Args:
        path: the directory: new, or empty; made with its parents.
        observation_spaces: flattened name -> leaf space of one agent.
        action_space: its action space.
        action_names: what the numbers of a Discrete action mean.
        feature_names: observation name -> what its entries are called.
        event_kinds: what `event.kind` counts; without any, no events are kept.
        sources: where episodes are from; `add_source` adds further ones.
        parents: the datasets that this one is made from.
        shard_bytes: a shard is written when its arrays have grown to this and another world-episode begins, or to
            four times this.
        filesystem: the calls to make.

    Attributes:
        num_episodes: added so far.
        num_rows: added so far.

    Raises:
        UsageError: something else is at `path`.
        StorageError: the system refused.
    """

    def __init__(
        self,
        path: Path,
        *,
        observation_spaces: Mapping[str, spaces.Space[Any]],
        action_space: spaces.Space[Any],
        action_names: Sequence[str] = (),
        feature_names: Mapping[str, Sequence[str]] | None = None,
        event_kinds: Sequence[str] = (),
        sources: Sequence[Source] = (),
        parents: Sequence[Parent] = (),
        shard_bytes: int = DEFAULT_SHARD_BYTES,
        filesystem: FileSystem = DISK,
    ) -> None:
        with storage_guard("make", path):
            path.mkdir(parents=True, exist_ok=True)
            if next(path.iterdir(), None) is not None:
                raise UsageError(f"{path} is not empty: choose another directory, or --append to the dataset there")
        self._begin(path, shard_bytes, filesystem)
        self._manifest: dict[str, Any] = {
            "observations": {name: space_to_json(space) for name, space in observation_spaces.items()},
            "action": space_to_json(action_space),
            "action_names": tuple(action_names),
            "feature_names": {name: tuple(names) for name, names in (feature_names or {}).items()},
            "event_kinds": tuple(event_kinds),
            "parents": tuple(parents),
        }
        self._sources = list(sources)
        self._columns: tuple[ColumnSpec, ...] = ()
        self._shards: list[ShardEntry] = []

    def _begin(self, path: Path, shard_bytes: int, filesystem: FileSystem) -> None:
        self.path = path
        self.num_episodes = self.num_rows = 0
        self._shard_bytes, self._filesystem = shard_bytes, filesystem
        self._waiting: list[Trajectory] = []
        self._entries: list[EpisodeEntry] = []
        self._events: list[Mapping[str, Array]] = []
        self._waiting_bytes = self._entry_bytes = self._num_named = 0
        self._known = {_digest(path / DATASET_NAME)}

    @classmethod
    def append(cls, path: Path, *, shard_bytes: int = DEFAULT_SHARD_BYTES, filesystem: FileSystem = DISK) -> Self:
        """Return a writer that goes on with the dataset at `path`; what a killed writer left unfinished is deleted.

        Raises:
            MissingInputError: there is none.
            DatasetError: its manifest is damaged.
            StorageError: the system refused.
        """
        self = cls.__new__(cls)
        self._begin(path, shard_bytes, filesystem)
        manifest = read_manifest(path)
        self._manifest = manifest.model_dump(exclude={"columns", "sources", "shards", "complete"})
        self._manifest["parents"] = manifest.parents
        self._sources, self._columns, self._shards = list(manifest.sources), manifest.columns, list(manifest.shards)
        self.num_episodes = sum(shard.num_episodes for shard in self._shards)
        self.num_rows = sum(shard.num_rows for shard in self._shards)
        self._num_named = len(self._shards)
        known = {shard.name for shard in self._shards}
        clean_leftovers(path, filesystem=filesystem)
        with storage_guard("clean", path):
            for child in sorted(path.iterdir()):
                if child.name.startswith("shard-") and child.name not in known:
                    delete_tree(child, filesystem=filesystem)
        return self

    def add_source(self, source: Source) -> int:
        """Return the place of `source` in the list, adding it if it is new."""
        if source not in self._sources:
            self._sources.append(source)
        return self._sources.index(source)

    def add(self, trajectory: Trajectory) -> None:
        """Add one episode; its arrays must not change until the next `flush`.

        Raises:
            DatasetError: it has other columns than those before it, or of other shapes or types.
            StorageError: a shard was full and could not be written.
        """
        columns = columns_of(trajectory, has_events=bool(self._manifest["event_kinds"]))
        if not self._columns:
            self._columns = columns
            self._parse()  # what does not fit the spaces is refused here
        elif columns != self._columns:
            raise DatasetError(f"{self.path}: {difference(self._columns, columns)}")
        if not trajectory.source < max(1, len(self._sources)):
            raise DatasetError(f"{self.path}: episode {self.num_episodes} names source {trajectory.source} of none")
        try:
            entry = trajectory.entry()
        except ValidationError as error:
            raise DatasetError(f"{self.path}: episode {self.num_episodes}: {first_problem(error)}") from error
        self._end_shard_before(trajectory.group)
        self._entries.append(entry)
        self._waiting.append(trajectory)
        self.num_episodes += 1
        self.num_rows += trajectory.num_steps
        self._waiting_bytes += sum(array.nbytes for array in trajectory.steps.values())
        self._entry_bytes += len(entry.model_dump_json(exclude_defaults=True))
        if self._waiting_bytes >= _MOST_SHARDS_AT_ONCE * self._shard_bytes or self._entry_bytes >= _ENTRY_BYTES:
            self.flush()

    def _end_shard_before(self, group: int) -> None:
        """Write a shard that is full once another world-episode begins: a kill then tears none apart."""
        if self._waiting_bytes >= self._shard_bytes and self._waiting[-1].group != group:
            self.flush()

    def add_events(self, events: Mapping[str, Array]) -> None:
        """Add events, column -> (V,) as in `EVENT_COLUMNS`; they are written with the episodes that are added next.

        Events without an episode after them are not written: add those of a world-episode before its episodes.
        """
        if events.keys() != EVENT_COLUMNS.keys():
            raise ValueError(f"events have the columns {sorted(events)}, expected {sorted(EVENT_COLUMNS)}")
        if len(events["event.group"]):
            self._end_shard_before(int(events["event.group"][0]))
        self._events.append(events)

    def extend(self, trajectories: Iterable[Trajectory]) -> None:
        """Add several episodes."""
        for trajectory in trajectories:
            self.add(trajectory)

    def flush(self) -> None:
        """Write what is waiting as a shard, and name it in `dataset.json`; without any, nothing is written.

        Raises:
            DatasetError: somebody else writes to the dataset too.
            StorageError: the system refused; the dataset is as it was, and the next call tries again.
        """
        if self._waiting:
            self._write_shard()
        if self._num_named < len(self._shards):
            self._write_manifest(complete=False)

    def _write_shard(self) -> None:
        name = f"shard-{1 + max((int(shard.name[6:]) for shard in self._shards), default=-1):06d}"
        files = {column.file: _npy(self._gathered(column)) for column in self._columns}
        files[EPISODES_NAME] = entries_bytes(self._entries)
        num_events = sum(len(events["event.step"]) for events in self._events)
        self._require_alone()
        # What has this name is from a call that was interrupted, and not part of the dataset.
        write_directory(self.path / name, files, replace=True, filesystem=self._filesystem)
        shard = ShardEntry(
            name=name,
            num_rows=sum(entry.num_steps for entry in self._entries),
            num_episodes=len(self._entries),
            num_events=num_events,
            num_bytes=sum(map(len, files.values())),
            sha256=hashlib.sha256((self.path / name / MANIFEST_NAME).read_bytes()).hexdigest(),
        )
        # Both at once: were the shard named later, an error on the way would leave its episodes to be written twice.
        self._shards.append(shard)
        self._waiting, self._entries, self._events, self._waiting_bytes, self._entry_bytes = [], [], [], 0, 0

    def _gathered(self, column: ColumnSpec) -> Array:
        if column.axis == "event":
            parts = [np.asarray(events[column.name], column.kind) for events in self._events]
            return np.concatenate(parts) if parts else np.zeros((0, *column.shape), column.kind)
        if column.axis == "episode":
            return np.stack([np.asarray(trajectory.final[column.name], column.kind) for trajectory in self._waiting])
        return np.concatenate([trajectory.steps[column.name] for trajectory in self._waiting])

    def close(self) -> DatasetManifest:
        """Write what is waiting, say that the dataset is complete, and return its manifest.

        Raises:
            DatasetError: no episode was added.
            StorageError: the system refused.
        """
        self.flush()
        if not self._shards:
            raise DatasetError(f"{self.path}: no episode was recorded, so there is no dataset")
        return self._write_manifest(complete=True)

    def _write_manifest(self, *, complete: bool) -> DatasetManifest:
        manifest = self._parse(shards=tuple(self._shards), complete=complete)
        data = manifest_bytes(manifest)
        self._require_alone()
        self._known.add(hashlib.sha256(data).hexdigest())  # an error may come after the file has been replaced
        write_file(self.path / DATASET_NAME, data, filesystem=self._filesystem)
        self._known = {hashlib.sha256(data).hexdigest()}
        self._num_named = len(self._shards)
        return manifest

    def _require_alone(self) -> None:
        """Check that `dataset.json` is the one that this writer has read or written; raises `DatasetError`."""
        path = self.path / DATASET_NAME
        if _digest(path) not in self._known:
            raise DatasetError(f"{path} was changed by another program meanwhile: let one at a time write to a dataset")

    def _parse(self, **fields: Any) -> DatasetManifest:
        manifest = DatasetManifest(**self._manifest, columns=self._columns, sources=tuple(self._sources), **fields)
        return parse_manifest(manifest_bytes(manifest), self.path / DATASET_NAME)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._shards or self._waiting:
            self.flush()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; an empty string where there is none."""
    with storage_guard("read", path):
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _npy(array: Array) -> bytes:
    """Return the bytes of a `.npy` file, little-endian and in C order."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return npy_header(little.shape, little.dtype) + little.tobytes()
