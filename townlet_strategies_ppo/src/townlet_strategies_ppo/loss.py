"""The clipped surrogate loss of PPO (Schulman et al. 2017, equations 7 and 9), as sums per shard.

A minibatch is divided by its global count of present rows, never by a shard's own: a mean of means would weight shards
of few present agents too much. Rows in which a script acted are in the value loss alone, and everything else is divided
by the number of the others.

Legend: S shards, B rows of a shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from townlet_strategies_ppo.batch import Minibatch


@dataclass(frozen=True, slots=True)
class LossCoefficients:
    """What weighs the terms against each other; see `PPOSettings`."""

    clip_range: float
    value_clip_range: float | None
    entropy_coef: float
    value_coef: float
    reference_kl_coef: float = 0.0


class LossSums(NamedTuple):
    """Sums over the rows of a minibatch in which the learner acted; `value` over all present ones. Numbers or tensors.

    Attributes:
        policy: min(ratio x advantage, clipped ratio x advantage).
        value: squared errors of the values.
        entropy: entropy.
        outside: 1 where the ratio left the clip range.
        log_ratio: new - old log-probability.
        excess: ratio - 1 - log ratio, at least 0 (Schulman 2020, "Approximating KL divergence", estimator k3).
        divergence: KL(reference || policy); 0 without a reference.
    """

    policy: Any
    value: Any
    entropy: Any
    outside: Any
    log_ratio: Any
    excess: Any
    divergence: Any

    def loss(self, minibatch: Minibatch, coefficients: LossCoefficients) -> Any:
        """Return the loss: the mean of each term with its weight, of what is to grow with a minus sign."""
        learned = minibatch.num_learned
        value = 0.5 * coefficients.value_coef * self.value * (learned / minibatch.count)
        value = value + coefficients.reference_kl_coef * self.divergence
        return (value - self.policy - coefficients.entropy_coef * self.entropy) / learned

    def reported(self, minibatch: Minibatch, coefficients: LossCoefficients) -> list[Any]:
        """Return what `update.REPORTED` names."""
        count, learned = minibatch.count, minibatch.num_learned
        return [
            self.loss(minibatch, coefficients),
            -self.policy / learned,
            0.5 * self.value / count,
            self.entropy / learned,
            self.outside / learned,
            -self.log_ratio / learned,
            self.excess / learned,
            self.divergence / learned,
            minibatch.deviation,
            learned,
        ]


def ppo_terms(
    log_probs: torch.Tensor,
    entropies: torch.Tensor,
    values: torch.Tensor,
    divergences: torch.Tensor,
    *,
    old_log_probs: torch.Tensor,
    old_values: torch.Tensor,
    advantages: torch.Tensor,
    returns: torch.Tensor,
    weights: torch.Tensor,
    scripted: torch.Tensor | None = None,
    coefficients: LossCoefficients,
) -> LossSums:
    """Return the sums of some shards of a minibatch, scalars; policy, value, entropy and divergence have gradients.

    Args:
        log_probs: (S, B) under the network as it is.
        entropies: (S, B).
        values: (S, B).
        divergences: (S, B) from the reference; zeros for none.
        old_log_probs: (S, B) under the policy that acted.
        old_values: (S, B) under the same.
        advantages: (S, B).
        returns: (S, B), the value targets.
        weights: (S, B), 1 for present rows in which the learner acted, and 0 for the others.
        scripted: (S, B), 1 for those in which a script acted; None where none ever did.
        coefficients: weights of the terms.
    """

    def total(terms: torch.Tensor, weights: torch.Tensor = weights) -> torch.Tensor:
        return (terms * weights).sum(dim=1).sum()

    log_ratio = (log_probs - old_log_probs) * weights
    ratio = torch.exp(log_ratio)
    clip = coefficients.clip_range
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    error = (values - returns) ** 2
    if coefficients.value_clip_range is not None:
        limit = coefficients.value_clip_range
        moved = old_values + torch.clamp(values - old_values, -limit, limit)
        error = torch.max(error, (moved - returns) ** 2)
    policy = total(torch.min(ratio * advantages, clipped * advantages))
    with torch.no_grad():
        outside = ((ratio - 1.0).abs() > clip).to(ratio.dtype)
        rest = total(outside), total(log_ratio), total(ratio - 1.0 - log_ratio)
    value = total(error, weights if scripted is None else weights + scripted)
    return LossSums(policy, value, total(entropies), *rest, total(divergences))
