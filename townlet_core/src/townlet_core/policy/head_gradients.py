"""Log-probabilities and entropies of recorded actions in NumPy, with their gradients in closed form.

For a softmax with probabilities p: d log p[a] / d logits = onehot(a) - p, and d H / d logits = -p (log p + H). Masked
actions have p = 0 and so no gradient. The divergence KL(p0 || p) from a distribution p0 that stays has the gradient
p - p0. For a Gaussian with z = (a - mean) / deviation: d log p / d mean = z / deviation,
d log p / d log_std = z^2 - 1, d H / d log_std = 1; with the mean m0 and the deviation s0 of the one that stays, and
q = (s0^2 + (m0 - mean)^2) / deviation^2, KL = log(deviation / s0) + (q - 1) / 2, d KL / d mean = (mean - m0) /
deviation^2, d KL / d log_std = 1 - q.

Legend: S shards, B rows of a shard, K outputs of the actor, D action dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.heads import MASK_FILL, gaussian_log_prob

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead


class ActionTerms:
    """Log-probability and entropy of a minibatch's actions.

    Args:
        head: which distribution.
        outputs: (S, B, K) logits or means; `backward` writes into them.
        actions: (S, B) int64, (S, B, parts) int64, or (S, B, D) float.
        action_mask: (S, B, K) bool, or None.
        log_std: (D,) for a Gaussian.
        reference: outputs (S, B, K) of a policy that stays, and its log_std; None for none.

    Attributes:
        log_prob: (S, B) of the actions.
        entropy: (S, B), over legal actions, in nats.
        divergence: (S, B), KL(reference || policy) in nats; 0 without a reference.
    """

    def __init__(
        self,
        head: ActionHead,
        outputs: Array,
        actions: Array,
        action_mask: Array | None,
        log_std: Array | None,
        reference: tuple[Array, Array | None] | None = None,
    ) -> None:
        self._outputs, self._actions, self._log_std, self._reference = outputs, actions, log_std, reference
        self.divergence: Array | float = 0.0
        self._parts: list[_Softmax] = []
        if log_std is not None:
            self.log_prob = gaussian_log_prob(outputs, log_std, actions)
            entropy = (log_std + outputs.dtype.type(0.5 + 0.5 * math.log(2.0 * math.pi))).sum()
            self.entropy = np.full_like(self.log_prob, entropy)
            if reference is not None:
                assert reference[1] is not None
                self.divergence = (0.5 * (self._quotients() - 1.0) + log_std - reference[1]).sum(axis=-1)
            return
        columns = [actions] if head.kind == "categorical" else list(np.moveaxis(actions, -1, 0))
        self._segments = head.segments
        for segment, chosen in zip(head.segments, columns, strict=True):
            mask = None if action_mask is None else action_mask[..., segment]
            stays = None if reference is None else reference[0][..., segment]
            self._parts.append(_Softmax(outputs[..., segment], chosen, mask, stays))
        self.log_prob = self._parts[0].log_prob
        self.entropy = self._parts[0].entropy
        for part in self._parts[1:]:
            self.log_prob = self.log_prob + part.log_prob
            self.entropy = self.entropy + part.entropy
        if reference is not None:
            self.divergence = sum(part.divergence for part in self._parts)

    def _quotients(self) -> Array:
        """Return q of the module's text, (S, B, D)."""
        assert self._reference is not None
        assert self._log_std is not None
        means, log_std = self._reference
        assert log_std is not None
        quotients: Array = (np.exp(2.0 * log_std) + (means - self._outputs) ** 2) * np.exp(-2.0 * self._log_std)
        return quotients

    def backward(
        self, log_prob: Array, entropy: Array | None = None, divergence: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Return d loss / d outputs (S, B, K), in the outputs' memory, and d loss / d log_std (S, D) or None.

        Args:
            log_prob: (S, B) d loss / d log-probability.
            entropy: (S, B) d loss / d entropy; None for 0.
            divergence: (S, B) d loss / d divergence; None for 0.
        """
        if self._log_std is None:
            for segment, part in zip(self._segments, self._parts, strict=True):
                self._outputs[..., segment] = part.backward(log_prob, entropy, divergence)
            return self._outputs, None
        standard = (self._actions - self._outputs) * np.exp(-self._log_std)
        slopes = log_prob[..., None] * standard * np.exp(-self._log_std)
        log_std = log_prob[..., None] * (standard * standard - 1)
        if entropy is not None:
            log_std += entropy[..., None]
        if divergence is not None and self._reference is not None:
            precision = np.exp(-2.0 * self._log_std)
            slopes += divergence[..., None] * (self._outputs - self._reference[0]) * precision
            log_std += divergence[..., None] * (1.0 - self._quotients())
        self._outputs[:] = slopes
        return self._outputs, log_std.sum(axis=1)


class _Softmax:
    """One categorical part. Its arrays are (K, S, B): NumPy reduces long axes several times faster than short ones."""

    def __init__(self, logits: Array, actions: Array, mask: Array | None, stays: Array | None) -> None:
        log_probs, probs = _softmax(logits, mask)
        self._log_probs, self._probs = log_probs, probs
        if stays is not None:
            other, self._stays = _softmax(stays, mask)
            other -= log_probs
            other *= self._stays
            self.divergence = other.sum(axis=0)
        self._chosen = actions.reshape(-1) * actions.size + np.arange(actions.size)
        self.log_prob = log_probs.reshape(-1).take(self._chosen).reshape(actions.shape)
        entropy = np.add.reduce(probs * log_probs)
        self.entropy = np.negative(entropy, out=entropy)

    def backward(self, log_prob: Array, entropy: Array | None, divergence: Array | None) -> Array:
        """Return d loss / d logits (S, B, K)."""
        gradient: Array
        if entropy is None:
            gradient = self._probs * log_prob
        else:
            gradient = self._log_probs + self.entropy
            gradient *= entropy
            gradient += log_prob
            gradient *= self._probs
        np.negative(gradient, out=gradient)
        gradient.reshape(-1)[self._chosen] += log_prob.reshape(-1)
        if divergence is not None:
            gradient += divergence * (self._probs - self._stays)
        return gradient.transpose(1, 2, 0)


def _softmax(logits: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return log-probabilities and probabilities (K, S, B) of logits (S, B, K)."""
    log_probs = np.empty((logits.shape[-1], *logits.shape[:-1]), logits.dtype)
    np.copyto(log_probs, logits.transpose(2, 0, 1))
    if mask is not None:
        np.copyto(log_probs, MASK_FILL, where=~mask.transpose(2, 0, 1))
    log_probs -= np.maximum.reduce(log_probs)
    probs = np.exp(log_probs)
    total = np.add.reduce(probs)
    log_probs -= np.log(total)
    probs /= total
    return log_probs, probs
