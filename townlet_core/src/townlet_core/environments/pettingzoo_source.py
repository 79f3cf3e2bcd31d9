"""Where PettingZoo worlds come from: a module with `parallel_env`, and how one world of it is made."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townlet_core.errors import ConfigError, UnavailableError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.config.environment import EnvironmentConfig

KNOWN_PACKAGES = frozenset({"pettingzoo", "mpe2"})
"""Packages of environments whose modules are imported without being trusted by name."""

_FACTORY = "parallel_env"
_NEEDED = ("reset", "step", "observation_space", "action_space")


def runs_unknown_module(name: str) -> bool:
    """Return whether ``pettingzoo:MODULE`` names a module of another package than the well-known ones."""
    return name.removeprefix("pettingzoo:").partition(".")[0] not in KNOWN_PACKAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelSource:
    """What makes worlds.

    Attributes:
        name: the name that the environment was asked for by.
        module: the module that has `parallel_env`.
        options: keyword arguments for `parallel_env`.
        max_episode_steps: time limit in steps, besides what the environment has of its own; None adds none.
    """

    name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None

    @classmethod
    def from_config(cls, config: EnvironmentConfig, *, trust_code: bool) -> ParallelSource:
        """Return the source that `config.name` (``pettingzoo:MODULE``) stands for.

        Raises:
            ConfigError: the name is malformed or unknown, or runs code that was not trusted, or the worlds are to be
                stepped in a way that there is not.
            UnavailableError: a package is missing.
        """
        name = config.name or ""
        module = name.partition(":")[2]
        if not all(part.isidentifier() for part in module.split(".")):
            raise ConfigError(
                f"environment.name '{name}' is not of the form 'pettingzoo:MODULE' "
                "(such as pettingzoo:mpe2.simple_spread_v3)"
            )
        if config.vectorization != "sync":
            raise ConfigError(
                f"environment '{name}': environment.vectorization '{config.vectorization}' is for Gymnasium "
                "environments; those of PettingZoo are stepped in this process: use 'sync'"
            )
        if runs_unknown_module(name) and not trust_code:
            raise ConfigError(
                f"environment.name '{name}' would import and run the module '{module}': "
                "name it on the command line, or allow it with --trust-config (trust_code=True in Python)"
            )
        source = cls(name=name, module=module, options=dict(config.options), max_episode_steps=config.max_episode_steps)
        source.factory()
        return source

    def factory(self) -> Callable[..., Any]:
        """Return the module's `parallel_env`.

        Raises:
            ConfigError: a package that is installed has no such module, or the module has no such function.
            UnavailableError: a package is missing, or the module cannot be imported.
        """
        module = self._import()
        factory = getattr(module, _FACTORY, None)
        if not callable(factory):
            raise ConfigError(
                f"environment '{self.name}': module '{self.module}' has no function '{_FACTORY}', which makes "
                "PettingZoo parallel environments"
            )
        return factory  # type: ignore[no-any-return]  # found by name

    def make(self) -> Any:
        """Make one world, a PettingZoo `ParallelEnv`.

        Raises:
            ConfigError: `parallel_env` refused its options, or did not return a parallel environment.
            UnavailableError: an optional package is missing.
        """
        try:
            world = self.factory()(**self.options)
        except ImportError as error:
            raise UnavailableError(f"environment '{self.name}' needs a package that is missing: {error}") from error
        except (ConfigError, UnavailableError):
            raise
        except Exception as error:
            raise ConfigError(
                f"environment '{self.name}' could not be made with environment.options = {self.options}: "
                f"{type(error).__name__}: {error}"
            ) from error
        missing = [part for part in _NEEDED if not callable(getattr(world, part, None))]
        if missing or hasattr(world, "agent_iter"):
            raise ConfigError(
                f"environment '{self.name}': '{_FACTORY}' returned a {type(world).__name__}, "
                "not a PettingZoo ParallelEnv" + (f" (it has no {', '.join(missing)})" if missing else "")
            )
        if not getattr(world, "possible_agents", None):
            raise ConfigError(
                f"environment '{self.name}': {type(world).__name__} has no possible_agents; "
                "each of them gets a place in the arrays, so they must be known when it is made"
            )
        return world

    def _import(self) -> Any:
        """Import the module: an installed one, else (if it is not of a known package) one in the working directory."""
        package = self.module.partition(".")[0]
        here = str(Path.cwd())
        is_known = package in KNOWN_PACKAGES
        if not is_known and here not in sys.path and importlib.util.find_spec(package) is None:
            sys.path.append(here)
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.partition(".")[0] == package != missing:
                raise ConfigError(
                    f"environment '{self.name}': package '{package}' has no module '{missing}'"
                    f"{suggestion(self.module, _modules_beside(self.module))}"
                ) from error
            raise UnavailableError(
                f"environment '{self.name}': module '{self.module}' cannot be imported: {error}{_hint(missing)}"
            ) from error
        except ImportError as error:
            raise UnavailableError(
                f"environment '{self.name}': module '{self.module}' cannot be imported: {error}"
            ) from error


def _hint(missing: str) -> str:
    extra = "pip install 'townlet-core[pettingzoo]'"
    if missing in KNOWN_PACKAGES - {"pettingzoo"}:
        return f"; {extra} {missing}"
    return f"; {extra}" if missing == "pettingzoo" else f"; PettingZoo itself comes with: {extra}"


def _modules_beside(module: str) -> list[str]:
    """Return the modules of the package that `module` would be in, by full name."""
    parent = module.rpartition(".")[0]
    paths = getattr(sys.modules.get(parent), "__path__", ())
    return [f"{parent}.{found.name}" for found in pkgutil.iter_modules(paths)]
