"""A network that acts and leaves out what its critic would say, where nobody asks for it.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.base import PolicyStep
from townlet_core.policy.numpy_policy import NumpyPolicy

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.policy.base import Policy


class ActorOnly:
    """Decides as a network does; the values are 0.

    Args:
        policy: the network.
    """

    def __init__(self, policy: NumpyPolicy) -> None:
        self.noise_size = policy.noise_size
        self.values = policy.values
        self._choose = policy.choose

    def act(
        self,
        observations: Observations,
        action_mask: Array | None,
        agent_mask: Array,
        noise: Array | None,
        state: object | None = None,
    ) -> PolicyStep:
        """Choose actions; see `Policy.act`."""
        del state
        actions, log_probs = self._choose(observations, action_mask, agent_mask, noise)
        return PolicyStep(actions, log_probs, np.zeros(agent_mask.shape, np.float32))


def without_critic(policy: Policy) -> Policy:
    """Return a policy that acts as `policy` does, bit for bit, and whose decisions may lack values."""
    return ActorOnly(policy) if isinstance(policy, NumpyPolicy) else policy
