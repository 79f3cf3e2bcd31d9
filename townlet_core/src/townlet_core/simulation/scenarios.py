"""Scenarios: those that are shipped, and the user's own files, checked with file, line and field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.config.describe import allowed
from townlet_core.config.problems import ConfigProblems, Problem, show
from townlet_core.config.scenario import AgentConfig, ForcedPerturbation, ObjectConfig, ScenarioConfig, TieConfig
from townlet_core.config.shipped import read_named
from townlet_core.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from townlet_core.config.base import Settings
    from townlet_core.config.document import Document

SHIPPED = (
    "default",
    "kitchen_breakfast",
    "queue_conflict",
    "employment_punctuality",
    "rivalry_decay",
    "observation_baseline",
    "demo_story_arc",
    "storm",
)
"""Names of the shipped scenarios, in the order in which they are listed."""
_FILES = "scenario_files"
_ITEMS: dict[str, type[Settings]] = {
    "objects": ObjectConfig,
    "agents": AgentConfig,
    "ties": TieConfig,
    "perturbations": ForcedPerturbation,
}
_PATH = re.compile(r"((?:agents|objects|ties)(?:\[\d+\](?:\.\w+)?)?) (.*)")


def load_scenario(name: str, *, day_ticks: int | None = None) -> ScenarioConfig:
    """Return a scenario.

    Args:
        name: the name of a shipped scenario, or the path of a file: one that ends in .yaml, .yml or .json, or that has
            a directory in it.
        day_ticks: length of the day that it has to fit into; None = any.

    Raises:
        ConfigError: there is none of that name, or the file is wrong. All problems of its fields are told at once, each
            with its line, and where they are right, all that does not fit together.
        MissingInputError: there is no such file.
        StorageError: it cannot be read.
    """
    document, source = read_named(
        name,
        shipped=SHIPPED,
        package=__package__,
        folder=_FILES,
        what="scenario",
        example="village.yaml",
        field="environment.scenario: ",
    )
    scenario = _checked(document, source)
    if day_ticks is not None:
        problems = [
            Problem(path, message, _origin(path, document, source))
            for path, message in _beyond_the_day(scenario, day_ticks)
        ]
        if problems:
            raise ConfigProblems(problems)
    return scenario


def list_scenarios() -> list[ScenarioConfig]:
    """Return the shipped scenarios."""
    return [load_scenario(name) for name in SHIPPED]


def _checked(document: Document, source: str) -> ScenarioConfig:
    try:
        return ScenarioConfig.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        wrong = {detail["loc"][:length] for detail in details for length in range(1, len(detail["loc"]))}
        problems = [
            problem
            for detail in details
            if not (detail["type"] == "too_short" and detail["loc"] in wrong)  # its items are what is wrong
            for problem in _problems(detail, document, source)
        ]
        raise ConfigProblems(dict.fromkeys(problems)) from error


def _beyond_the_day(scenario: ScenarioConfig, day_ticks: int) -> Iterator[tuple[str, str]]:
    """Yield path and message of what would never come in a day of that length."""
    day = f"the day has {day_ticks} ticks (environment.town.day_ticks)"
    if scenario.start_tick >= day_ticks:
        yield "start_tick", f"{scenario.start_tick} given; {day}"
    for index, agent in enumerate(scenario.agents):
        if agent.shift is not None and agent.shift[1] > day_ticks:
            yield f"agents[{index}].shift", f"{list(agent.shift)} given; {day}"


def _problems(detail: Mapping[str, Any], document: Document, source: str) -> Iterator[Problem]:
    """Yield what pydantic found, at the field that it is about, with what the field may be."""
    kind, (path, owner, name, given) = detail["type"], _field(detail["loc"], document.values)
    origin = _origin(path, document, source)
    if kind == "value_error":  # values that do not fit together, one problem a line; a line may say where
        for line in str(detail["ctx"]["error"]).split("\n"):
            named = _PATH.match(line) if not path else None
            where, text = (named[1], named[2]) if named else (path, line)
            yield Problem(where, text, _origin(where, document, source))
    elif kind == "extra_forbidden":
        known = list(owner.model_fields)
        hint = suggestion(name, known)
        yield Problem(path, f"there is no such key{hint} (there are {', '.join(known)})", origin)
    else:
        may_be = allowed(owner, name) if name else "a mapping of keys to values"
        start = {"missing": "it is missing", "refused": detail.get("ctx", {}).get("reason")}.get(kind)
        yield Problem(path, f"{start or f'{show(given)} given'}; must be {may_be}", origin)


def _field(loc: tuple[int | str, ...], values: Any) -> tuple[str, type[Settings], str, Any]:
    """Return path, settings model, name ("" for an item as a whole) and value of the field that a location is in."""
    path, name = "", ""
    model: type[Settings] = ScenarioConfig
    for part in loc:
        if isinstance(part, str):
            path, name = f"{path}.{part}" if path else part, part
        elif model is ScenarioConfig and name in _ITEMS:
            path, model, name = f"{path}[{part}]", _ITEMS[name], ""
        else:
            break  # an entry of a value: the value as a whole is shown
        values = values.get(part) if isinstance(values, dict) else values[part]
    return path, model, name, values


def _origin(path: str, document: Document, source: str) -> str:
    line = _line(path, document.lines)
    return f"{source}:{line}" if line else source


def _line(path: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a path: its own, that of the first key within it, or that of the nearest section around it."""
    while path:
        within = [line for key, line in lines.items() if key == path or key.startswith((f"{path}.", f"{path}["))]
        if within:
            return min(within)
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None
