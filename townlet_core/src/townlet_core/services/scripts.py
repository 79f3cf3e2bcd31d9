"""Policies that nobody trained: random choice, doing nothing, and the scripts that an environment brings along.

Each sees what a learner sees, and nothing else.

Legend: N worlds, A agents per world, K actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.errors import EnvironmentFault, UsageError, suggestion
from townlet_core.policy.base import Policy, PolicyStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.arrays import Array, Observations
    from townlet_core.environments.vector import VectorEnvironment

    Expert = Callable[[Observations, Array], Array]


class ScriptPolicy:
    """A policy without weights: decides by `choose`, which its heirs define.

    Attributes:
        noise_size: how many uniform numbers one agent's decision takes.

    Args:
        num_actions: K.
    """

    noise_size = 0

    def __init__(self, num_actions: int) -> None:
        self._num_actions = num_actions

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
        if action_mask is None:
            action_mask = np.ones((*agent_mask.shape, self._num_actions), np.bool_)
        stuck = agent_mask & ~action_mask.any(axis=-1)
        if stuck.any():
            world, agent = (int(index) for index in np.argwhere(stuck)[0])
            raise EnvironmentFault(f"world {world}, agent {agent}: the action mask allows nothing")
        nothing = np.zeros(agent_mask.shape, np.float32)
        actions = self.choose(observations, action_mask, noise).astype(np.int64, copy=False)
        return PolicyStep(actions, nothing, nothing.copy())

    def values(self, observations: Observations) -> Array:
        """Return zeros, (N, A) float32: a script has no critic."""
        return np.zeros(next(iter(observations.values())).shape[:2], np.float32)

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A) integers; arguments as for `Policy.act`."""
        raise NotImplementedError


class RandomPolicy(ScriptPolicy):
    """Draws from the allowed actions, each as likely as the others; the first of them where it has to be greedy."""

    noise_size = 1

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A) int64."""
        del observations
        if noise is None:
            return np.asarray(action_mask.argmax(axis=-1))
        allowed = np.cumsum(action_mask, axis=-1)
        wanted = np.floor(noise[..., 0] * allowed[..., -1])  # as many allowed actions come before the chosen one
        return np.asarray((allowed > wanted[..., None]).argmax(axis=-1))


class IdlePolicy(ScriptPolicy):
    """Takes the first allowed action, which in the town is to wait."""

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A) int64."""
        del observations, noise
        return np.asarray(action_mask.argmax(axis=-1))


class ScriptedPolicy(ScriptPolicy):
    """Does what a script of the environment does.

    Args:
        expert: returns actions (N, A) for observations and an action mask.
        num_actions: K.
    """

    def __init__(self, expert: Expert, num_actions: int) -> None:
        super().__init__(num_actions)
        self._expert = expert

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A) int64."""
        del noise
        return self._expert(observations, action_mask)


def make_script(name: str, environment: VectorEnvironment) -> Policy:
    """Return `random`, `idle`, or a script that the environment brings along (the town's is `scripted`).

    Args:
        name: its name.
        environment: where it is to act.

    Raises:
        UsageError: there is no such script here, or actions are not chosen from one list.
    """
    space = environment.action_space
    if not isinstance(space, spaces.Discrete):
        raise UsageError(f"environment '{environment.name}': a script needs Discrete actions, and these are {space}")
    num_actions = int(space.n)
    experts: Mapping[str, Expert] = getattr(environment, "experts", {})
    if name in experts:
        return ScriptedPolicy(experts[name], num_actions)
    plain: dict[str, type[ScriptPolicy]] = {"random": RandomPolicy, "idle": IdlePolicy}
    if name not in plain:
        known = [*plain, *experts]
        raise UsageError(
            f"environment '{environment.name}' has no script '{name}'{suggestion(name, known)}; there are: "
            f"{', '.join(known)}"
        )
    return plain[name](num_actions)
