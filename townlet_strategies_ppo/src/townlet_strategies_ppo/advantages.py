"""Generalised advantage estimation (Schulman et al. 2016), in NumPy.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from townlet_core.arrays import Array


def generalized_advantages(
    rewards: Array,
    values: Array,
    *,
    terminations: Array,
    truncations: Array,
    bootstrap_values: Array,
    last_values: Array,
    agent_mask: Array | None = None,
    gamma: float,
    gae_lambda: float,
) -> Array:
    """Return advantages (T, N, A), in the type of `values`.

    With ``v'[t]`` the value of what follows step t, equation 16 of the paper reads backwards in time::

        delta[t] = rewards[t] + gamma v'[t] - values[t]
        A[t] = delta[t] + gamma lambda A[t + 1]        (the last term only while the episode goes on)

    ``v'[t]`` is 0 where the episode terminated, ``bootstrap_values[t]`` where it was truncated, ``last_values`` after
    the last step, else ``values[t + 1]``. A step that is both is a termination.

    Args:
        rewards: (T, N, A) float.
        values: (T, N, A) float, of what the agents saw before acting.
        terminations: (T, N, A) bool.
        truncations: (T, N, A) bool.
        bootstrap_values: (T, N, A) float, read where truncated only.
        last_values: (N, A) float.
        agent_mask: (T, N, A) bool; where False the advantage is 0 and nothing is carried over. None: all are present.
        gamma: discount.
        gae_lambda: weight of longer returns.
    """
    ended = terminations | truncations
    following = np.concatenate([values[1:], last_values[None]])
    following = np.where(ended, np.where(terminations, 0, bootstrap_values), following).astype(values.dtype, copy=False)
    deltas = rewards + values.dtype.type(gamma) * following - values
    carry = np.where(ended, 0, gamma * gae_lambda).astype(values.dtype)
    if agent_mask is not None:
        deltas = np.where(agent_mask, deltas, 0)
        carry = np.where(agent_mask, carry, 0)
    advantages: Array = deltas
    reach = 1  # steps that each sum has; it doubles, so that few worlds do not pay for a call at every step
    while reach < len(advantages):
        advantages[:-reach] += carry[:-reach] * advantages[reach:]
        carry[:-reach] *= carry[reach:]
        reach *= 2
    return advantages


def explained_variance(values: Array, returns: Array) -> float | None:
    """Return ``1 - var(returns - values) / var(returns)`` of two flat arrays; None when the returns are constant."""
    variance = float(np.var(returns, dtype=np.float64))
    if variance < 1e-12:
        return None
    return 1.0 - float(np.var(returns - values, dtype=np.float64)) / variance
