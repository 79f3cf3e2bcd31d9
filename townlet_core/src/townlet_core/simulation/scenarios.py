"""Scenarios: those that are shipped, and the user's own files, checked with file, line and field."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.config.document import parse_yaml, read_document
from townlet_core.config.problems import ConfigProblems, Problem
from townlet_core.config.scenario import ScenarioConfig
from townlet_core.errors import ConfigError, MissingInputError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_PATH = re.compile(r"((?:agents|objects|ties)(?:\[\d+\](?:\.\w+)?)?) (.*)")


def load_scenario(name: str) -> ScenarioConfig:
    """Return a scenario.

    Args:
        name: the name of a shipped scenario, or the path of a file: one that ends in .yaml, .yml or .json, or that has
            a directory in it.

    Raises:
        ConfigError: there is none of that name, or the file is wrong; all problems at once, each with its line.
        MissingInputError: there is no such file.
    """
    if name in SHIPPED:
        source = f"{name}.yaml"
        text = resources.files(__package__).joinpath(_FILES, source).read_text(encoding="utf-8")
        return _checked(parse_yaml(text, source=source), source)
    path = Path(name)
    if path.suffix.lower() not in {".yaml", ".yml", ".json"} and len(path.parts) == 1:
        raise ConfigError(
            f"environment.scenario: there is no scenario '{name}'{suggestion(name, SHIPPED)} "
            f"(there are {', '.join(SHIPPED)}; a file of your own is named with its ending, such as {name}.yaml)"
        )
    try:
        document = read_document(path)
    except MissingInputError as error:
        raise MissingInputError(f"environment.scenario: there is no scenario file {path}") from error
    return _checked(document, str(path))


def list_scenarios() -> list[ScenarioConfig]:
    """Return the shipped scenarios."""
    return [load_scenario(name) for name in SHIPPED]


def _checked(document: Document, source: str) -> ScenarioConfig:
    try:
        return ScenarioConfig.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        wrong = {
            detail["loc"][: len(detail["loc"]) - cut] for detail in details for cut in range(1, len(detail["loc"]))
        }
        problems = [
            _problem(detail, document.lines, source)
            for detail in details
            if not (detail["type"] == "too_short" and detail["loc"] in wrong)  # its items are what is wrong
        ]
        raise ConfigProblems(problems) from error


def _problem(detail: Mapping[str, Any], lines: Mapping[str, int], source: str) -> Problem:
    """Return what pydantic found, with the line of the nearest key around it and what would be allowed."""
    path = ""
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    text = detail["msg"].removeprefix("Value error, ")
    if not path and (named := _PATH.match(text)):  # the whole does not fit together, and the text says where
        path, text = named[1], named[2]
    line = _line(path, lines)
    origin = f"{source}:{line}" if line else source
    if detail["type"] == "extra_forbidden":
        known = list(_model_of(path).model_fields)
        hint = suggestion(str(detail["loc"][-1]), known)
        return Problem(path, f"there is no such key{hint} (there are {', '.join(known)})", origin)
    given = detail["input"]
    shown = "" if detail["type"] in {"missing", "value_error"} else f"{given!r} given; "[:120]
    return Problem(path, f"{shown}{text[0].lower()}{text[1:]}", origin)


def _line(path: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a path: its own, that of the first key within it, or that of the nearest section around it."""
    while path:
        within = [line for key, line in lines.items() if key == path or key.startswith((f"{path}.", f"{path}["))]
        if within:
            return min(within)
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def _model_of(path: str) -> Any:
    """Return the settings model that the last key of a path belongs to."""
    from townlet_core.config.scenario import AgentConfig, ForcedPerturbation, ObjectConfig, TieConfig

    section = path.partition("[")[0]
    models = {"objects": ObjectConfig, "agents": AgentConfig, "ties": TieConfig, "perturbations": ForcedPerturbation}
    return models.get(section, ScenarioConfig) if "[" in path else ScenarioConfig
