"""The options of every command that takes a configuration, and how such a command gets it."""

from __future__ import annotations

import os
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from townlet_core.errors import ConfigError, TownletWarning, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.cli.state import CliState
    from townlet_core.config.base import Settings
    from townlet_core.config.load import LoadedConfig
    from townlet_core.config.problems import ConfigProblems

FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")

_OPTIONS = (
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set one value, such as training.seed=1."),
    click.option("--env", "environment_name", metavar="NAME", help="The environment: environment.name."),
    click.option("--seed", type=int, metavar="N", help="The seed: training.seed."),
    click.option("--strategy", metavar="NAME", help="The strategy: training.strategy."),
    click.option(
        "--trust-config", is_flag=True, help="Let the file name a 'python:' environment, which runs its code."
    ),
)


def config_options(function: FunctionT) -> FunctionT:
    """Add the options; the command takes them as `sets`, `environment_name`, `seed`, `strategy`, `trust_config`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


config_argument = click.argument("config", required=False, type=click.Path(path_type=Path))
"""The optional CONFIG file; that it exists is checked when it is read."""


def load_from_options(
    state: CliState,
    config: Path | None,
    *,
    sets: Sequence[str] = (),
    environment_name: str | None = None,
    seed: int | None = None,
    strategy: str | None = None,
    trust_config: bool = False,
    need_strategy: bool = True,
    **options: Any,
) -> LoadedConfig:
    """Return the configuration with the sections of installed strategies checked and completed.

    Args:
        state: the invocation.
        config: the file, or None for the defaults.
        sets: values of ``--set``.
        environment_name: ``--env``.
        seed: ``--seed``.
        strategy: ``--strategy``.
        trust_config: ``--trust-config``.
        need_strategy: without the selected strategy there is no point; otherwise its section stays raw, with a warning.
        **options: values of the command's own options, by path with ``__`` for the dot: ``training__device="cpu"``.

    Raises:
        ConfigError: a value or key is wrong; each with where it came from.
        MissingInputError: there is no such file.
        UnavailableError: the selected strategy is not installed, or does not work.
    """
    from dataclasses import replace

    from townlet_core.config.load import load_config
    from townlet_core.config.problems import ConfigProblems
    from townlet_core.config.sections import every_path

    given = {"environment.name": environment_name, "training.seed": seed, "training.strategy": strategy}
    given |= {key.replace("__", "."): value for key, value in options.items()}
    models = strategy_settings(state)
    try:
        loaded = load_config(
            config, sets=sets, environ=os.environ, options=given, strategies=models, trust_config=trust_config
        )
    except ConfigProblems as error:
        raise _with_migration(error, config) from error
    try:
        return replace(loaded, config=state.registry.resolve_config(loaded.config))
    except ConfigProblems as error:  # of a section named 'plugin:DIST:NAME'
        raise error.located(loaded.origins, every_path(models)) from error
    except UnavailableError as error:
        if need_strategy:
            raise
        warnings.warn(f"the sections of strategies are not checked: {error}", TownletWarning, stacklevel=2)
        return loaded


def _with_migration(error: ConfigProblems, config: Path | None) -> ConfigError:
    """Return the error; where the file has keys of the earlier simulator, it says what turns them into today's."""
    from townlet_core.config.earlier import is_earlier

    if config is None or not any(problem.unknown and is_earlier(problem.path) for problem in error.problems):
        return error
    return ConfigError(
        f"{error}\n  {config} has keys of the earlier simulator's configurations; to turn it into one of today's: "
        f"townlet config migrate {shlex.quote(str(config))} --out NEW"
    )


def strategy_settings(state: CliState) -> dict[str, type[Settings]]:
    """Return the settings model of every installed strategy that has a working one, by name."""
    models: dict[str, type[Settings]] = {}
    for name in state.registry.strategies:
        try:
            models[name] = state.registry.resolve("strategy", name, field="settings")
        except UnavailableError:
            continue  # `townlet plugins` says what is wrong with it
    return models
