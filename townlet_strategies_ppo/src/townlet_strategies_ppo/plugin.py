"""The entry point: what this distribution offers, without importing it."""

from townlet_core.plugins import StrategyEntry, hookimpl

TOWNLET_PLUGIN_API = (1, 0)


@hookimpl
def townlet_strategies() -> list[StrategyEntry]:
    """Offer PPO."""
    return [
        StrategyEntry(
            name="ppo",
            strategy="townlet_strategies_ppo.strategy:PPOStrategy",
            settings="townlet_strategies_ppo.settings:PPOSettings",
            result="townlet_core.dto.ppo:PPOTrainingResultDTO",
            summary="proximal policy optimisation (Schulman et al. 2017)",
            requires=("torch",),
        )
    ]
