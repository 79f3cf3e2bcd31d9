"""`KnownValues`: what episodes can be chosen by, to tell the values of a rule that none of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.errors import suggestion
from townlet_core.replay.curation_rules import acted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.replay.curation_rules import CurationRules
    from townlet_core.replay.schema import EpisodeEntry, Source

_MOST_TOLD = 12


class KnownValues:
    """Gathers the values of all episodes that pass by."""

    def __init__(self) -> None:
        self._tags: set[str] = set()
        self._endings: set[str] = set()
        self._agents: set[int] = set()
        self._sources: list[Source] = []

    def add(self, entry: EpisodeEntry, source: Source | None) -> None:
        """Take in one episode and where it is from."""
        self._tags.update(entry.tags)
        self._endings.add(entry.ending)
        self._agents.add(entry.agent)
        if source is not None and not any(source is known for known in self._sources):
            self._sources.append(source)

    def unmatched(self, rules: CurationRules) -> Iterator[str]:
        """Yield one line for each value of a rule that no episode has; it names those that there are."""
        policies = {source.policy for source in self._sources if source.policy}
        scenarios = {source.scenario for source in self._sources if source.scenario}
        for rule, wanted, known in (
            ("tag", rules.tag, self._tags),
            ("not-tag", rules.not_tag, self._tags),
            ("ending", rules.ending, self._endings),
            ("scenario", rules.scenario, scenarios),
            ("agent", map(str, rules.agent), set(map(str, self._agents))),
            ("source-policy", rules.source_policy, policies),
        ):
            for value in wanted:
                is_known = value in known
                if rule == "source-policy":
                    is_known = any(acted(source, value) for source in self._sources)
                if not is_known:
                    yield f"no episode has --{rule} {value} ({_told(known)}){suggestion(value, known)}"


def _told(known: set[str]) -> str:
    shown = sorted(known, key=lambda value: (len(value), value) if value.isdigit() else (0, value))[:_MOST_TOLD]
    if not shown:
        return "they have none"
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"there are {', '.join(shown)}{more}"
