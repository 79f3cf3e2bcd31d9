"""What the episodes of a dataset are: counted by source, part, tag and ending, without looking at their rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.dataset_summary import PartCount, SourceCount
from townlet_core.replay.dataset import ENDINGS
from townlet_core.replay.moments import quartiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.replay.schema import DatasetManifest, EpisodeEntry, Source


class EpisodeCounts:
    """Counts episodes that pass by; two numbers of each are kept."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        self.rejected = 0
        self.endings: Counter[str] = Counter()
        self._lengths: list[int] = []
        self._returns: list[float] = []
        self._by: dict[str, tuple[Counter[Any], Counter[Any]]] = {
            kind: (Counter(), Counter()) for kind in ("source", "split", "tag")
        }

    def add(self, entries: Iterable[EpisodeEntry]) -> None:
        """Take in further episodes."""
        for entry in entries:
            self.groups.add(entry.group)
            self.rejected += not entry.accepted
            self.endings[entry.ending] += 1
            self._lengths.append(entry.num_steps)
            self._returns.append(entry.episode_return)
            for kind, values in (("source", (entry.source,)), ("split", (entry.split,)), ("tag", set(entry.tags))):
                episodes, steps = self._by[kind]
                for value in values:
                    episodes[value] += 1
                    steps[value] += entry.num_steps

    def fields(self, manifest: DatasetManifest) -> dict[str, Any]:
        """Return the fields of a `DatasetSummary` that follow."""
        return {
            "episodes": len(self._lengths),
            "groups": len(self.groups),
            "rejected": self.rejected,
            "sources": tuple(self._source(index, source) for index, source in enumerate(manifest.sources)),
            "splits": self._parts("split"),
            "tags": self._parts("tag"),
            "endings": {ending: self.endings[ending] for ending in ENDINGS},
            "lengths": quartiles(np.array(self._lengths)),
            "returns": quartiles(np.array(self._returns)),
        }

    def _parts(self, kind: str) -> dict[str, PartCount]:
        episodes, steps = self._by[kind]
        return {name: PartCount(episodes=episodes[name], agent_steps=steps[name]) for name in sorted(episodes)}

    def _source(self, index: int, source: Source) -> SourceCount:
        episodes, steps = self._by["source"]
        return SourceCount(
            episodes=episodes[index],
            agent_steps=steps[index],
            kind=source.kind,
            environment=source.environment,
            scenario=source.scenario,
            variant=_variant(source),
            policy=source.policy,
            policy_digest=source.policy_digest,
            deterministic=source.deterministic,
        )


def _variant(source: Source) -> str:
    """Return which observations of the town were recorded; an empty string where the source does not say."""
    town = source.environment_config.get("town")
    variant = town.get("variant") if isinstance(town, dict) and source.environment == "town" else None
    return variant if isinstance(variant, str) else ""
