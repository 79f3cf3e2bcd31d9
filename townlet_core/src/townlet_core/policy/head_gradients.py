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
        self._segments = head.segments
        for segment, chosen in zip(head.segments, columns, strict=True):
            mask = None if action_mask is None else action_mask[..., segment]
            self._parts.append(_Softmax(outputs[..., segment], chosen, mask))
        self.log_prob = self._parts[0].log_prob
        self.entropy = self._parts[0].entropy
        for part in self._parts[1:]:
            self.log_prob = self.log_prob + part.log_prob
            self.entropy = self.entropy + part.entropy

    def backward(self, log_prob: Array, entropy: Array) -> tuple[Array, Array | None]:
        """Return d loss / d outputs (S, B, K), in the memory of the outputs, and d loss / d log_std (S, D) if there is one.

        Args:
            log_prob: (S, B) d loss / d log-probability.
            entropy: (S, B) d loss / d entropy.
        """
        if self._log_std is None:
            for segment, part in zip(self._segments, self._parts, strict=True):
                self._outputs[..., segment] = part.backward(log_prob, entropy)
            return self._outputs, None
        standard = (self._actions - self._outputs) * np.exp(-self._log_std)
        self._outputs[:] = log_prob[..., None] * standard * np.exp(-self._log_std)
        log_std = log_prob[..., None] * (standard * standard - 1) + entropy[..., None]
        return self._outputs, log_std.sum(axis=1)


class _Softmax:
    """One categorical part. Its arrays are (K, S, B): NumPy reduces long axes several times faster than short ones."""

    def __init__(self, logits: Array, actions: Array, mask: Array | None) -> None:
        log_probs = np.empty((logits.shape[-1], *actions.shape), logits.dtype)
        np.copyto(log_probs, np.moveaxis(logits, -1, 0))
        if mask is not None:
            np.copyto(log_probs, MASK_FILL, where=np.moveaxis(~mask, -1, 0))
        log_probs -= log_probs.max(axis=0)
        probs = np.exp(log_probs)
        total = probs.sum(axis=0)
        log_probs -= np.log(total)
        probs /= total
        self._log_probs, self._probs = log_probs, probs
        self._chosen = actions.reshape(-1) * actions.size + np.arange(actions.size)
        self.log_prob = log_probs.reshape(-1).take(self._chosen).reshape(actions.shape)
        products = probs * log_probs
        self.entropy = -products.sum(axis=0)

    def backward(self, log_prob: Array, entropy: Array) -> Array:
        """Return d loss / d logits (S, B, K)."""
        gradient: Array = self._log_probs + self.entropy
        gradient *= entropy
        gradient += log_prob
        gradient *= self._probs
        np.negative(gradient, out=gradient)
        gradient.reshape(-1)[self._chosen] += log_prob.reshape(-1)
        return np.moveaxis(gradient, 0, -1)
