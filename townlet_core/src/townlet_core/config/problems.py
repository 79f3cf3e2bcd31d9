"""What is wrong with a configuration: all problems at once, each with its path, its place and what to write instead."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from townlet_core.config.describe import allowed, entry_model, knobs, section_model
from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel, ValidationError

_MOST_LINES = 50
"""Problems that a message lists; the rest is counted."""

_LONGEST_VALUE = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: dotted path of the key, or "" where the problem is not one key's.
        message: what was given, what is allowed, what to do.
        origin: where the value came from, such as ``run.yaml:3`` or ``--set``; "" where that is not known.
        unknown: the key does not exist.
        hint: ``"; did you mean 'x'?"`` for an unknown key, where something is close.
    """

    path: str
    message: str
    origin: str = ""
    unknown: bool = False
    hint: str = ""

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        start = f"{self.path}{place}: " if self.path else ""
        return f"{start}{self.message}{self.hint}"


class ConfigProblems(ConfigError):  # noqa: N818  (an error that is a list of them)
    """One or more problems, one line each.

    Attributes:
        problems: the problems, in the order of the configuration.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:_MOST_LINES]]
        heading = f"the configuration has {len(self.problems)} problems:"
        if len(self.problems) > _MOST_LINES:
            lines.append(f"and {len(self.problems) - _MOST_LINES} more")
        super().__init__(lines[0] if len(lines) == 1 else "\n  ".join([heading, *lines]))

    def located(self, origins: Mapping[str, str], known: Iterable[str] = ()) -> ConfigProblems:
        """Return the same problems with their origins, and with suggestions for unknown keys from `known` paths."""
        candidates = tuple(known)
        return ConfigProblems(_located(problem, origins, candidates) for problem in self.problems)


def problems_of(error: ValidationError, model: type[BaseModel], *, path: str = "") -> list[Problem]:
    """Return what a failed validation of `model` found, one problem per key; of a list, what is wrong in it."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, model, path)
        found.setdefault(problem.path, problem)
    return [one for path, one in found.items() if not any(other.startswith(f"{path}[") for other in found)]


def origin_of(path: str, origins: Mapping[str, str]) -> str:
    """Return where the value at `path` came from: its own origin, or that of the nearest section around it, or ""."""
    while path:
        if path in origins:
            return origins[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return ""


def suggest(path: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known dotted path that an unknown one most likely stands for, or "".

    A key of the same name elsewhere comes first, then a similar key in the same section, then a similar key elsewhere,
    then a similar path.
    """
    section, _, name = path.rpartition(".")
    paths = list(dict.fromkeys(known))
    same_name = [other for other in paths if other.rpartition(".")[2] == name]
    siblings = {other.rpartition(".")[2]: other for other in paths if other.rpartition(".")[0] == section}
    elsewhere = {other.rpartition(".")[2]: other for other in reversed(paths)}
    close = (
        same_name
        or _closest(name, siblings)
        or _closest(name, elsewhere)
        or _closest(path, {other: other for other in paths})
    )
    return f"; did you mean '{close[0]}'?" if close else ""


def show(value: Any) -> str:
    """Return a value as a message shows it, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _problem(detail: Mapping[str, Any], model: type[BaseModel], prefix: str) -> Problem:
    owner, name, path = _place(detail["loc"], model, prefix)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        if "." in name:
            return Problem(path, "there is no such key; sections are nested in a file, dots are for --set")
        hint = _suggest_in_entry(path, owner) if _is_in_entry(path) else suggest(path, all_paths(model, prefix))
        return Problem(path, "there is no such key", unknown=True, hint=hint)
    if kind == "missing":
        return Problem(path, f"is missing; must be {_allowed(owner, name)}")
    if kind == "refused":
        message = f"{detail['ctx']['reason']}; must be {_allowed(owner, name)}"
        return Problem(path + detail["ctx"]["inner"], message)
    if kind in {"value_error", "assertion_error"}:
        return Problem(
            path,
            f"{show(given)} given; {detail['ctx']['error']}"
            if name in owner.model_fields
            else str(detail["ctx"]["error"]),
        )
    return Problem(path, f"{show(given)} given; must be {_allowed(owner, name)}")


def _place(loc: Iterable[str | int], model: type[BaseModel], prefix: str) -> tuple[type[BaseModel], str, str]:
    """Return the model and the field that are wrong, and the dotted path, which goes into lists of sections."""
    owner, name, path = model, "", prefix
    entry: type[BaseModel] | None = None
    for part in loc:
        if entry is not None:
            if isinstance(part, int):
                owner, name, path, entry = entry, "", f"{path}[{part}]", None
            continue  # what is no number names one of the types that the list may be
        name, path = str(part), f"{path}.{part}" if path else str(part)
        if name not in owner.model_fields:
            break
        annotation = owner.model_fields[name].annotation
        below, entry = section_model(annotation), entry_model(annotation)
        if below is None and entry is None:
            break
        owner = below or owner
    return owner, name, path


def _allowed(owner: type[BaseModel], name: str) -> str:
    if name not in owner.model_fields:
        return "a section, that is, a mapping of keys to values"
    if section_model(owner.model_fields[name].annotation) is not None:
        return "a section, that is, a mapping of keys to values"
    return allowed(owner, name)


def all_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted paths of every field of `model`, sections before what is in them."""
    paths: dict[str, None] = {}
    for knob in knobs(model, prefix):
        parts = knob.path.split(".")
        start = len(prefix.split(".")) if prefix else 0
        for length in range(start + 1, len(parts) + 1):
            paths[".".join(parts[:length])] = None
    return list(paths)


def _located(problem: Problem, origins: Mapping[str, str], known: tuple[str, ...]) -> Problem:
    is_found_elsewhere = problem.unknown and known and not _is_in_entry(problem.path)
    hint = suggest(problem.path, known) if is_found_elsewhere else problem.hint
    return replace(problem, hint=hint, origin=problem.origin or origin_of(problem.path, origins))


def _is_in_entry(path: str) -> bool:
    """Return whether a key is one of an entry of a list, whose keys are no paths that can be set."""
    return "[" in path.rpartition(".")[0]


def _suggest_in_entry(path: str, entry: type[BaseModel]) -> str:
    """Return the key of the same entry that an unknown one most likely stands for, or else all that there are."""
    section, _, name = path.rpartition(".")
    close = _closest(name, {field: f"{section}.{field}" for field in entry.model_fields})
    return f"; did you mean '{close[0]}'?" if close else f"; an entry has {', '.join(entry.model_fields)}"


def _closest(name: str, candidates: Mapping[str, str]) -> list[str]:
    return [candidates[close] for close in difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)]
