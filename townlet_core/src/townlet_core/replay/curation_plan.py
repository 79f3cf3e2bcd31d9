"""`CurationPlan`: what happens to each episode, decided before any row is read."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.curation import CurationReport, SplitCount
from townlet_core.dto.dataset_summary import PartCount
from townlet_core.errors import TownletWarning, UsageError
from townlet_core.replay.curation_rules import MAX_TAG, CurationRules, Verdicts
from townlet_core.replay.known_values import KnownValues
from townlet_core.replay.splits import assign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.trajectory import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What is made.

    Attributes:
        rules: which episodes pass.
        split: part -> share of the groups; empty for none, which leaves every episode in the part that it is in.
        seed: of the split.
        add_tags: further tags of those that pass.
        reject: keep those that do not pass too, marked as not accepted.

    Raises:
        UsageError: a tag is empty, or too long.
    """

    rules: CurationRules = field(default_factory=CurationRules)
    split: Mapping[str, float] | None = None
    seed: int = 0
    add_tags: tuple[str, ...] = ()
    reject: bool = False

    def __post_init__(self) -> None:
        for tag in self.add_tags:
            if not 0 < len(tag) <= MAX_TAG:
                raise UsageError(f"a tag has 1 to {MAX_TAG} letters; {tag[:20]!r} has {len(tag)}")

    def options(self) -> dict[str, Any]:
        """Return what differs from doing nothing, as JSON values."""
        options: dict[str, Any] = self.rules.options()
        if self.split:
            options |= {"split": dict(self.split), "seed": self.seed}
        if self.add_tags:
            options["add_tags"] = list(self.add_tags)
        if self.reject:
            options["reject"] = True
        return options


class CurationPlan:
    """What happens to each episode, decided from `episodes.json` alone.

    Args:
        datasets: where they come from.
        curation: what is made.
    """

    def __init__(self, datasets: Sequence[Dataset], curation: Curation) -> None:
        self.datasets, self.curation, self.offsets = datasets, curation, list[int]()
        self._groups: list[int] = []
        self._steps: list[int] = []
        self._was_accepted: list[bool] = []
        verdicts, known = Verdicts(curation.rules), KnownValues()
        for dataset in datasets:
            self.offsets.append(1 + max(self._groups, default=-1))
            self._add(dataset, verdicts, known)
        self._failed = verdicts.finish()
        self._kept = [curation.reject or not rule for rule in self._failed]
        if all(self._failed):
            told = "; ".join([self._told(), *known.unmatched(curation.rules)])
            raise UsageError(f"no episode passes every rule, so there would be no dataset: {told}")
        for line in known.unmatched(curation.rules):
            warnings.warn(line, TownletWarning, stacklevel=3)
        self.groups = {group for group, kept in zip(self._groups, self._kept, strict=True) if kept}
        shares = curation.split
        self.parts = assign(self.groups, shares, seed=curation.seed) if shares else {}

    def _add(self, dataset: Dataset, verdicts: Verdicts, known: KnownValues) -> None:
        sources = dict(enumerate(dataset.manifest.sources))
        for shard in dataset.shards:
            for entry in shard.entries():
                verdicts.add(entry, sources.get(entry.source))
                known.add(entry, sources.get(entry.source))
                self._groups.append(entry.group + self.offsets[-1])
                self._steps.append(entry.num_steps)
                self._was_accepted.append(entry.accepted)

    def _told(self) -> str:
        counts = Counter(rule for rule in self._failed if rule)
        return ", ".join(f"{count} fail {rule}" for rule, count in counts.items())

    @property
    def num_rows(self) -> int:
        """Rows that are kept."""
        return sum(steps for steps, kept in zip(self._steps, self._kept, strict=True) if kept)

    def keeps(self, number: int) -> bool:
        """Return whether episode `number`, counted over all datasets, is kept."""
        return self._kept[number]

    def changed(self, number: int, trajectory: Trajectory, *, source: int) -> Trajectory:
        """Return what becomes of episode `number`, which is kept, in memory of its own."""
        passes, group = not self._failed[number], self._groups[number]
        tags = trajectory.tags
        return replace(
            trajectory,
            steps={name: np.array(array) for name, array in trajectory.steps.items()},
            final={name: np.array(array) for name, array in trajectory.final.items()},
            group=group,
            source=source,
            split=self.parts.get(group, trajectory.split),
            accepted=trajectory.accepted and passes,
            tags=(*tags, *(tag for tag in self.curation.add_tags if passes and tag not in tags)),
        )

    def report(self, out: Path, digest: str | None) -> CurationReport:
        """Return what was decided."""
        numbers = [number for number, kept in enumerate(self._kept) if kept]
        return CurationReport(
            path=str(out),
            digest=digest,
            dry_run=digest is None,
            parents=tuple(str(dataset.path) for dataset in self.datasets),
            before=PartCount(episodes=len(self._steps), agent_steps=sum(self._steps)),
            after=self._count(numbers),
            failed=dict(Counter(rule for rule in self._failed if rule)),
            rejected=sum(bool(self._failed[n]) or not self._was_accepted[n] for n in numbers),
            splits={name: self._part(name, wanted, numbers) for name, wanted in (self.curation.split or {}).items()},
        )

    def _count(self, numbers: Sequence[int]) -> PartCount:
        return PartCount(episodes=len(numbers), agent_steps=sum(self._steps[number] for number in numbers))

    def _part(self, name: str, wanted: float, numbers: Sequence[int]) -> SplitCount:
        inside = self._count([number for number in numbers if self.parts[self._groups[number]] == name])
        groups = sum(part == name for part in self.parts.values())
        return SplitCount(
            episodes=inside.episodes,
            agent_steps=inside.agent_steps,
            groups=groups,
            wanted=wanted,
            share=groups / len(self.parts),
        )
