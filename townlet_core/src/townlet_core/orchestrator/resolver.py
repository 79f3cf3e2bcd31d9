"""Names to things, with plugins: what `TrainingContext.resolver` is in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from townlet_core.environments.build import make_environment
from townlet_core.errors import PluginError
from townlet_core.policy.encoder import BUILT_IN_ENCODERS, Encoder, built_in_encoder
from townlet_core.strategy import TrainingStrategy
from townlet_core.tracking.base import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.vector import VectorEnvironment
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
            config, num_worlds=num_worlds, trust_code=self.trust_code, entries=self.registry.environment_factory
        )

    def encoder(self, name: str) -> Encoder:
        """Return an encoder; raises `PluginError` where nobody offers it."""
        if name in BUILT_IN_ENCODERS:
            return built_in_encoder(name)
        encoder: Encoder = self._built("encoder", name, Encoder)
        return encoder

    def tracker(self, name: str, options: Mapping[str, Any], run_directory: str) -> Tracker:
        """Return a plugin's tracker; raises `PluginError` where nobody offers it, or where it cannot be made."""
        make = self.registry.resolve("tracker", name)
        try:
            tracker = make(run_directory, dict(options))
        except Exception as error:
            raise PluginError(f"tracker '{name}' cannot be made: {type(error).__name__}: {error}") from error
        if not isinstance(tracker, Tracker):
            raise PluginError(f"tracker '{name}' made {type(tracker).__name__}, which has no log and close")
        return tracker

    def strategy(self, name: str) -> TrainingStrategy:
        """Return a new strategy; raises `PluginError` or `TorchNotAvailableError` where it cannot be used."""
        strategy: TrainingStrategy = self._built("strategy", name, TrainingStrategy)
        return strategy

    def _built(self, kind: Any, name: str, protocol: type[Any]) -> Any:
        target = self.registry.resolve(kind, name)
        try:
            built = target()
        except Exception as error:
            raise PluginError(f"{kind} '{name}' cannot be made: {type(error).__name__}: {error}") from error
        absent = [method for method in vars(protocol) if not method.startswith("_") and not hasattr(built, method)]
        if absent:
            raise PluginError(f"{kind} '{name}' is {type(built).__name__}, which has no {' and no '.join(absent)}")
        return built
