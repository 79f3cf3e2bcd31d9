"""What a policy is: something that acts on observations. Networks, scripts and random choice all are.

Legend: N worlds, A agents per world, K actions, D action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations


@dataclass(frozen=True, slots=True)
class BlendRows:
    """Who acted, where a script acts in the place of a learner now and then; of one step (N, A), or of T (T, N, A).

    Attributes:
        is_scripted: bool; the script did.
        learner_log_probs: float32, of the actions under the learner alone.
    """

    is_scripted: Array
    learner_log_probs: Array


class PolicyStep(NamedTuple):
    """One decision for every agent.

    Attributes:
        actions: (N, A) int64 for Discrete, (N, A, D) int64 for MultiDiscrete, (N, A, D) float32 for Box.
        log_probs: (N, A) float32, of `actions` under this policy; zeros for a script.
        values: (N, A) float32; zeros for a policy without a critic.
        state: what the policy wants back at the next step; None for feed-forward policies.
        blend: who acted, in a blend of two policies; else None.
    """

    actions: Array
    log_probs: Array
    values: Array
    state: object | None = None
    blend: BlendRows | None = None


@runtime_checkable
class Policy(Protocol):
    """Acts for all agents of all worlds at once.

    Attributes:
        noise_size: how many uniform numbers one agent's decision takes.
    """

    noise_size: int

    def act(
        self,
        observations: Observations,
        action_mask: Array | None,
        agent_mask: Array,
        noise: Array | None,
        state: object | None = None,
    ) -> PolicyStep:
        """Choose actions.

        Args:
            observations: name -> (N, A, ...).
            action_mask: (N, A, K) bool, or None where everything is allowed.
            agent_mask: (N, A) bool; what rows of absent agents get is never read.
            noise: (N, A, noise_size) float64 in [0, 1), or None to act greedily (the most likely action).
            state: the `state` of the step before.

        Raises:
            EnvironmentFault: a present agent has no allowed action.
        """
        ...

    def values(self, observations: Observations) -> Array:
        """Return the value estimates of `observations`, (N, A) float32."""
        ...
