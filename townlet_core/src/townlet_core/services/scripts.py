"""Policies that nobody trained: random choice, doing nothing, and the scripts that an environment brings along.

Each sees what a learner sees, and nothing else.

Legend: N worlds, A agents per world, K actions (of several parts: all of theirs), D numbers of a continuous action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.errors import EnvironmentFault, UsageError, suggestion
from townlet_core.policy.base import Policy, PolicyStep
from townlet_core.policy.heads import ActionHead
from townlet_core.randomness import box_muller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.arrays import Array, Observations
    from townlet_core.environments.vector import VectorEnvironment

    Expert = Callable[[Observations, Array], Array]


class ScriptPolicy:
    """A policy without weights: decides by `choose`, which its heirs define.

    Attributes:
        noise_size: how many uniform numbers one agent's decision takes.
        dtype: of actions.

    Args:
        num_actions: K; for continuous actions D.
    """

    noise_size = 0
    dtype: type[np.generic] = np.int64

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
        stuck = agent_mask & ~self.can_choose(action_mask)
        if stuck.any():
            world, agent = (int(index) for index in np.argwhere(stuck)[0])
            raise EnvironmentFault(f"world {world}, agent {agent}: the action mask allows nothing")
        nothing = np.zeros(agent_mask.shape, np.float32)
        actions = self.choose(observations, action_mask, noise).astype(self.dtype, copy=False)
        return PolicyStep(actions, nothing, nothing.copy())

    def values(self, observations: Observations) -> Array:
        """Return zeros, (N, A) float32: a script has no critic."""
        return np.zeros(next(iter(observations.values())).shape[:2], np.float32)

    def can_choose(self, action_mask: Array) -> Array:
        """Return whether a mask (N, A, K) allows anything, (N, A)."""
        return np.asarray(action_mask.any(axis=-1))

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A) integers, or (N, A, parts), or (N, A, D) numbers; arguments as for `Policy.act`."""
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


class PartsPolicy(ScriptPolicy):
    """Decides each part of an action by itself.

    Args:
        one: decides a part.
        head: how many actions each part has.
    """

    def __init__(self, one: ScriptPolicy, head: ActionHead) -> None:
        super().__init__(head.num_outputs)
        self.noise_size = one.noise_size * len(head.counts)
        self._one, self._segments = one, head.segments

    def can_choose(self, action_mask: Array) -> Array:
        """Return whether a mask (N, A, K) allows something of each part, (N, A)."""
        return np.asarray(np.all([action_mask[..., segment].any(axis=-1) for segment in self._segments], axis=0))

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A, parts) int64."""
        chosen = [
            self._one.choose(
                observations, action_mask[..., segment], None if noise is None else noise[..., part : part + 1]
            )
            for part, segment in enumerate(self._segments)
        ]
        return np.stack(chosen, axis=-1)


class IdleBoxPolicy(ScriptPolicy):
    """Takes the allowed numbers that are nearest to 0."""

    dtype = np.float32

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(int(space.shape[0]))
        self._low, self._high = space.low, space.high

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A, D) float32."""
        del observations, noise
        return np.broadcast_to(np.clip(0.0, self._low, self._high), action_mask.shape)


class RandomBoxPolicy(IdleBoxPolicy):
    """Draws numbers between their bounds; where there are not two, from the standard normal, cut off at the other."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.noise_size = 2 * self._num_actions
        self._bounded = np.isfinite(self._low) & np.isfinite(self._high)

    def choose(self, observations: Observations, action_mask: Array, noise: Array | None) -> Array:
        """Return (N, A, D) float32."""
        if noise is None:
            return super().choose(observations, action_mask, noise)
        size = self._num_actions
        low, high = np.where(self._bounded, self._low, 0.0), np.where(self._bounded, self._high, 0.0)
        share = noise[..., :size]
        between = (1.0 - share) * low + share * high  # high - low may be more than their type can hold
        drawn = np.where(self._bounded, between, box_muller(share, noise[..., size:]))
        return np.asarray(np.clip(drawn, self._low, self._high))


def make_script(name: str, environment: VectorEnvironment) -> Policy:
    """Return `random`, `idle`, or a script that the environment brings along (the town's is `scripted`).

    Args:
        name: its name.
        environment: where it is to act.

    Raises:
        UsageError: there is no such script here.
        ConfigError: nobody can act on such actions.
    """
    space = environment.action_space
    head = ActionHead.for_space(space)
    experts: Mapping[str, Expert] = getattr(environment, "experts", {})
    if name in experts:
        return ScriptedPolicy(experts[name], head.num_outputs)
    plain: dict[str, type[ScriptPolicy]] = {"random": RandomPolicy, "idle": IdlePolicy}
    if name not in plain:
        known = [*plain, *experts]
        raise UsageError(
            f"environment '{environment.name}' has no script '{name}'{suggestion(name, known)}; there are: "
            f"{', '.join(known)}"
        )
    if isinstance(space, spaces.Box):
        return {"random": RandomBoxPolicy, "idle": IdleBoxPolicy}[name](space)
    one = plain[name](head.num_outputs)
    return one if head.kind == "categorical" else PartsPolicy(one, head)
