"""What a training strategy is; anything with this method is one (PEP 544)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from townlet_core.context import TrainingContext
    from townlet_core.dto.base import TrainingResultBase


@runtime_checkable
class TrainingStrategy(Protocol):
    """Turns a context into a typed result. Built without arguments; holds no state between runs."""

    def run(self, context: TrainingContext, **options: Any) -> TrainingResultBase:
        """Train.

        Args:
            context: configuration, services, run directory, and what else the run needs. The settings are
                `context.config.strategies[context.strategy_name]`.
            **options: overrides of those settings by field name.

        Returns:
            The result DTO that the strategy's entry names.

        Raises:
            ConfigError: an option or setting is unknown or not allowed.
            RunInterrupted: `context.stop` was given; everything needed to go on has been saved.
        """
        ...
