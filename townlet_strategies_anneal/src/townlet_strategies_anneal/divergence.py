"""How far a policy is from another one: KL(other || policy), on what the policy itself sees.

Legend: N worlds, A agents per world, K outputs of the actor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.heads import masked_log_softmax
from townlet_core.services.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.numpy_policy import NumpyPolicy

NUM_STEPS = 128
"""Steps of each world. [steps]"""


def mean_divergence(
    other: NumpyPolicy, policy: NumpyPolicy, environment: VectorEnvironment, seeds: Sequence[int]
) -> float:
    """Return the mean of KL(other || policy) over the present agents of some steps, in nats.

    Args:
        other: who it is measured from.
        policy: who acts, and samples its actions.
        environment: where; the caller closes it.
        seeds: one for each of its worlds.
    """
    rollout = Rollout(environment, policy, seeds=list(seeds), purpose="evaluate")
    total, count = 0.0, 0
    for _ in range(NUM_STEPS):
        shown = rollout.current
        divergences = _divergences(other, policy, shown.observations, shown.action_mask)[shown.agent_mask]
        total, count = total + float(divergences.sum(dtype=np.float64)), count + len(divergences)
        rollout.step()
    return total / count


def _divergences(
    other: NumpyPolicy, policy: NumpyPolicy, observations: dict[str, Array], action_mask: Array | None
) -> Array:
    """Return KL(other || policy) of every agent, (N, A)."""
    theirs, own = other.outputs(observations).astype(np.float64), policy.outputs(observations).astype(np.float64)
    if not policy.spec.head.counts:
        assert other.log_std is not None
        assert policy.log_std is not None
        spread = other.log_std - policy.log_std
        distance = np.square(theirs - own) * np.exp(-2.0 * policy.log_std)
        return np.asarray((0.5 * (np.exp(2.0 * spread) + distance - 1.0) - spread).sum(axis=-1))
    total = np.zeros(own.shape[:2])
    for segment in policy.spec.head.segments:
        mask = None if action_mask is None else action_mask[..., segment]
        logs, own_logs = (masked_log_softmax(outputs[..., segment], mask) for outputs in (theirs, own))
        total += (np.exp(logs) * (logs - own_logs)).sum(axis=-1)
    return total
