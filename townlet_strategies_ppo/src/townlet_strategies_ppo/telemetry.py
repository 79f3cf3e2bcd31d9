"""From what an update did to the record that says so.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.anneal_fields import AnnealFields
from townlet_core.dto.ppo import PPOTelemetry, TownFields
from townlet_strategies_ppo.advantages import explained_variance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.context import AnnealContext
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.rollout import RolloutStatistics
    from townlet_strategies_ppo.update import UpdateMetrics

LOSS_FLOOR = 1e-3
CHAT_QUALITY_SUM = "chat_quality_sum"
CONFLICT_PREFIX = "rivalry"


def telemetry_record(
    buffer: RolloutBuffer,
    advantages: Array,
    statistics: RolloutStatistics,
    metrics: UpdateMetrics,
    *,
    feature_names: Mapping[str, tuple[str, ...]],
    anneal: AnnealContext | None,
    counters: dict[str, Any],
) -> PPOTelemetry:
    """Return the record of one update.

    Args:
        buffer: the rollout.
        advantages: (T, N, A), before normalisation.
        statistics: what happened in the rollout.
        metrics: what the minibatches reported.
        feature_names: observation name -> what its entries are called.
        anneal: where in a schedule this run stands, if it is part of one.
        counters: the fields that the caller knows: counts of the run, rates, durations, digest.
    """
    rewards, values, gains = (column[buffer.agent_mask] for column in (buffer.rewards, buffer.values, advantages))
    columns = metrics.columns
    entropies, deviations = columns["entropy"], columns["advantage_std"]
    loss_total = metrics.mean("total")
    town, other = _split_events(statistics.events)
    return PPOTelemetry(
        updates=len(entropies),
        transitions=statistics.agent_steps,
        loss_policy=metrics.mean("policy"),
        loss_value=metrics.mean("value"),
        loss_entropy=-metrics.mean("entropy"),
        loss_total=loss_total,
        clip_fraction=min(1.0, metrics.mean("clip_fraction")),
        clip_fraction_max=min(1.0, float(columns["clip_fraction"].max())),
        clip_triggered_minibatches=int(np.count_nonzero(columns["clip_fraction"])),
        adv_mean=float(gains.mean(dtype=np.float64)),
        adv_std=float(gains.std(dtype=np.float64)),
        adv_zero_std_batches=int(np.count_nonzero(deviations < 1e-8)),
        adv_min_std=float(deviations.min()),
        grad_norm=float(columns["grad_norm"].mean()),
        grad_norm_max=float(columns["grad_norm"].max()),
        kl_divergence=metrics.mean("kl"),
        kl_divergence_max=float(columns["kl"].max()),
        kl_k3=metrics.mean("kl_k3", metrics.last_epoch),
        entropy=metrics.mean("entropy"),
        batch_entropy_mean=float(entropies.mean()),
        batch_entropy_std=float(entropies.std()),
        reward_advantage_corr=correlation(rewards, gains),
        explained_variance=explained_variance(values, gains + values),
        num_epochs_done=metrics.num_epochs,
        stop_reason=metrics.stop_reason,
        **_episode_fields(statistics),
        **town,
        environment=other,
        conflict=conflict_averages(buffer, feature_names),
        **_anneal_fields(anneal, loss_total, town),
        **counters,
    )


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's correlation of two flat arrays; 0 when either is constant."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    scale = float(first.std() * second.std())
    if scale < 1e-12:
        return 0.0
    covariance = float(((first - first.mean()) * (second - second.mean())).mean())
    return float(np.clip(covariance / scale, -1.0, 1.0))


def conflict_averages(buffer: RolloutBuffer, feature_names: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Return what the agents saw of rivalry: `<feature>_mean_avg` and `<feature>_max_avg` of the features named so.

    The first is the mean over all present rows. The second is the mean over the agents of all worlds, (N, A), of the
    largest value that each saw; those who were never present do not count.

    Args:
        buffer: the rollout.
        feature_names: observation name -> what its entries are called.
    """
    present = buffer.agent_mask
    averages = {}
    for name, features in feature_names.items():
        for index, feature in enumerate(features):
            if feature.startswith(CONFLICT_PREFIX):
                seen = buffer.observations[name][..., index]
                largest = np.where(present, seen, -np.inf).max(axis=0)[present.any(axis=0)]
                averages[f"{feature}_mean_avg"] = float(seen[present].mean(dtype=np.float64))
                averages[f"{feature}_max_avg"] = float(largest.mean(dtype=np.float64))
    return averages


def _episode_fields(statistics: RolloutStatistics) -> dict[str, Any]:
    returns = np.array(statistics.episode_returns)
    if len(returns) == 0:
        return {"episodes": 0}
    return {
        "episodes": len(returns),
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_return_min": float(returns.min()),
        "episode_return_max": float(returns.max()),
        "episode_length_mean": float(np.mean(statistics.episode_lengths)),
    }


def _split_events(events: dict[str, float]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the events that have a field of their own, and the others."""
    town = {name: value for name, value in events.items() if name in TownFields.model_fields}
    if CHAT_QUALITY_SUM in events and town.get("chat_success_events"):
        town["chat_quality_mean"] = events[CHAT_QUALITY_SUM] / town["chat_success_events"]
    return town, {name: value for name, value in events.items() if name not in town and name != CHAT_QUALITY_SUM}


def _anneal_fields(anneal: AnnealContext | None, loss: float, town: dict[str, float]) -> dict[str, Any]:
    if anneal is None:
        return {}
    fields = anneal.telemetry_fields()
    if anneal.loss_baseline is not None:
        change = abs(loss - anneal.loss_baseline) / max(abs(anneal.loss_baseline), LOSS_FLOOR)
        fields["anneal_loss_flag"] = change > anneal.loss_tolerance
    measured = {"queue": "queue_conflict_events", "intensity": "queue_conflict_intensity_sum"}
    for name, event in measured.items():
        baseline = fields[f"anneal_{name}_baseline"]
        if baseline is not None and event in town:
            fields[f"anneal_{name}_flag"] = town[event] < (1.0 - anneal.queue_tolerance) * baseline
    assert fields.keys() <= AnnealFields.model_fields.keys()
    return fields
