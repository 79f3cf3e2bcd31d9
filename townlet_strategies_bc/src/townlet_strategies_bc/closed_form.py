"""The gradient of a batch in closed form, in NumPy: for multi-layer policies on the CPU.

The same mathematics as `loss.action_loss`; the tests hold both against one implementation by hand. For a softmax with
probabilities p and a smoothed label q, d loss / d logits = p - q, where p and q are 0 on illegal actions. Logits are
turned to (K, B) first: NumPy reduces long axes several times faster than short ones.

Legend: B rows, K actions of a part, D action dimensions, P parameters. Arrays of the network have a shard axis of
length 1 in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.heads import LOG_SQRT_TWO_PI, MASK_FILL

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_bc.batch import Batch
    from townlet_strategies_bc.loss import LossTerms


class ClosedFormGradient:
    """Differentiates batches; see `update.Gradient`. What it returns holds until the next call."""

    def __init__(self, network: TorchNetwork, terms: LossTerms) -> None:
        self._terms, self._head = terms, network.spec.head
        self._network = ClosedFormNetwork(
            network.spec,
            network.encoder,
            network.parameters.numpy(),
            num_shards=1,
            critic=terms.value_coef > 0,
        )
        weights = terms.class_weights
        self._parts = [
            _Softmax(count, terms.label_smoothing, None if weights is None else weights[segment])
            for count, segment in zip(self._head.counts, self._head.segments, strict=True)
        ]

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is not finite is reported by `update`
    def __call__(self, batch: Batch) -> tuple[Array, list[float]]:
        """Return d loss / d parameters (P,), and the sums that `optimizer.SUMS` names."""
        outputs, values = self._network.forward(batch.features)
        share = outputs.dtype.type(1.0 / batch.count)
        log_std = None
        if self._head.kind == "gaussian":
            loss, slopes, log_std = _gaussian(outputs[0], batch.actions[0], self._network.layers.log_std, share)
            right = 0
        else:
            loss, slopes, right = self._softmaxes(outputs[0], batch, share)
        value_loss = 0.0
        if batch.returns is not None:
            errors = values - batch.returns
            value_loss = 0.5 * float(np.einsum("sb,sb->", errors, errors, dtype=np.float64))
            errors *= share * self._terms.value_coef
            values = errors
        (gradient,) = self._network.backward(slopes[None], values, None if log_std is None else log_std[None])
        return gradient, [loss + self._terms.value_coef * value_loss, value_loss, right, batch.count]

    def outputs(self, batch: Batch) -> tuple[Array, Array]:
        """Return logits or means (B, K) and values (B,)."""
        outputs, values = self._network.forward(batch.features)
        return outputs[0], values[0]

    def _softmaxes(self, logits: Array, batch: Batch, share: np.floating) -> tuple[float, Array, int]:
        """Return the sum of the rows' losses, d mean loss / d logits (B, K), and how many rows are right."""
        mask = None if batch.action_mask is None else batch.action_mask[0]
        if len(self._parts) == 1:
            chosen = batch.actions[0] if self._head.kind == "categorical" else batch.actions[0, :, 0]
            loss, slopes, right = self._parts[0](logits, chosen, mask, share)
            return loss, slopes, int(np.count_nonzero(right))
        total, all_slopes, all_right = 0.0, np.empty_like(logits), np.ones(len(logits), np.bool_)
        for part, (softmax, segment) in enumerate(zip(self._parts, self._head.segments, strict=True)):
            part_mask = None if mask is None else mask[:, segment]
            loss, all_slopes[:, segment], right = softmax(
                logits[:, segment], batch.actions[0, :, part], part_mask, share
            )
            total += loss
            all_right &= right
        return total, all_slopes, int(np.count_nonzero(all_right))


class _Softmax:
    """One categorical part; its arrays are used again for batches of the same size."""

    def __init__(self, num_actions: int, smoothing: float, weights: Array | None) -> None:
        self._num_actions, self._smoothing, self._weights = num_actions, smoothing, weights
        self._rows = np.arange(0)
        self._logits = self._probs = np.empty((0, 0))

    def __call__(
        self, logits: Array, actions: Array, mask: Array | None, share: np.floating
    ) -> tuple[float, Array, Array]:
        """Return the sum of losses, d mean loss / d logits (B, K), and where the label is the most likely action (B,).

        Args:
            logits: (B, K).
            actions: (B,) int64.
            mask: (B, K) bool, or None.
            share: 1 / B.
        """
        if self._logits.shape[1] != len(logits) or self._logits.dtype != logits.dtype:
            self._rows = np.arange(len(logits))
            self._logits = np.empty((self._num_actions, len(logits)), logits.dtype)
            self._probs = np.empty_like(self._logits)
        shifted, probs, rows = self._logits, self._probs, self._rows
        np.copyto(shifted, logits.T)
        legal = None if mask is None else mask.T
        if legal is not None:
            np.copyto(shifted, MASK_FILL, where=~legal)
        right = shifted.argmax(axis=0) == actions
        shifted -= shifted.max(axis=0)
        np.exp(shifted, out=probs)
        total = probs.sum(axis=0)
        log_total = np.log(total)
        loss = log_total - shifted[actions, rows]
        probs /= total
        smoothing = self._smoothing
        if smoothing > 0:
            loss *= 1.0 - smoothing
            if legal is None:
                loss += smoothing * (log_total - shifted.mean(axis=0))
                probs -= smoothing / self._num_actions
            else:
                count = legal.sum(axis=0).astype(logits.dtype)
                loss += smoothing * (log_total - np.where(legal, shifted, 0).sum(axis=0) / count)
                probs -= legal * (logits.dtype.type(smoothing) / count)
        probs[actions, rows] -= 1.0 - smoothing
        if self._weights is None:
            probs *= share
        else:
            weights = self._weights[actions]
            loss *= weights
            probs *= weights * share
        return float(loss.sum(dtype=np.float64)), probs.T, right


def _gaussian(means: Array, actions: Array, log_std: Array, share: np.floating) -> tuple[float, Array, Array]:
    """Return the sum of losses, d mean loss / d means (B, D), and d mean loss / d log_std (D,)."""
    precision = np.exp(-log_std)
    standard = (means - actions) * precision
    squares = standard * standard
    constant = float((log_std + means.dtype.type(LOG_SQRT_TWO_PI)).sum(dtype=np.float64))
    loss = 0.5 * float(squares.sum(dtype=np.float64)) + len(means) * constant
    slopes = (1.0 - squares).sum(axis=0) * share
    standard *= precision * share
    return loss, standard, slopes
