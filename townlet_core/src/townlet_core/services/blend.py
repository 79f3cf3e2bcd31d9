"""A blend of two policies: a script acts in the place of a learner in a share of the agent-steps.

Who acts is drawn for every agent in every step, with a number of the rollout's own noise: so it is a function of seed,
world, episode, slot and tick like every other number, and nothing has to be kept for a run that goes on.

Legend: N worlds, A agents per world, K outputs of the actor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import ConfigError, UsageError
from townlet_core.policy import heads
from townlet_core.policy.base import BlendRows, PolicyStep
from townlet_core.services.scripts import make_script

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.policy.numpy_policy import NumpyPolicy


class BlendedPolicy:
    """A learner, and a script that acts in its place now and then.

    Attributes:
        noise_size: how many uniform numbers one agent's decision takes: one for who acts, and those of both.
        share: of the agent-steps in which the script acts, 0 to 1.

    Args:
        learner: chooses from one list, or from several.
        script: has no state.
    """

    def __init__(self, learner: NumpyPolicy, script: Policy) -> None:
        self.noise_size = 1 + script.noise_size + learner.noise_size
        self.share = 0.0
        self._learner, self._script = learner, script

    def act(
        self,
        observations: Observations,
        action_mask: Array | None,
        agent_mask: Array,
        noise: Array | None,
        state: object | None = None,
    ) -> PolicyStep:
        """Choose actions; see `Policy.act`. Their log-probabilities are those of the blend.

        With the share b and the learner's p, an action has the probability (1 - b) p, and b more if it is what the
        script does.
        """
        del state
        assert noise is not None, "who acts is drawn"
        first = 1 + self._script.noise_size
        ours, outputs = self._learner.choose(observations, action_mask, agent_mask, noise[..., first:])
        theirs = self._script.act(observations, action_mask, agent_mask, noise[..., 1:first])
        is_scripted = noise[..., 0] < self.share
        chosen = is_scripted.reshape(*agent_mask.shape, *[1] * (ours.ndim - 2))
        actions = np.where(chosen, theirs.actions, ours)
        log_probs = heads.log_prob(self._learner.spec.head, outputs, None, action_mask, actions)
        is_same = (actions == theirs.actions).reshape(*agent_mask.shape, -1).all(axis=-1)
        mixture = _mixture(log_probs, is_same, self.share)
        return PolicyStep(actions, mixture, self.values(observations), blend=BlendRows(is_scripted, log_probs))

    def values(self, observations: Observations) -> Array:
        """Return what the learner's critic says, (N, A) float32."""
        return self._learner.values(observations)


def _mixture(log_probs: Array, is_same: Array, share: float) -> Array:
    """Return log((1 - share) exp(log_probs) + share x is_same), in the type of `log_probs`."""
    with np.errstate(divide="ignore"):  # a share of 0 or 1
        learner, script = log_probs + np.log1p(-share), np.log(share)
    return np.asarray(np.where(is_same, np.logaddexp(learner, script), learner), log_probs.dtype)


def blend_script(name: str, environment: VectorEnvironment, *, setting: str) -> Policy:
    """Return a script that a policy can be blended with.

    Args:
        name: its name, as `make_script` knows it.
        environment: where it is to act.
        setting: what named it, for a message.

    Raises:
        ConfigError: there is no such script, or actions are numbers: a script's would have no probability.
    """
    if not heads.ActionHead.for_space(environment.action_space).counts:
        raise ConfigError(
            f"{setting}: in environment '{environment.name}' actions are continuous, and a script cannot be blended "
            "with a policy there: leave the blend out"
        )
    try:
        return make_script(name, environment)
    except UsageError as error:
        raise ConfigError(f"{setting}: {error}") from error
