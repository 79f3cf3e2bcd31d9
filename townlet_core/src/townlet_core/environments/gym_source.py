"""Where Gymnasium worlds come from: a registered id or a factory, and how one world of it is made."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing

from townlet_core.errors import ConfigError, UnavailableError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

    from gymnasium.envs.registration import EnvSpec

    from townlet_core.config.environment import EnvironmentConfig

World = gymnasium.Env[Any, Any]


class QuickDiscrete(spaces.Discrete[np.int64]):
    """A Discrete int64 space with the same members whose `contains` answers plain integers at once.

    Gymnasium's own worlds ask it at every step, and it is a quarter of the cost of a CartPole step.
    """

    @cached_property
    def members(self) -> range:
        """All of them, as plain integers."""
        return range(int(self.start), int(self.start) + int(self.n))

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a member."""
        return x in self.members if x.__class__ is int else super().contains(x)


class QuickMultiDiscrete(spaces.MultiDiscrete):
    """A MultiDiscrete int64 space that counts from 0, with the same members whose `contains` is a third of the work.

    Gymnasium's own batched worlds ask it at every step, and it is a seventh of the cost of a step of 8 CartPoles.
    """

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a member."""
        if x.__class__ is np.ndarray and x.dtype == np.int64 and x.shape == self.nvec.shape:
            allowed = x.view(np.uint64) < self.nvec.view(np.uint64)  # a negative number is a huge unsigned one
            return bool(np.count_nonzero(allowed) == x.size)
        return super().contains(x)


def spare_batch_action_checks(vector: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
    """Make the membership test of a batched Discrete action space quick; nothing else about it changes."""
    space = getattr(vector, "action_space", None)
    if type(space) is spaces.MultiDiscrete and space.dtype == np.int64 and not space.start.any():
        space.__class__ = QuickMultiDiscrete


def spare_action_checks(world: World) -> None:
    """Make the membership test of a world's Discrete action space quick; nothing else about it changes."""
    space = world.unwrapped.action_space
    if type(space) is spaces.Discrete and space.dtype == np.int64:
        space.__class__ = QuickDiscrete


@dataclass(frozen=True, slots=True, kw_only=True)
class GymSource:
    """What makes worlds; plain data, so that it can be sent to a worker.

    Attributes:
        name: the name that the environment was asked for by.
        module: imported first (an id that registers itself), or the factory's module; None for a plain id.
        target: the registered id, or the factory's name.
        is_factory: whether `target` is a factory.
        options: keyword arguments for the constructor.
        max_episode_steps: time limit instead of the registered one.
    """

    name: str
    module: str | None
    target: str
    is_factory: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None

    @classmethod
    def from_config(cls, config: EnvironmentConfig, *, trust_code: bool) -> GymSource:
        """Return the source that `config.name` (``gymnasium:...`` or ``python:...``) stands for.

        Raises:
            ConfigError: the name is malformed or unknown, or runs code that was not trusted.
            UnavailableError: the module of the name cannot be imported.
        """
        name = config.name or ""
        kind, _, rest = name.partition(":")
        module, _, target = rest.rpartition(":")
        is_factory = kind == "python"
        if not target or (is_factory and not module):
            form = "python:module:factory" if is_factory else "gymnasium:ID"
            raise ConfigError(f"environment.name '{name}' is not of the form '{form}'")
        if module and not trust_code:
            raise ConfigError(
                f"environment.name '{name}' would import and run the module '{module}': "
                "name it on the command line, or allow it with --trust-config (trust_code=True in Python)"
            )
        source = cls(
            name=name,
            module=module or None,
            target=target,
            is_factory=is_factory,
            options=dict(config.options),
            max_episode_steps=config.max_episode_steps,
        )
        source.prepare()
        return source

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    def prepare(self) -> None:
        """Import what has to be imported, and check that the id or the factory exists.

        Raises:
            ConfigError: it does not exist.
            UnavailableError: its module cannot be imported.
        """
        if self.is_factory:
            self._factory()
            return
        if self.module is not None:
            self._import(self.module)
        self.spec()

    def spec(self) -> EnvSpec:
        """Return the registration of the id.

        Raises:
            ConfigError: nothing is registered under this id.
        """
        registry: dict[str, EnvSpec] = gymnasium.registry
        if self.target not in registry:
            raise ConfigError(
                f"Gymnasium has no environment '{self.target}'{suggestion(self.target, registry)} "
                f"({len(registry)} are registered; one of another package is named 'gymnasium:module:ID')"
            )
        return registry[self.target]

    def make(self) -> tuple[World, int | None]:
        """Make one world.

        Returns:
            The world and its time limit in steps, or None; the limit is left to the caller, where it costs nothing.

        Raises:
            ConfigError: the constructor refused its options, or did not return an environment.
            UnavailableError: an optional package is missing.
        """
        try:
            return self._make_from_factory() if self.is_factory else self._make_from_id()
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            raise UnavailableError(f"environment '{self.name}' needs a package that is missing: {error}") from error
        except (ConfigError, UnavailableError):
            raise
        except Exception as error:
            raise ConfigError(
                f"environment '{self.name}' could not be made with environment.options = {self.options}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _make_from_id(self) -> tuple[World, int | None]:
        spec = self.spec()
        if spec.additional_wrappers:  # they may need to see the time limit, which stands below them
            limit, inner_limit = None, self.max_episode_steps
        else:
            limit, inner_limit = self.max_episode_steps or spec.max_episode_steps, -1
        world: World = gymnasium.make(spec, max_episode_steps=inner_limit, disable_env_checker=True, **self.options)
        if type(world) is OrderEnforcing:  # it only checks that reset comes first, which the adapter sees to
            world = world.env
        spare_action_checks(world)
        return world, limit

    def _make_from_factory(self) -> tuple[World, int | None]:
        world = self._factory()(**self.options)
        if not isinstance(world, gymnasium.Env):
            raise ConfigError(
                f"environment '{self.name}': the factory returned a {type(world).__name__}, not a gymnasium.Env"
            )
        return world, self.max_episode_steps

    def _factory(self) -> Callable[..., Any]:
        module = self._import(self.module or "")
        factory = getattr(module, self.target, None)
        if not callable(factory):
            raise ConfigError(
                f"module '{self.module}' has no factory '{self.target}'{suggestion(self.target, dir(module))}"
            )
        return factory  # type: ignore[no-any-return]  # found by name

    def _import(self, name: str) -> Any:
        """Import the user's module: an installed one, else one in the working directory, as `python -m` finds it."""
        here = str(Path.cwd())
        if here not in sys.path and importlib.util.find_spec(name.partition(".")[0]) is None:
            sys.path.append(here)
        try:
            return importlib.import_module(name)
        except ImportError as error:
            hint = f"; say 'python:{name.removesuffix('.py')}:...', without '.py'" if name.endswith(".py") else ""
            raise UnavailableError(
                f"environment '{self.name}': module '{name}' cannot be imported: {error}{hint}"
            ) from error
