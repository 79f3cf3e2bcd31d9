"""A configuration of the earlier simulator as one of today's, with what became of every key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.config.earlier.fate import Fate, at
from townlet_core.config.earlier.town_rules import TOWN_RULES
from townlet_core.config.earlier.training_rules import SOURCES, TRAINING_RULES
from townlet_core.config.load import checked
from townlet_core.config.problems import ConfigProblems, Problem, origin_of, suggest
from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from townlet_core.config.base import Settings
    from townlet_core.config.document import Document

RULES = {**TRAINING_RULES, **TOWN_RULES}
_SECTIONS = {key[:end] for key in RULES for end, letter in enumerate(key) if letter == "."}
_ORDER = ("environment", "training", "promotion", "strategies")

_SCHEDULES = ("training.anneal_schedule", "training.social_reward_schedule")
"""Keys that are never left out for a value in them: a run by the default instead is not what anybody asked for."""

_MOST_HINTS = 50
"""Unknown keys for which a similar one is looked for."""

Became = Literal["taken", "changed", "left out", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one key.

    Attributes:
        key: dotted path in the earlier configuration; of a section whose keys share their fate, the section's.
        line: where it stands, counted from 1; None where that is not known.
        became: taken (over as it is), changed (taken over, and not quite the same), left out, or unknown.
        now: today's values by dotted path.
        reason: what changed, why it is left out, or what an unknown key is most like.
    """

    key: str
    line: int | None
    became: Became
    now: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A migrated configuration.

    Attributes:
        values: today's configuration, as raw sections; it passes the checks of `load_config`.
        outcomes: what became of each key, in the order of the file.
        missing: what the earlier simulator was told elsewhere, and a run needs: one sentence each.
    """

    values: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...] = ()


def migrate(document: Document, strategies: Mapping[str, type[Settings]], *, source: str) -> Migration:
    """Return today's form of an earlier configuration.

    Args:
        document: the earlier configuration.
        strategies: settings models of the installed strategies, by name; sections of these are checked.
        source: what errors call the document.

    Raises:
        ConfigError: it is not such a configuration, or names a `training.source` or a schedule that none could have;
            of schedules, all that is wrong.
    """
    old = _merged(document.values)
    _require_earlier(old, source)
    outcomes: list[Outcome] = []
    for key, value in _keys(old):
        line = document.lines.get(key)
        try:
            outcomes += _outcomes(key, value, old, line)
        except ConfigError as error:
            raise ConfigError(f"{source}{f':{line}' if line else ''}: {error}") from error
    places = {"training": source} | {key: f"{source}:{line}" for key, line in document.lines.items()}
    outcomes, values = _accepted(_hinted(outcomes), strategies, places)
    if not values:
        raise ConfigError(
            f"{source}: nothing in it can be used: it has {', '.join(old) or 'no keys'}, and an earlier configuration "
            "has training, ppo, stability, rewards and more"
        )
    return Migration(values=values, outcomes=tuple(outcomes), missing=tuple(_missing(values)))


def _require_earlier(old: Mapping[str, Any], source: str) -> None:
    """Check that a document may be an earlier configuration; raises `ConfigError`."""
    if {"environment", "strategies"} & set(old) or at(old, "training.strategy") is not None:
        raise ConfigError(f"{source} is a configuration of today already; check it with: townlet config show {source}")
    for section in sorted(_SECTIONS):
        value = at(old, section)
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {section} is not a section, as it is in an earlier configuration")


def _merged(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections with what they take from others by YAML's merge key, ``<<: *name``."""
    taken: dict[str, Any] = {}
    merges = values.get("<<")
    for section in reversed(merges if isinstance(merges, list) else [merges]):
        taken |= _merged(section) if isinstance(section, Mapping) else {}
    own = {key: value for key, value in values.items() if key != "<<" or not _is_merge(value)}
    return taken | {key: _merged(value) if isinstance(value, Mapping) else value for key, value in own.items()}


def _is_merge(value: Any) -> bool:
    return all(isinstance(part, Mapping) for part in (value if isinstance(value, list) else [value]))


def _keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key that a rule or nobody knows, with its value; empty sections as well."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in _SECTIONS and isinstance(value, Mapping) and value:
            yield from _keys(value, f"{key}.")
        else:
            yield key, value


def is_earlier(key: str) -> bool:
    """Return whether `key` is a key, or a section, of the earlier simulator's configurations."""
    return key in RULES or key in _SECTIONS


