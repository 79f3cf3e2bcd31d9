"""The clipped surrogate loss of PPO (Schulman et al. 2017, equations 7 and 9), as sums per shard.

A minibatch is divided by its global count of present rows, never by a shard's own: a mean of means would weight shards
of few present agents too much.

Legend: S shards, B rows of a shard.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class LossCoefficients:
    """What weighs the terms against each other; see `PPOSettings`."""

    clip_range: float
    value_clip_range: float | None
    entropy_coef: float
    value_coef: float
    normalize_advantages: bool = True


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The terms of a minibatch; scalars, but for `total` without gradient.

    Attributes:
        total: policy + value_coef x value - entropy_coef x entropy.
        policy: clipped surrogate loss.
        value: half the mean squared value error.
        entropy: mean entropy.
        clip_fraction: share of present rows whose ratio left the clip range.
        kl: mean(old - new log-probability).
        kl_k3: mean(ratio - 1 - log ratio), at least 0 (Schulman 2020, "Approximating KL divergence").
    """

    total: torch.Tensor
    policy: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    clip_fraction: torch.Tensor
    kl: torch.Tensor
    kl_k3: torch.Tensor


def masked_mean(values: torch.Tensor, weights: torch.Tensor, count: int) -> torch.Tensor:
    """Return the sum of `values` (S, B) over rows of weight 1, shard by shard, divided by `count`."""
    return (values * weights).sum(dim=1).sum() / count


def normalized_advantages(
    advantages: torch.Tensor, weights: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return advantages (S, B) of mean 0 and deviation 1 over the minibatch, and the deviation before.

    The deviation has n - 1 in its denominator. A single row is returned as it is.
    """
    if count < 2:
        return advantages, torch.zeros((), dtype=advantages.dtype, device=advantages.device)
    shifted = (advantages - masked_mean(advantages, weights, count)) * weights
    deviation = torch.sqrt((shifted * shifted).sum(dim=1).sum() / (count - 1))
    return shifted / (deviation + 1e-8), deviation


def ppo_loss(
    log_probs: torch.Tensor,
    entropies: torch.Tensor,
    values: torch.Tensor,
    *,
    old_log_probs: torch.Tensor,
    old_values: torch.Tensor,
    advantages: torch.Tensor,
    returns: torch.Tensor,
    weights: torch.Tensor,
    count: int,
    coefficients: LossCoefficients,
) -> LossTerms:
    """Return the loss of a minibatch.

    Args:
        log_probs: (S, B) under the network as it is.
        entropies: (S, B).
        values: (S, B).
        old_log_probs: (S, B) under the policy that acted.
        old_values: (S, B) under the same.
        advantages: (S, B).
        returns: (S, B), the value targets.
        weights: (S, B), 1 for present rows and 0 for the others.
        count: number of present rows in the minibatch, of all shards.
        coefficients: weights of the terms.
    """
    log_ratio = (log_probs - old_log_probs) * weights
    ratio = torch.exp(log_ratio)
    clip = coefficients.clip_range
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    policy = -masked_mean(torch.min(ratio * advantages, clipped * advantages), weights, count)
    error = (values - returns) ** 2
    if coefficients.value_clip_range is not None:
        limit = coefficients.value_clip_range
        moved = old_values + torch.clamp(values - old_values, -limit, limit)
        error = torch.max(error, (moved - returns) ** 2)
    value = 0.5 * masked_mean(error, weights, count)
    entropy = masked_mean(entropies, weights, count)
    total = policy + coefficients.value_coef * value - coefficients.entropy_coef * entropy
    with torch.no_grad():
        outside = ((ratio - 1.0).abs() > clip).to(ratio.dtype)
        return LossTerms(
            total=total,
            policy=policy.detach(),
            value=value.detach(),
            entropy=entropy.detach(),
            clip_fraction=masked_mean(outside, weights, count),
            kl=-masked_mean(log_ratio, weights, count),
            kl_k3=masked_mean(ratio - 1.0 - log_ratio, weights, count),
        )
