"""The gradient of a minibatch in closed form, in NumPy: for multi-layer policies on the CPU.

The same mathematics as `loss.ppo_loss`, term by term; the tests hold both against one implementation by hand. With
the ratio r = exp(log p - log p_old), the surrogate min(r A, clip(r) A) has the derivative r A with respect to log p
where the free term is the smaller one, and 0 where the clipped one is.

Legend: S shards, B rows of a shard, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.head_gradients import ActionTerms
from townlet_core.policy.operations import NumpyOperations

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch
    from townlet_strategies_ppo.loss import LossCoefficients


class ClosedFormGradient:
    """Differentiates minibatches of `num_shards` shards; see `update.Gradient`."""

    def __init__(self, network: TorchNetwork, num_shards: int, coefficients: LossCoefficients) -> None:
        self._coefficients = coefficients
        self._spec, self._encoder = network.spec, network.encoder
        self._network = ClosedFormNetwork(
            network.spec, network.encoder, network.parameters.numpy(), num_shards=num_shards, reuse=True
        )
        self._operations = NumpyOperations()

    def __call__(self, minibatch: Minibatch) -> tuple[Array, list[float]]:
        """Return d loss / d parameters (P,), which holds until the next call, and what `update.REPORTED` names."""
        coefficients, count = self._coefficients, minibatch.count
        weights = minibatch.weights.numpy()
        inputs = {name: values.numpy() for name, values in minibatch.inputs.items()}
        features = self._encoder.encode(self._operations, {}, inputs, self._spec.encoder.options)
        outputs, values = self._network.forward(features)
        actions = ActionTerms(
            self._spec.head,
            outputs,
            minibatch.actions.numpy(),
            None if minibatch.action_mask is None else minibatch.action_mask.numpy(),
            self._network.layers.log_std,
        )
        advantages, deviation = normalized_advantages(minibatch.advantages.numpy(), weights, count)
        if not coefficients.normalize_advantages:
            advantages = minibatch.advantages.numpy()
        log_ratio = (actions.log_prob - minibatch.old_log_probs.numpy()) * weights
        ratio = np.exp(log_ratio)
        free = ratio * advantages
        held = np.clip(ratio, 1.0 - coefficients.clip_range, 1.0 + coefficients.clip_range) * advantages
        policy = -masked_mean(np.minimum(free, held), weights, count)
        errors, slopes = value_errors(values, minibatch, coefficients.value_clip_range)
        value = 0.5 * masked_mean(errors, weights, count)
        entropy = masked_mean(actions.entropy, weights, count)
        share = weights * weights.dtype.type(1.0 / count)
        d_outputs, d_log_std = actions.backward(
            np.where(free <= held, free, 0) * -share, share * -coefficients.entropy_coef
        )
        gradient = self._network.backward(d_outputs, slopes * share * coefficients.value_coef, d_log_std)
        return gradient, [
            policy + coefficients.value_coef * value - coefficients.entropy_coef * entropy,
            policy,
            value,
            entropy,
            masked_mean(np.abs(ratio - 1.0) > coefficients.clip_range, weights, count),
            -masked_mean(log_ratio, weights, count),
            masked_mean(ratio - 1.0 - log_ratio, weights, count),
            deviation,
            count,
        ]


def masked_mean(values: Array, weights: Array, count: int) -> float:
    """Return the sum of `values` (S, B) over rows of weight 1, shard by shard, divided by `count`."""
    return float((values * weights).sum(axis=1).sum()) / count


def normalized_advantages(advantages: Array, weights: Array, count: int) -> tuple[Array, float]:
    """Return advantages (S, B) of mean 0 and deviation 1 (n - 1), and the deviation before; one row stays as it is."""
    if count < 2:
        return advantages, 0.0
    shifted = (advantages - advantages.dtype.type(masked_mean(advantages, weights, count))) * weights
    deviation = float(np.sqrt((shifted * shifted).sum(axis=1).sum() / (count - 1)))
    shifted /= shifted.dtype.type(deviation + 1e-8)
    return shifted, deviation


def value_errors(values: Array, minibatch: Minibatch, limit: float | None) -> tuple[Array, Array]:
    """Return the squared errors (S, B) of the value loss, and half their derivatives.

    With a `limit` the error is the greater one of the value and of the value held within `limit` of the old one, which
    where it is held has no derivative.
    """
    returns = minibatch.returns.numpy()
    slopes = values - returns
    errors = slopes * slopes
    if limit is None:
        return errors, slopes
    old_values = minibatch.old_values.numpy()
    moves = values - old_values
    held_slopes = old_values + np.clip(moves, -limit, limit) - returns
    held_errors = held_slopes * held_slopes
    inside = np.abs(moves) <= limit
    slopes = np.where(held_errors > errors, np.where(inside, held_slopes, 0), slopes)
    return np.maximum(errors, held_errors), slopes
