"""Distributions over actions in NumPy: categorical, multi-categorical and diagonal Gaussian, with action masks.

Masked entries get a finite fill before the softmax: their probability is exactly 0, and nothing becomes infinite.
Entropy counts legal actions only.

Legend: (..., X) any leading axes; K actions (for multi-categorical the sum of the counts), D action dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from townlet_core.errors import ConfigError
from townlet_core.randomness import box_muller
from townlet_core.spaces import describe_space

if TYPE_CHECKING:
    from townlet_core.arrays import Array

MASK_FILL = -1.0e9
LOG_SQRT_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class ActionHead:
    """How the actor's outputs become actions.

    Attributes:
        kind: which distribution.
        counts: actions of each categorical part; empty for Gaussian.
        num_outputs: width of the actor's last layer (K, or D for Gaussian).
        noise_size: uniform numbers that one sample takes.
    """

    kind: Literal["categorical", "multi_categorical", "gaussian"]
    counts: tuple[int, ...]
    num_outputs: int
    noise_size: int

    @classmethod
    def for_space(cls, space: spaces.Space[Any]) -> ActionHead:
        """Return the head for an action space.

        Raises:
            ConfigError: the space is not Discrete, MultiDiscrete with one axis, or Box with one axis.
        """
        if isinstance(space, spaces.Discrete):
            return cls("categorical", (int(space.n),), int(space.n), 1)
        if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
            counts = tuple(int(count) for count in space.nvec)
            return cls("multi_categorical", counts, sum(counts), len(counts))
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            size = int(space.shape[0])
            return cls("gaussian", (), size, 2 * size)
        raise ConfigError(
            f"no policy acts on {describe_space(space)}: "
            "allowed are Discrete, MultiDiscrete with one axis, and Box with one axis"
        )

    @property
    def segments(self) -> tuple[slice, ...]:
        """Where each categorical part lies in the actor's outputs."""
        return _segments(self.counts)


@lru_cache
def _segments(counts: tuple[int, ...]) -> tuple[slice, ...]:
    ends = np.cumsum(counts).tolist()
    return tuple(slice(end - count, end) for count, end in zip(counts, ends, strict=True))


def masked_log_softmax(logits: Array, mask: Array | None) -> Array:
    """Return log-probabilities (..., K) of `logits`, with `MASK_FILL` below the maximum where `mask` is False."""
    logits = _masked(logits, mask)
    shifted: Array = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _masked(logits: Array, mask: Array | None) -> Array:
    return logits if mask is None else np.where(mask, logits, logits.dtype.type(MASK_FILL))


def sample_categorical(logits: Array, mask: Array | None, noise: Array | None) -> Array:
    """Return int64 actions (...,): the cumulative distribution of a softmax inverted at the noise.

    Args:
        logits: (..., K) float.
        mask: (..., K) bool, or None.
        noise: (...,) float64 in [0, 1), or None for the mode.
    """
    logits = _masked(logits, mask)
    if noise is None:
        return np.asarray(logits.argmax(axis=-1))
    shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    cumulative = np.add.accumulate(np.exp(shifted), axis=-1, dtype=np.float64)
    # noise is at most 1 - 2**-53, and the float64 product of that with any total rounds to less than the total: there
    # always is an action above the threshold, and the first one is taken.
    return np.asarray((cumulative > (noise * cumulative[..., -1])[..., None]).argmax(axis=-1))


def pick(log_probs: Array, actions: Array) -> Array:
    """Return the entry (...,) of `log_probs` (..., K) at `actions` (...,)."""
    places = actions.reshape(-1) + np.arange(0, log_probs.size, log_probs.shape[-1])
    picked: Array = log_probs.reshape(-1).take(places).reshape(actions.shape)
    return picked


def sample(head: ActionHead, outputs: Array, log_std: Array | None, mask: Array | None, noise: Array | None) -> Array:
    """Sample a head.

    Args:
        head: the head.
        outputs: (..., K) logits, or (..., D) means.
        log_std: (D,) for a Gaussian, else None.
        mask: (..., K) bool, or None.
        noise: (..., X) float64 in [0, 1), or None for the mode.

    Returns:
        actions: (...,) or (..., parts) int64, or (..., D) in the outputs' type.
    """
    if log_std is not None:
        if noise is None:
            return outputs
        size = outputs.shape[-1]
        normal = box_muller(noise[..., :size], noise[..., size:]).astype(outputs.dtype)
        return np.asarray(outputs + np.exp(log_std) * normal)
    if head.kind == "categorical":
        return sample_categorical(outputs, mask, None if noise is None else noise[..., 0])
    parts = [
        sample_categorical(
            outputs[..., segment],
            None if mask is None else mask[..., segment],
            None if noise is None else noise[..., part],
        )
        for part, segment in enumerate(head.segments)
    ]
    return np.stack(parts, axis=-1)


def log_prob(head: ActionHead, outputs: Array, log_std: Array | None, mask: Array | None, actions: Array) -> Array:
    """Return the log-probability (...,) of actions, in the outputs' type; arguments as for `sample`."""
    if log_std is not None:
        return gaussian_log_prob(outputs, log_std, actions)
    chosen = actions.reshape(*outputs.shape[:-1], -1)
    total: Array | None = None
    for part, segment in enumerate(head.segments):
        legal = None if mask is None else mask[..., segment]
        picked = pick(masked_log_softmax(outputs[..., segment], legal), chosen[..., part])
        total = picked if total is None else total + picked
    assert total is not None
    return total


def gaussian_log_prob(mean: Array, log_std: Array, actions: Array) -> Array:
    """Return the log-probability (...,) of `actions` (..., D) as they are, rounded: the learner sees nothing else."""
    standard = (actions - mean) * np.exp(-log_std)
    each = -0.5 * standard * standard - log_std - mean.dtype.type(LOG_SQRT_TWO_PI)
    return np.asarray(each.sum(axis=-1))
