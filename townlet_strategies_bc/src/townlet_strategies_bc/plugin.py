"""The entry point: what this distribution offers, without importing it."""

from townlet_core.plugins import StrategyEntry, hookimpl

TOWNLET_PLUGIN_API = (1, 0)


@hookimpl
def townlet_strategies() -> list[StrategyEntry]:
    """Offer behaviour cloning."""
    return [
        StrategyEntry(
            name="bc",
            strategy="townlet_strategies_bc.strategy:BCStrategy",
            settings="townlet_strategies_bc.settings:BCSettings",
            result="townlet_core.dto.bc:BCTrainingResultDTO",
            summary="behaviour cloning of recorded demonstrations (Pomerleau 1991)",
            requires=("torch",),
        )
    ]
