"""Checks between episodes: duplicates, overlaps, and what leaks from one split or dataset into another.

About 200 bytes of every episode are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.finding_log import FindingLog
    from townlet_core.replay.schema import DatasetManifest, EpisodeEntry
    from townlet_core.replay.shard_view import ShardView

Origin = tuple[str, str, str, int]
"""Environment, scenario, its digest, and seed: two episodes of the same begin alike."""


@dataclass(slots=True)
class Seen:
    """What is known of the episodes of another dataset.

    Attributes:
        contents: content digests.
        origins: what world-episodes were drawn from.
    """

    contents: set[bytes] = field(default_factory=set)
    origins: set[Origin] = field(default_factory=set)

    @classmethod
    def of(cls, dataset: Dataset) -> Seen:
        """Return what is known of `dataset`; raises `DatasetError`."""
        seen = cls()
        for shard in dataset.shards:
            for entry in shard.entries():
                if entry.content:
                    seen.contents.add(bytes.fromhex(entry.content))
                origin = _origin(dataset.manifest, entry)
                if origin is not None:
                    seen.origins.add(origin)
        return seen


def _origin(manifest: DatasetManifest, entry: EpisodeEntry) -> Origin | None:
    if entry.seed is None or entry.source >= len(manifest.sources):
        return None
    source = manifest.sources[entry.source]
    return source.environment, source.scenario, source.scenario_digest, entry.seed


class Independence:
    """Looks at every episode once, and at the end at all of them.

    Args:
        manifest: of the dataset.
        other: the episodes of the dataset that it is compared with.
    """

    def __init__(self, manifest: DatasetManifest, other: Seen | None) -> None:
        self._manifest, self._other = manifest, other
        self._content: dict[bytes, tuple[int, str]] = {}
        self._split: dict[int, tuple[int, str]] = {}
        self._group: dict[tuple[int, int], tuple[int, int]] = {}
        self._spans: list[tuple[int, int, int, int, int]] = []
        self._reported: set[tuple[str, Any]] = set()

    def add(self, view: ShardView, log: FindingLog) -> None:
        """Take in the episodes of one shard."""
        for number, entry in enumerate(view.entries, view.first_episode):
            place = view.place_of_episode(None, number - view.first_episode)
            self._spans.append((entry.group, entry.agent, entry.start_step, entry.num_steps, number))
            self._look_for_content(entry, place, log)
            self._look_for_group(entry, place, log)
            self._look_for_seed(entry, place, log)

    def _look_for_content(self, entry: EpisodeEntry, place: dict[str, Any], log: FindingLog) -> None:
        if not entry.content:
            return
        content = bytes.fromhex(entry.content)
        first, split = self._content.setdefault(content, (place["episode"], entry.split))
        if first != place["episode"]:
            apart = split != entry.split
            where = f"; they are in the splits '{split}' and '{entry.split}'" if apart else ""
            log.add("D402" if apart else "D306", f"it is equal to episode {first}{where}", **place)
        if self._other is not None and content in self._other.contents:
            log.add("D403", **place)

    def _look_for_group(self, entry: EpisodeEntry, place: dict[str, Any], log: FindingLog) -> None:
        first, split = self._split.setdefault(entry.group, (place["episode"], entry.split))
        if split != entry.split:
            detail = f"world-episode {entry.group} is in '{split}' (episode {first}) and in '{entry.split}'"
            self._once("D401", (entry.group, entry.split), detail, place, log)

    def _look_for_seed(self, entry: EpisodeEntry, place: dict[str, Any], log: FindingLog) -> None:
        if entry.seed is None:
            return
        first, group = self._group.setdefault((entry.source, entry.seed), (place["episode"], entry.group))
        if group != entry.group:
            detail = f"world-episodes {group} (episode {first}) and {entry.group} have seed {entry.seed}"
            self._once("D405", entry.group, detail, place, log)
        if self._other is not None and _origin(self._manifest, entry) in self._other.origins:
            self._once("D404", entry.group, f"seed {entry.seed}", place, log)

    def _once(self, code: str, key: Any, detail: str, place: dict[str, Any], log: FindingLog) -> None:
        """Note what concerns a group once, not for each of its episodes."""
        if (code, key) not in self._reported:
            self._reported.add((code, key))
            log.add(code, detail, **place)

    def finish(self, log: FindingLog) -> None:
        """Look at what needs all episodes."""
        if not self._spans:
            return
        group, agent, start, steps, number = np.array(self._spans, np.int64).T
        order = np.lexsort((start, agent, group))
        same = (np.diff(group[order]) == 0) & (np.diff(agent[order]) == 0)
        overlap = same & (start[order][1:] < (start + steps)[order][:-1])
        for index in np.flatnonzero(overlap).tolist():
            earlier, later = order[index], order[index + 1]
            log.add(
                "D307",
                f"agent {agent[later]} of world-episode {group[later]}: steps {start[earlier]} to "
                f"{start[earlier] + steps[earlier] - 1} are episode {number[earlier]}, and this one begins at "
                f"{start[later]}",
                episode=int(number[later]),
            )
