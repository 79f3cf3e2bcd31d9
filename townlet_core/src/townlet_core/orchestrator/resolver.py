"""Names to things, with plugins: what `TrainingContext.resolver` is in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from townlet_core.environments.build import make_environment
from townlet_core.environments.vector import VectorEnvironment
from townlet_core.errors import PluginError, TownletError
from townlet_core.policy.encoder import BUILT_IN_ENCODERS, Encoder, built_in_encoder
from townlet_core.strategy import TrainingStrategy
from townlet_core.tracking.base import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.config.base import Settings
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.build import EnvironmentFactory
    from townlet_core.plugins.offers import Kind
    from townlet_core.plugins.registry import Registry


@dataclass(frozen=True, slots=True)
class PluginResolver:
    """Resolves built-ins first, then what plugins offer.

    Attributes:
        registry: the installed plugins.
        trust_code: whether an environment's name may import and run a module.
    """

    registry: Registry
    trust_code: bool

    def environment(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
        """Build an environment; see `Resolver.environment`."""
        return make_environment(
            config,
            num_worlds=num_worlds,
            trust_code=self.trust_code,
            entries=self._environment_factory,
            plugin_names=self.registry.plain("environment"),
        )

    def encoder(self, name: str) -> Encoder:
        """Return an encoder; raises `PluginError` where nobody offers it."""
        if name in BUILT_IN_ENCODERS:
            return built_in_encoder(name)
        encoder: Encoder = self._built("encoder", name, Encoder)
        return encoder

    def tracker(self, name: str, options: Mapping[str, Any], run_directory: str) -> Tracker:
        """Return a plugin's tracker; raises `PluginError` where nobody offers it, or where it cannot be made."""
        tracker: Tracker = self._built("tracker", name, Tracker, run_directory, dict(options))
        return tracker

    def strategy(self, name: str) -> TrainingStrategy:
        """Return a new strategy; raises `PluginError` or `TorchNotAvailableError` where it cannot be used."""
        strategy: TrainingStrategy = self._built("strategy", name, TrainingStrategy)
        return strategy

    def strategy_settings(self, name: str) -> type[Settings]:
        """Return the settings model of a strategy; raises `PluginError` where nobody offers it."""
        model: type[Settings] = self.registry.resolve("strategy", name, field="settings")
        return model

    def _environment_factory(self, name: str) -> EnvironmentFactory | None:
        """Return a plugin's factory under a guard, or None where no plugin has that name."""
        factory = self.registry.environment_factory(name)
        if factory is None:
            return None

        def guarded(config: EnvironmentConfig, *, num_worlds: int) -> VectorEnvironment:
            title = self.registry.find("environment", name).title
            environment = _made(title, factory, config, num_worlds=num_worlds)
            if not isinstance(environment, VectorEnvironment):
                raise PluginError(f"{title} made {type(environment).__name__}, which is no VectorEnvironment")
            if environment.num_worlds != num_worlds:
                environment.close()
                raise PluginError(f"{title} made {environment.num_worlds} worlds, and was asked for {num_worlds}")
            return environment

        return guarded

    def _built(self, kind: Kind, name: str, protocol: type[Any], *arguments: object) -> Any:
        target = self.registry.resolve(kind, name)
        title = self.registry.find(kind, name).title
        built = _made(title, target, *arguments)
        absent = [method for method in vars(protocol) if not method.startswith("_") and not hasattr(built, method)]
        if absent:
            raise PluginError(f"{title} is {type(built).__name__}, which has no {' and no '.join(absent)}")
        return built


def _made(title: str, target: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """Call what a plugin gave us; what it raises is its fault, but for errors raised on purpose and want of memory."""
    try:
        return target(*arguments, **named)
    except (TownletError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(f"{title} cannot be made: {type(error).__name__}: {error}") from error
