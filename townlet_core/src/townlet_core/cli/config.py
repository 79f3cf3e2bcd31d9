"""``townlet config``: write, show, describe, explain and migrate configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.config_migrate import migrate
from townlet_core.cli.options import config_argument, config_options, load_from_options, strategy_settings
from townlet_core.cli.state import CliState, pass_state
from townlet_core.errors import ConfigError, PluginError, StorageError, UsageError, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from townlet_core.config.load import LoadedConfig

_SUFFIXES = {".yaml", ".yml", ".json"}


@click.group("config")
def command() -> None:
    """Write, show and explain configurations."""


command.add_command(migrate)


@command.command("init")
@click.argument("path", default="townlet.yaml", type=click.Path(path_type=Path))
@click.option("--strategy", metavar="NAME", help="The strategy that the file selects.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@pass_state
def init(state: CliState, path: Path, strategy: str | None, force: bool) -> None:
    """Write a commented file with every field and its default (to '-' for the terminal)."""
    from townlet_core.config.starter import starter

    models = strategy_settings(state)
    if strategy is not None and strategy not in models:
        known = ", ".join(models) or "none"
        raise PluginError(f"no strategy '{strategy}' is installed{suggestion(strategy, models)}; installed: {known}")
    text = starter(models, values={} if strategy is None else {"training.strategy": strategy})
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists; choose another name, or replace it with --force") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    click.echo(f"wrote {path}; train with: townlet train {path} --env gymnasium:CartPole-v1")


@command.command("show")
@config_argument
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_state
def show(state: CliState, /, config: Path | None, as_json: bool, **options: Any) -> None:
    """Print the configuration that a run would have: every field, every source applied."""
    from townlet_core.config.dump import dump_yaml

    resolved = load_from_options(state, config, need_strategy=False, **options).config
    if as_json:
        click.echo(json.dumps(resolved.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        click.echo(dump_yaml(resolved), nl=False)


@command.command("schema")
@pass_state
def schema(state: CliState) -> None:
    """Print the JSON Schema of a configuration file, with the sections of the installed strategies."""
    from townlet_core.config.sections import json_schema

    click.echo(json.dumps(json_schema(strategy_settings(state)), indent=2, ensure_ascii=False))


@command.command("explain")
@click.argument("arguments", nargs=-1, metavar="[CONFIG] [KEY]")
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_state
def explain(state: CliState, /, arguments: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say of each value (or those under KEY) what it is, where it came from and what it does.

    CONFIG is a file: what exists, or ends in .yaml, .yml or .json. KEY is a field or a section, such as training.seed.
    """
    config, key = _file_and_key(arguments)
    loaded = load_from_options(state, config, need_strategy=False, **options)
    rows = list(_explanations(state, loaded, key))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo(f"{row['path']} = {json.dumps(row['value'], ensure_ascii=False)}  ({row['origin']})")
        text = row["description"] + (f" Allowed: {row['allowed']}." if row["allowed"] else "")
        click.echo(click.wrap_text(text, width=100, initial_indent="    ", subsequent_indent="    "))


def _file_and_key(arguments: tuple[str, ...]) -> tuple[Path | None, str | None]:
    """Tell a file from a key.

    Raises:
        UsageError: there are more than one file and one key.
    """
    files = [text for text in arguments if Path(text).suffix in _SUFFIXES or Path(text).is_file()]
    keys = [text for text in arguments if text not in files]
    if len(files) > 1 or len(keys) > 1:
        in_runs = [str(Path(text, "config.yaml")) for text in keys if Path(text, "config.yaml").is_file()]
        hint = f"; the file of a run is {in_runs[0]}" if in_runs else ""
        raise UsageError(f"at most one file and one key can be explained, not {' '.join(arguments)!r}{hint}")
    return (Path(files[0]) if files else None), (keys[0] if keys else None)


def _explanations(state: CliState, loaded: LoadedConfig, key: str | None) -> Iterator[dict[str, Any]]:
    """Yield one row per field; the sections of strategies that are not installed have no description.

    Raises:
        ConfigError: there is no such key.
    """
    from townlet_core.config.problems import suggest
    from townlet_core.config.sections import every_knob, every_path

    models = strategy_settings(state)
    values = loaded.config.model_dump(mode="json")
    rows = {knob.path: (knob.allowed, knob.description) for knob in every_knob(models)}
    for name, section in loaded.config.strategies.items():
        if name not in models:
            rows |= {f"strategies.{name}.{field}": ("", "Its strategy is not installed.") for field in section}
    chosen = [path for path in rows if key is None or path == key or path.startswith(f"{key}.")]
    if not chosen:
        raise ConfigError(f"there is no key '{key}'{suggest(str(key), every_path(models))}")
    for path in chosen:
        allowed, description = rows[path]
        value, known = _lookup(values, path)
        origin = loaded.origin(path) if known else "not selected"
        yield {"path": path, "value": value, "origin": origin, "description": description, "allowed": allowed}


def _lookup(values: Mapping[str, Any], path: str) -> tuple[Any, bool]:
    value: Any = values
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None, False
        value = value[part]
    return value, True
