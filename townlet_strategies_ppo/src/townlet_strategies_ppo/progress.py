"""How far a run has come, and what holds for its next update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_strategies_ppo.handover import actor_share, is_warming
from townlet_strategies_ppo.update import Rates

if TYPE_CHECKING:
    from townlet_core.context import PPOState
    from townlet_strategies_ppo.settings import PPOSettings


def is_done(settings: PPOSettings, state: PPOState) -> bool:
    """Return whether all updates are made."""
    if settings.num_updates is not None:
        return state.update >= settings.num_updates
    return state.agent_steps >= settings.total_steps


def total_steps(settings: PPOSettings, shape: tuple[int, int]) -> int:
    """Return how many agent-steps the run is to make; where updates are counted, what they come to at most.

    Args:
        settings: of the run.
        shape: (N, A) worlds and agents of each.
    """
    if settings.num_updates is None:
        return settings.total_steps
    return settings.num_updates * settings.num_steps * shape[0] * shape[1]


def blend_share(settings: PPOSettings, state: PPOState) -> float:
    """Return in which share of the agent-steps of the next rollout the script acts."""
    return settings.blend_share * (_left(settings, state) if settings.blend_schedule == "linear" else 1.0)


def _left(settings: PPOSettings, state: PPOState) -> float:
    """Return which share of the run is still to be made."""
    if settings.num_updates is None:
        return 1.0 - min(1.0, state.agent_steps / settings.total_steps)
    return 1.0 - min(1.0, state.update / settings.num_updates)


def next_rates(settings: PPOSettings, state: PPOState) -> Rates:
    """Return what holds for the next update."""
    left = _left(settings, state)
    protection = left if settings.protection_schedule == "linear" else 1.0
    rate = settings.learning_rate * (left if settings.learning_rate_schedule == "linear" else 1.0)
    return Rates(
        rate * settings.critic_warmup_rate if is_warming(settings, state) else rate,
        settings.clip_range * (left if settings.clip_range_schedule == "linear" else 1.0),
        settings.reference_kl_coef * protection,
        settings.demonstration_coef * protection,
        actor_share(settings, state),
    )
