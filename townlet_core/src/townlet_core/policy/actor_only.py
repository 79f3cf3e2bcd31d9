"""A network that acts, and leaves out what nobody asks for while it does.

Legend: N worlds, A agents per world, K outputs of the actor.
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
    """Decides as a network does, bit for bit; the log-probabilities and values of its decisions are zeros.

    Attributes:
        kept: the actor's outputs (N, A, K) of every decision, for `NumpyPolicy.log_probs_of_steps`; whoever reads them
            clears the list. None keeps nothing.
        num_kept: how many float32 that is for each agent and decision.

    Args:
        policy: the network.
        keep: whether outputs are kept.
    """

    def __init__(self, policy: NumpyPolicy, *, keep: bool = False) -> None:
        self.noise_size = policy.noise_size
        self.values = policy.values
        self.kept: list[Array] | None = [] if keep else None
        self.num_kept = policy.spec.head.num_outputs if keep else 0
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
        actions, outputs = self._choose(observations, action_mask, agent_mask, noise)
        if self.kept is not None:
            self.kept.append(outputs)
        nothing = np.zeros(agent_mask.shape, np.float32)
        return PolicyStep(actions, nothing, nothing)


def actor_of(policy: Policy) -> Policy:
    """Return a policy that acts as `policy` does, and whose decisions may lack log-probabilities and values."""
    return ActorOnly(policy) if type(policy) is NumpyPolicy else policy  # a subclass may choose in a way of its own
