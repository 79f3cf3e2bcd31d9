"""One PPO update: passes over minibatches, gradients summed over shards, clipped, and a step of Adam.

Legend: S shards, M minibatch steps made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from townlet_core.errors import DataError
from townlet_core.torch.adam import Adam, clip_global_norm
from townlet_core.torch.heads import log_prob_and_entropy
from townlet_strategies_ppo.loss import LossCoefficients, normalized_advantages, ppo_loss

if TYPE_CHECKING:
    from townlet_core import randomness
    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch, RolloutBatch
    from townlet_strategies_ppo.settings import PPOSettings

METRICS = ("total", "policy", "value", "entropy", "clip_fraction", "kl", "kl_k3", "grad_norm", "advantage_std", "count")


@dataclass(frozen=True, slots=True)
class UpdateMetrics:
    """What the minibatches reported.

    Attributes:
        columns: name in `METRICS` -> (M,) float64.
        num_epochs: passes made.
        last_epoch: where the last pass begins in the columns.
        stop_reason: why the passes ended.
    """

    columns: dict[str, Array]
    num_epochs: int
    last_epoch: int
    stop_reason: Literal["epochs", "target_kl"]

    def mean(self, name: str, first: int = 0) -> float:
        """Return the mean of a column from minibatch `first` on, weighted by the minibatches' sizes."""
        return float(np.average(self.columns[name][first:], weights=self.columns["count"][first:]))


def update(
    network: TorchNetwork,
    optimizer: Adam,
    batch: RolloutBatch,
    settings: PPOSettings,
    *,
    learning_rate: float,
    clip_range: float,
    epoch_keys: randomness.Keys,
) -> UpdateMetrics:
    """Change the network's parameters in place.

    Args:
        network: what learns.
        optimizer: its Adam.
        batch: the rollout.
        settings: the settings of PPO.
        learning_rate: of this update.
        clip_range: of this update.
        epoch_keys: (num_epochs, S) keys of the permutations.

    Raises:
        DataError: the loss or the gradient is not finite.
    """
    coefficients = LossCoefficients(clip_range, settings.value_clip_range, settings.entropy_coef, settings.value_coef)
    weights = network.shard_weights(batch.num_shards)
    rows: list[torch.Tensor] = []
    first, epoch, stop_reason = 0, 0, "epochs"
    for epoch in range(settings.num_epochs):
        first = len(rows)
        rows.extend(
            _step(network, optimizer, weights, minibatch, settings, coefficients, learning_rate)
            for minibatch in batch.minibatches(epoch_keys[epoch], settings.num_minibatches)
        )
        if (
            settings.target_kl is not None
            and epoch + 1 < settings.num_epochs
            and _kl(rows[first:]) > settings.target_kl
        ):
            stop_reason = "target_kl"
            break
    table = torch.stack(rows).cpu().numpy().astype(np.float64)
    if not np.isfinite(table).all():
        raise DataError(_describe_divergence(table))
    columns = dict(zip(METRICS, table.T, strict=True))
    return UpdateMetrics(columns, epoch + 1, first, "target_kl" if stop_reason == "target_kl" else "epochs")


def _step(
    network: TorchNetwork,
    optimizer: Adam,
    weights: dict[str, torch.Tensor],
    minibatch: Minibatch,
    settings: PPOSettings,
    coefficients: LossCoefficients,
    learning_rate: float,
) -> torch.Tensor:
    outputs = network(weights, minibatch.inputs)
    log_probs, entropies = log_prob_and_entropy(network.spec.head, outputs, minibatch.actions, minibatch.action_mask)
    advantages, deviation = normalized_advantages(minibatch.advantages, minibatch.weights, minibatch.count)
    terms = ppo_loss(
        log_probs,
        entropies,
        outputs.values,
        old_log_probs=minibatch.old_log_probs,
        old_values=minibatch.old_values,
        advantages=advantages if settings.normalize_advantages else minibatch.advantages,
        returns=minibatch.returns,
        weights=minibatch.weights,
        count=minibatch.count,
        coefficients=coefficients,
    )
    gradient = network.gradient(terms.total, weights)
    norm = clip_global_norm(gradient, settings.max_grad_norm)
    optimizer.step(gradient, learning_rate=learning_rate)
    count = torch.tensor(float(minibatch.count), device=norm.device)
    return torch.stack(
        [
            terms.total.detach(),
            terms.policy,
            terms.value,
            terms.entropy,
            terms.clip_fraction,
            terms.kl,
            terms.kl_k3,
            norm,
            deviation,
            count,
        ]
    )


def _kl(rows: list[torch.Tensor]) -> float:
    table = torch.stack(rows)
    counts = table[:, METRICS.index("count")]
    return float((table[:, METRICS.index("kl_k3")] * counts).sum() / counts.sum())


def _describe_divergence(table: Array) -> str:
    step, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
    return (
        f"{METRICS[column]} became {table[step, column]} at minibatch {step + 1} of the update; "
        "the weights were not kept. A smaller strategies.ppo.learning_rate, or normalize_rewards, usually helps"
    )
