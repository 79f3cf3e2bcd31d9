"""`ShardView`: the parts of a shard that can be read, and where its rows and episodes are for a reader.

Legend: R rows, E episodes of the shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from townlet_core.arrays import Array
    from townlet_core.replay.schema import ColumnSpec, DatasetManifest, EpisodeEntry
    from townlet_core.replay.shard import Shard


class ShardView:
    """A shard whose episodes could be read.

    Args:
        shard: the shard.
        manifest: of the dataset.
        entries: its episodes.
        first_episode: number of the first of them, counted over all shards.
        readable: names of the columns whose files are intact and fit.

    Attributes:
        num_steps: (E,) int64.
        starts: (E,) int64, first row of each episode.
        lasts: (E,) int64, last row of each.
    """

    def __init__(
        self,
        shard: Shard,
        manifest: DatasetManifest,
        entries: list[EpisodeEntry],
        *,
        first_episode: int,
        readable: AbstractSet[str],
    ) -> None:
        self.shard, self.manifest, self.entries, self.first_episode = shard, manifest, entries, first_episode
        self._specs: dict[str, ColumnSpec] = {c.name: c for c in manifest.columns if c.name in readable}
        self.num_steps = np.array([entry.num_steps for entry in entries], np.int64)
        self.starts = np.cumsum(self.num_steps) - self.num_steps
        self.lasts = self.starts + self.num_steps - 1

    def has(self, *names: str) -> bool:
        """Return whether all these columns can be read."""
        return all(name in self._specs for name in names)

    def column(self, name: str) -> Array:
        """Return a column that can be read, (R, ...), (E, ...) or (V, ...) by its axis."""
        return self.shard.column(name)

    def foreign(self, rows: Array) -> Array:
        """Return those of some rows (n,), counted from the shard's first one, that Townlet has not recorded itself."""
        sources = self.manifest.sources
        own = {index for index, source in enumerate(sources) if source.kind != "import"}
        is_own = np.array([entry.source in own for entry in self.entries], np.bool_)
        return rows[~is_own[np.searchsorted(self.starts, rows, side="right") - 1]]

    def place_of_row(self, column: str, row: int) -> dict[str, Any]:
        """Return the fields of the `Place` of a row, counted from the shard's first one."""
        episode = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.place_of_episode(column, episode) | {"row": row - int(self.starts[episode])}

    def place_of_episode(self, column: str | None, episode: int) -> dict[str, Any]:
        """Return the fields of the `Place` of an episode, counted from the shard's first one."""
        file = "episodes.json" if column is None else self._specs[column].file
        name = f"{self.shard.entry.name}/{file}"
        return {"file": name, "episode": self.first_episode + episode, "column": column}
