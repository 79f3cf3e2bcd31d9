"""The gradient of a minibatch by torch's autograd: for every network and every device.

Legend: S shards, B rows of a shard, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from townlet_core.torch.heads import log_prob_and_entropy
from townlet_strategies_ppo.loss import LossCoefficients, normalized_advantages, ppo_loss

if TYPE_CHECKING:
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch


class AutogradGradient:
    """Differentiates minibatches of `num_shards` shards; see `update.Gradient`."""

    def __init__(self, network: TorchNetwork, num_shards: int, coefficients: LossCoefficients) -> None:
        self._network = network
        self._coefficients = coefficients
        self._weights = network.shard_weights(num_shards)

    def __call__(self, minibatch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return d loss / d parameters (P,), and the numbers that `update.REPORTED` names, both on the device."""
        network = self._network
        outputs = network(self._weights, minibatch.inputs)
        log_probs, entropies = log_prob_and_entropy(
            network.spec.head, outputs, minibatch.actions, minibatch.action_mask
        )
        normalized, deviation = normalized_advantages(minibatch.advantages, minibatch.weights, minibatch.count)
        terms = ppo_loss(
            log_probs,
            entropies,
            outputs.values,
            old_log_probs=minibatch.old_log_probs,
            old_values=minibatch.old_values,
            advantages=normalized if self._coefficients.normalize_advantages else minibatch.advantages,
            returns=minibatch.returns,
            weights=minibatch.weights,
            count=minibatch.count,
            coefficients=self._coefficients,
        )
        reported = [terms.total.detach(), terms.policy, terms.value, terms.entropy, terms.clip_fraction, terms.kl]
        reported += [terms.kl_k3, deviation, torch.full_like(deviation, minibatch.count)]
        return network.gradient(terms.total, self._weights), torch.stack(reported)
