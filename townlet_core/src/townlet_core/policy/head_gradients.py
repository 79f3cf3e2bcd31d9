"""Log-probabilities and entropies of recorded actions in NumPy, with their gradients in closed form.

For a softmax with probabilities p: d log p[a] / d logits = onehot(a) - p, and d H / d logits = -p (log p + H). Masked
actions have p = 0 and so no gradient. For a Gaussian with z = (a - mean) / deviation: d log p / d mean = z / deviation,
d log p / d log_std = z^2 - 1, d H / d log_std = 1.

Legend: S shards, B rows of a shard, K outputs of the actor, D action dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.heads import gaussian_log_prob, masked_log_softmax, pick

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead


class ActionTerms:
    """Log-probability and entropy of a minibatch's actions.

    Args:
        head: which distribution.
        outputs: (S, B, K) logits or means.
        actions: (S, B) int64, (S, B, parts) int64, or (S, B, D) float.
        action_mask: (S, B, K) bool, or None.
        log_std: (D,) for a Gaussian.

    Attributes:
        log_prob: (S, B) of the actions.
        entropy: (S, B), over legal actions, in nats.
    """

    def __init__(
        self, head: ActionHead, outputs: Array, actions: Array, action_mask: Array | None, log_std: Array | None
    ) -> None:
        self._outputs, self._actions, self._log_std = outputs, actions, log_std
        self._parts: list[_Softmax] = []
        if log_std is not None:
            self.log_prob = gaussian_log_prob(outputs, log_std, actions)
            entropy = (log_std + outputs.dtype.type(0.5 + 0.5 * math.log(2.0 * math.pi))).sum()
            self.entropy = np.full_like(self.log_prob, entropy)
            return
        columns = [actions] if head.kind == "categorical" else list(np.moveaxis(actions, -1, 0))
        for segment, chosen in zip(head.segments, columns, strict=True):
            mask = None if action_mask is None else action_mask[..., segment]
            self._parts.append(_Softmax(outputs[..., segment], chosen, mask))
        self.log_prob = self._parts[0].log_prob
        self.entropy = self._parts[0].entropy
        for part in self._parts[1:]:
            self.log_prob = self.log_prob + part.log_prob
            self.entropy = self.entropy + part.entropy

    def backward(self, log_prob: Array, entropy: Array) -> tuple[Array, Array | None]:
        """Return d loss / d outputs (S, B, K), and d loss / d log_std (S, D) for a Gaussian.

        Args:
            log_prob: (S, B) d loss / d log-probability.
            entropy: (S, B) d loss / d entropy.
        """
        if self._log_std is None:
            parts = [part.backward(log_prob, entropy) for part in self._parts]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1), None
        standard = (self._actions - self._outputs) * np.exp(-self._log_std)
        outputs = log_prob[..., None] * standard * np.exp(-self._log_std)
        log_std = log_prob[..., None] * (standard * standard - 1) + entropy[..., None]
        return outputs, log_std.sum(axis=1)


class _Softmax:
    """One categorical part."""

    def __init__(self, logits: Array, actions: Array, mask: Array | None) -> None:
        self._actions = actions
        self._log_probs = masked_log_softmax(logits, mask)
        self._probs = np.exp(self._log_probs)
        self.log_prob = pick(self._log_probs, actions)
        self.entropy = -(self._probs * self._log_probs).sum(axis=-1)

    def backward(self, log_prob: Array, entropy: Array) -> Array:
        """Return d loss / d logits (S, B, K)."""
        gradient: Array = self._log_probs + self.entropy[..., None]
        gradient *= entropy[..., None]
        gradient += log_prob[..., None]
        gradient *= self._probs
        np.negative(gradient, out=gradient)
        rows = gradient.reshape(-1, gradient.shape[-1])
        rows[np.arange(len(rows)), self._actions.reshape(-1)] += log_prob.reshape(-1)
        return gradient
