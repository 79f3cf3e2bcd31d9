"""`CurationRules` and `Verdicts`: which episodes pass, one by one and compared with each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from townlet_core.replay.schema import EpisodeEntry, Source

_DIGEST_LETTERS = 8
_ROUNDING = 1e-9  # 0.1 of 30 is 3, and not 4
MAX_TAG = 256
Word = Annotated[str, Field(min_length=1, max_length=MAX_TAG)]


class CurationRules(BaseModel):
    """What an episode has to be; of several values of one rule, any will do."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accepted_only: bool = Field(default=False, description="Leave out what an earlier curator has rejected.")
    min_length: int | None = Field(default=None, ge=1, description="Fewest steps. [agent-steps]")
    max_length: int | None = Field(default=None, ge=1, description="Most steps. [agent-steps]")
    min_return: float | None = Field(default=None, description="Least return. [reward]")
    max_return: float | None = Field(default=None, description="Highest return. [reward]")
    tag: tuple[Word, ...] = Field(default=(), description="Tags, one of which it has.")
    not_tag: tuple[Word, ...] = Field(default=(), description="Tags, none of which it has.")
    scenario: tuple[Word, ...] = Field(default=(), description="Scenarios, one of which it was recorded in.")
    agent: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="Agents, one of which it is of.")
    ending: tuple[Literal["terminated", "truncated", "cut"], ...] = Field(
        default=(), description="Endings, one of which it has."
    )
    source_policy: tuple[Word, ...] = Field(
        default=(), description="Policies, one of which acted: names, or at least 8 letters of a digest."
    )
    dedupe: bool = Field(default=False, description="Of equal episodes, only the first accepted one, else the first.")
    top_return: float | None = Field(
        default=None, gt=0, le=1, description="Of those that pass everything above, this share of the best. [share]"
    )
    limit_episodes: int | None = Field(default=None, ge=1, description="Of those that pass, only the first. [episodes]")

    @classmethod
    def of(cls, **rules: Any) -> CurationRules:
        """Return the rules; those that are None are not set.

        Raises:
            UsageError: one has a value that it cannot have.
        """
        try:
            return cls(**{name: value for name, value in rules.items() if value is not None})
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            rule = str(problem["loc"][0]).replace("_", "-")
            raise UsageError(f"--{rule} cannot be {problem['input']!r}: {problem['msg'].lower()}") from error

    def options(self) -> dict[str, object]:
        """Return the rules that are set, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def failed(self, entry: EpisodeEntry, source: Source | None) -> str:
        """Return the first rule that an episode alone does not pass; an empty string for none."""
        tags = set(entry.tags)
        passes = {
            "accepted_only": entry.accepted or not self.accepted_only,
            "min_length": self.min_length is None or entry.num_steps >= self.min_length,
            "max_length": self.max_length is None or entry.num_steps <= self.max_length,
            "min_return": self.min_return is None or entry.episode_return >= self.min_return,
            "max_return": self.max_return is None or entry.episode_return <= self.max_return,
            "tag": not self.tag or not tags.isdisjoint(self.tag),
            "not_tag": tags.isdisjoint(self.not_tag),
            "scenario": not self.scenario or (source is not None and source.scenario in self.scenario),
            "agent": not self.agent or entry.agent in self.agent,
            "ending": not self.ending or entry.ending in self.ending,
            "source_policy": not self.source_policy or any(acted(source, name) for name in self.source_policy),
        }
        return next((rule for rule, is_passed in passes.items() if not is_passed), "")


def acted(source: Source | None, name: str) -> bool:
    """Return whether the policy of that name, or of a digest that begins so, acted in what is from `source`."""
    if source is None:
        return False
    is_digest = len(name) >= _DIGEST_LETTERS and source.policy_digest.startswith(name)
    return source.policy == name or is_digest


class Verdicts:
    """Which episodes pass; a rule, a return and a digest of each are kept.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: CurationRules) -> None:
        self._rules = rules
        self._failed: list[str] = []
        self._returns: list[float] = []
        self._kept: dict[bytes, tuple[int, bool]] = {}  # content -> number of the copy that is kept, if it is accepted

    def add(self, entry: EpisodeEntry, source: Source | None) -> None:
        """Take in one episode and where it is from."""
        rule = self._rules.failed(entry, source)
        if self._rules.dedupe and not rule and entry.content:
            content, number = bytes.fromhex(entry.content), len(self._failed)
            kept, is_accepted = self._kept.setdefault(content, (number, entry.accepted))
            if entry.accepted and not is_accepted:
                self._failed[kept], self._kept[content] = "dedupe", (number, True)
            elif kept != number:
                rule = "dedupe"
        self._failed.append(rule)
        self._returns.append(entry.episode_return)

    def finish(self) -> list[str]:
        """Return for each episode the name of the first rule that it does not pass; an empty string for none."""
        rules, failed = self._rules, list(self._failed)
        passing = [number for number, rule in enumerate(failed) if not rule]
        if rules.top_return is not None:
            best = sorted(passing, key=lambda number: -self._returns[number])
            for number in best[math.ceil(rules.top_return * len(best) - _ROUNDING) :]:
                failed[number] = "top_return"
            passing = [number for number in passing if not failed[number]]
        if rules.limit_episodes is not None:
            for number in passing[rules.limit_episodes :]:
                failed[number] = "limit_episodes"
        return failed
