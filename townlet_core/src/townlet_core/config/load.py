"""One configuration out of all sources: default < file < TOWNLET_SET__A__B < --set < option."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.config.base import leaf_types, settings_from
from townlet_core.config.describe import field_model
from townlet_core.config.document import parse_yaml, read_document
from townlet_core.config.problems import ConfigProblems, Problem, problems_of
from townlet_core.config.root import SimulationConfig
from townlet_core.config.sections import every_path
from townlet_core.config.training import TrainingConfig
from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.config.base import Settings

VARIABLE_PREFIX = "TOWNLET_SET__"
_PATH = re.compile(r"[^\s.=]+(\.[^\s.=]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration and where it came from.

    Attributes:
        config: the configuration; sections of strategies are still raw.
        origins: what set a value, such as ``run.yaml:3``, ``--set`` or a variable's name, by dotted path.
        trust_code: a `python:` environment may run: its name is from the command line or a variable, or the file is
            trusted.
    """

    config: SimulationConfig
    origins: dict[str, str] = field(default_factory=dict)
    trust_code: bool = False

    def origin(self, path: str) -> str:
        """Return where the field at `path` came from: its origin, those of the values within it, or ``default``."""
        within = (origin for key, origin in self.origins.items() if key == path or key.startswith(f"{path}."))
        return ", ".join(dict.fromkeys(within)) or "default"


def load_config(
    path: Path | None,
    *,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    strategies: Mapping[str, type[Settings]] | None = None,
    trust_config: bool = False,
) -> LoadedConfig:
    """Read a configuration.

    Args:
        path: YAML or JSON file, or None for the defaults.
        sets: ``"a.b=value"`` strings; the value is YAML (``[1, 2]`` is a list), or text as it stands where the field is
            text.
        environ: environment variables; ``TOWNLET_SET__A__B`` is read like ``a.b=value``, everything else is left alone.
        options: values of command-line options by dotted path; None means that the option was not given.
        strategies: settings models by strategy name; sections of these are checked too (and stay raw).
        trust_config: a `python:` environment named in the file may run.

    Raises:
        MissingInputError: there is no such file.
        ConfigError: anything is malformed, unknown or not allowed; all problems at once.
    """
    document = read_document(path) if path is not None else None
    values: dict[str, Any] = dict(document.values) if document is not None else {}
    origins: dict[str, str] = {}
    if path is not None and document is not None:
        origins = {key: str(path) for key in _paths(values)} | {
            key: f"{path}:{line}" for key, line in document.lines.items()
        }
    problems: list[Problem] = []
    given = [(path, text, name) for name, path, text in _variables(environ or {}, problems)]
    given += [(path, text, "--set") for path, text in _assignments(sets, problems)]
    for key, text, origin in given:
        try:
            _assign(values, origins, key, _parse(key, text), origin)
        except ConfigError as error:
            problems.append(Problem(key, str(error), origin))
    for key, value in (options or {}).items():
        if value is not None:
            _assign(values, origins, key, value, "option")
    config = checked(values, strategies or {}, problems)
    if config is None or problems:
        raise ConfigProblems(problems).located(origins, every_path(_selected_first(values, strategies or {})))
    named_by = origins.get("environment.name", "default")
    trusted = trust_config or named_by in {"default", "--set", "option"} or named_by in (environ or {})
    sections = {key.rpartition(".")[0] for key in origins}
    leaves = {key: origin for key, origin in origins.items() if key not in sections}
    return LoadedConfig(config=config, origins=leaves, trust_code=trusted)


def _selected_first(
    values: Mapping[str, Any], strategies: Mapping[str, type[Settings]]
) -> Mapping[str, type[Settings]]:
    """Return the models with that of the selected strategy in front: a key is most likely meant to be one of its."""
    training = values.get("training")
    selected = training.get("strategy") if isinstance(training, dict) else None
    if selected is None:
        selected = TrainingConfig.model_fields["strategy"].default
    return dict(sorted(strategies.items(), key=lambda item: item[0] != selected))


def checked(
    values: Mapping[str, Any], strategies: Mapping[str, type[Settings]], problems: list[Problem]
) -> SimulationConfig | None:
    """Return the configuration of raw sections, or None.

    Args:
        values: the sections.
        strategies: settings models by strategy name; sections of these are checked too (and stay raw).
        problems: what is wrong is added to these.
    """
    config = None
    try:
        config = SimulationConfig.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, SimulationConfig)
    sections = values.get("strategies")
    for name, section in sections.items() if isinstance(sections, dict) else ():
        if name in strategies and (section is None or isinstance(section, dict)):
            try:
                settings_from(strategies[name], section, path=f"strategies.{name}")
            except ConfigProblems as error:
                problems += error.problems
    return config


def _variables(environ: Mapping[str, str], problems: list[Problem]) -> list[tuple[str, str, str]]:
    """Return (variable, path, text) for every variable that sets a value, in alphabetical order."""
    found = []
    for name in sorted(environ):
        if name.startswith(VARIABLE_PREFIX) and _PATH.fullmatch(
            key := name.removeprefix(VARIABLE_PREFIX).lower().replace("__", ".")
        ):
            found.append((name, key, environ[name]))
        elif name.startswith("TOWNLET_SET"):
            problems.append(
                Problem(
                    "", f"the variable {name} names no key; write TOWNLET_SET__SECTION__KEY=value, with two underscores"
                )
            )
    return found


def _assignments(sets: Sequence[str], problems: list[Problem]) -> list[tuple[str, str]]:
    found = []
    for text in sets:
        key, equals, value = text.partition("=")
        if equals and _PATH.fullmatch(key.strip()):
            found.append((key.strip(), value))
        else:
            problems.append(
                Problem("", f"--set {text!r} is not of the form section.key=value, such as training.seed=1")
            )
    return found


def _parse(key: str, text: str) -> Any:
    """Return the value of `text` for the field at `key`: YAML, or the text itself where the field is text."""
    try:
        value = parse_yaml(text, source="value").values
    except ConfigError:
        if text.lstrip()[:1] in {"[", "{", '"', "'"}:
            raise
        return text
    owner = field_model(SimulationConfig, key)
    if owner is None or value is None or isinstance(value, str):
        return value
    kinds = set(leaf_types(owner[0].model_fields[owner[1]].annotation))
    return text if kinds <= {str, Path, type(None)} else value


def _assign(values: dict[str, Any], origins: dict[str, str], key: str, value: Any, origin: str) -> None:
    """Put `value` at a dotted path, in place of whatever was there; sections on the way are copied, never shared."""
    *sections, name = key.split(".")
    place = values
    for depth, section in enumerate(sections, start=1):
        below = place.get(section)
        if not isinstance(below, dict):
            origins[".".join(sections[:depth])] = origin
        place[section] = dict(below) if isinstance(below, dict) else {}
        place = place[section]
    place[name] = value
    for old in [path for path in origins if path == key or path.startswith((f"{key}.", f"{key}["))]:
        del origins[old]
    origins[key] = origin
    if isinstance(value, dict):
        origins.update(dict.fromkeys(_paths(value, key), origin))


def _paths(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else key
        paths.append(path)
        if isinstance(value, dict):
            paths += _paths(value, path)
    return paths