def _outcomes(key: str, value: Any, old: Mapping[str, Any], line: int | None) -> Iterator[Outcome]:
    if key in _SECTIONS and not value:
        yield Outcome(key=key, line=line, became="left out", reason="it is empty")
    elif key not in RULES:
        yield Outcome(key=key, line=line, became="unknown")
    elif value is None:
        yield Outcome(key=key, line=line, became="left out", reason="it is null: today's default holds")
    else:
        fate: Fate = RULES[key](value, old)
        became: Became = "left out" if not fate.targets else "changed" if fate.reason else "taken"
        yield Outcome(key=key, line=line, became=became, now=fate.targets, reason=fate.reason)
        for inner, said in fate.unknown.items():
            yield Outcome(key=f"{key}{inner}", line=line, became="unknown", reason=said)


def _hinted(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes, the first of the unknown keys with what they are most like."""
    known = [*sorted(_SECTIONS), *RULES]
    unknown = [outcome for outcome in outcomes if outcome.became == "unknown" and not outcome.reason][:_MOST_HINTS]
    hints = {outcome.key: suggest(outcome.key, known).removeprefix("; ") for outcome in unknown}
    return [replace(outcome, reason=hints.get(outcome.key, outcome.reason)) for outcome in outcomes]


def _accepted(
    outcomes: list[Outcome], strategies: Mapping[str, type[Settings]], places: Mapping[str, str]
) -> tuple[list[Outcome], dict[str, Any]]:
    """Return the outcomes, those whose values are refused today as left out; and the values of the others.

    Args:
        outcomes: what became of each key, as its rule says.
        strategies: settings models of the installed strategies, by name.
        places: where the earlier keys stand, such as ``old.yaml:3``.

    Raises:
        ConfigError: a schedule is refused, or two values do not go together.
    """
    while True:
        values = _values(outcomes)
        problems: list[Problem] = []
        checked(values, strategies, problems)
        _require_schedules(outcomes, problems, places)
        refused = {path: problem for problem in problems for path in _targets(outcomes, problem.path)}
        if not refused:
            if problems:  # of no key: two values do not go together
                raise ConfigProblems(problems)
            return outcomes, values
        outcomes = [_without(outcome, refused) for outcome in outcomes]


def _require_schedules(outcomes: list[Outcome], problems: list[Problem], places: Mapping[str, str]) -> None:
    """Check that no problem is one of a schedule; raises `ConfigError` with all that are, by their earlier keys."""
    found = []
    for outcome in outcomes:
        for target in outcome.now if outcome.key in _SCHEDULES else ():
            for problem in problems:
                if problem.path == target or problem.path.startswith(f"{target}["):
                    path = outcome.key + problem.path.removeprefix(target)
                    found.append(replace(problem, path=path, origin=origin_of(path, places)))
    if found:
        raise ConfigProblems(found)


def _targets(outcomes: list[Outcome], path: str) -> Iterator[str]:
    """Yield the target that a problem at `path` is about."""
    for outcome in outcomes:
        for target in outcome.now:
            if path == target or path.startswith((f"{target}.", f"{target}[")):
                yield target


def _without(outcome: Outcome, refused: Mapping[str, Problem]) -> Outcome:
    problems = [refused[target] for target in outcome.now if target in refused]
    if not problems:
        return outcome
    return replace(outcome, became="left out", now={}, reason="; ".join(map(str, problems)))


def _values(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the values of all outcomes as nested sections, in today's order."""
    values: dict[str, Any] = {section: {} for section in _ORDER}
    for outcome in outcomes:
        for path, value in outcome.now.items():
            *sections, name = path.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
    return {section: value for section, value in values.items() if value}


def _missing(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what has to be said before a run of these values can begin."""
    strategy = at(values, "training.strategy")
    is_recorded = strategy == "ppo" and at(values, "strategies.ppo.data_mode") in {"replay", "mixed"}
    for name, needed in (("bc", strategy in {"bc", "anneal"}), ("ppo", is_recorded)):
        if needed and at(values, f"strategies.{name}.dataset") is None:
            yield f"no dataset is named: --set strategies.{name}.dataset=PATH"
    if strategy == "anneal" and at(values, "strategies.anneal.schedule") is None:
        yield "no schedule is taken over: the default of strategies.anneal.schedule holds"
    if strategy is None:
        yield f"no training.source ({', '.join(SOURCES)}) is named: it will be PPO from rollouts"
