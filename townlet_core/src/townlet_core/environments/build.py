"""From the name of an environment to the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import gymnasium

from townlet_core.environments.gym_source import GymSource
from townlet_core.environments.pettingzoo_source import ParallelSource, runs_unknown_module
from townlet_core.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.vector import VectorEnvironment


class EnvironmentFactory(Protocol):
    """What a plugin's environment entry points to."""

    def __call__(self, config: EnvironmentConfig, *, num_worlds: int) -> VectorEnvironment:
        """Return an environment of `num_worlds` worlds."""
        ...


NAME_FORMS = (
    "town",
    "gymnasium:ID (such as gymnasium:CartPole-v1)",
    "pettingzoo:MODULE (such as pettingzoo:mpe2.simple_spread_v3)",
    "python:module:factory",
)


def runs_code(name: str) -> bool:
    """Return whether the environment `name` imports and runs a module that its user names."""
    kind, _, rest = name.partition(":")
    if kind == "pettingzoo":
        return runs_unknown_module(name)
    return kind == "python" or (kind == "gymnasium" and ":" in rest)


def make_environment(
    config: EnvironmentConfig,
    *,
    num_worlds: int | None = None,
    trust_code: bool = False,
    entries: Callable[[str], EnvironmentFactory | None] | None = None,
    plugin_names: Collection[str] = (),
) -> VectorEnvironment:
    """Return the environment that `config.name` stands for.

    Args:
        config: the section `environment`.
        num_worlds: N, instead of `config.num_worlds`.
        trust_code: whether a name may import and run a module (``python:...``, ``gymnasium:module:ID``, and
            ``pettingzoo:MODULE`` of a package that is not well known).
        entries: finds a plugin's factory by name; None where it has none.
        plugin_names: environments of plugins, which messages list.

    Raises:
        ConfigError: the name is missing, unknown or malformed, or the environment refuses its settings.
        UnavailableError: an optional package is missing.
        EnvironmentFault: a worker died while it started.
    """
    count = config.num_worlds if num_worlds is None else num_worlds
    name = config.name
    if name is None:
        raise ConfigError(
            f"no environment is chosen: set environment.name (or --env) to one of: {_offered(plugin_names)}"
        )
    if name == "town":
        from townlet_core.environments.town import TownEnvironment

        return TownEnvironment(config, num_worlds=count)
    _require_no_town(config)
    kind = name.partition(":")[0]
    if kind in ("gymnasium", "python") and ":" in name:
        return _make_gymnasium(GymSource.from_config(config, trust_code=trust_code), config, count)
    if kind == "pettingzoo" and ":" in name:
        from townlet_core.environments.pettingzoo_adapter import PettingZooParallel

        return PettingZooParallel(ParallelSource.from_config(config, trust_code=trust_code), count)
    factory = entries(name) if entries is not None else None
    if factory is None:
        raise ConfigError(
            f"there is no environment '{name}'{_hint(name, plugin_names)}; there are: {_offered(plugin_names)}"
        )
    return factory(config, num_worlds=count)


def _require_no_town(config: EnvironmentConfig) -> None:
    """Refuse settings of the town for another environment: they would change nothing, and nobody would notice.

    Raises:
        ConfigError: there are such settings.
    """
    defaults = type(config)()
    given = [f"environment.{name}" for name in ("scenario", "town") if getattr(config, name) != getattr(defaults, name)]
    if given:
        raise ConfigError(
            f"{' and '.join(given)} is set, and the environment is '{config.name}': only the town reads that; "
            "leave it out, or choose environment.name=town"
        )


def _make_gymnasium(source: GymSource, config: EnvironmentConfig, num_worlds: int) -> VectorEnvironment:
    if config.vectorization == "workers":
        from townlet_core.environments.workers import GymnasiumWorkers

        return GymnasiumWorkers(
            source, num_worlds, num_workers=config.num_workers, step_timeout_sec=config.step_timeout_sec
        )
    if config.vectorization == "entry_point":
        from townlet_core.environments.entry_point import GymnasiumEntryPoint

        return GymnasiumEntryPoint(source, num_worlds)
    from townlet_core.environments.gymnasium_sync import GymnasiumSync

    return GymnasiumSync(source, num_worlds)


def _offered(plugin_names: Collection[str]) -> str:
    return "; ".join([*NAME_FORMS, *(f"{name} (of a plugin)" for name in sorted(plugin_names))])


def _hint(name: str, plugin_names: Collection[str]) -> str:
    known = [*plugin_names, *(f"gymnasium:{identifier}" for identifier in gymnasium.registry)]
    if f"gymnasium:{name}" in known:
        return f"; did you mean 'gymnasium:{name}'?"
    return suggestion(name, known)
