"""The entry point: what this distribution offers, without importing it."""

from townlet_core.plugins import StrategyEntry, hookimpl

TOWNLET_PLUGIN_API = (1, 0)


@hookimpl
def townlet_strategies() -> list[StrategyEntry]:
    """Offer anneal."""
    return [
        StrategyEntry(
            name="anneal",
            strategy="townlet_strategies_anneal.strategy:AnnealStrategy",
            settings="townlet_strategies_anneal.settings:AnnealSettings",
            result="townlet_core.dto.anneal:AnnealSummaryDTO",
            summary="other strategies by schedule, from a clone to what it learns itself, each stage judged",
        )
    ]
