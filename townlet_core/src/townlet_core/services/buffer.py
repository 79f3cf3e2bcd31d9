"""The rollout buffer: preallocated arrays that NumPy fills and torch reads in place.

Legend: T steps, N worlds, A agents per world, K actions, D action dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from gymnasium import spaces

from townlet_core.environments.limits import require_memory
from townlet_core.errors import ConfigError
from townlet_core.policy.base import BlendRows
from townlet_core.spaces import action_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array, Observations


_FIXED_BYTES = 3 * 1 + 4 * 4
"""Bytes of an agent's step in the arrays that every buffer has: three of flags, four of float32."""

_BLEND_BYTES = 1 + 4
"""Bytes of an agent's step in the arrays of a blend."""


@dataclass(slots=True)
class RolloutBuffer:
    """What happened in T steps of all worlds.

    Attributes:
        observations: name -> (T, N, A, ...), raw, as the agents saw them before acting.
        actions: (T, N, A) int64, (T, N, A, D) int64, or (T, N, A, D) float32.
        action_mask: (T, N, A, K) bool, or None until the environment shows one.
        agent_mask: (T, N, A) bool; False rows are in no loss and no average.
        log_probs: (T, N, A) float32 under the policy that acted.
        values: (T, N, A) float32 under the same.
        bootstrap_values: (T, N, A) float32; value of the final observation where a truncation cut the episode, else 0.
        rewards: (T, N, A) float32, never modified.
        terminations: (T, N, A) bool.
        truncations: (T, N, A) bool.
        last_values: (N, A) float32; value of what the agents see after the last step.
        blend: who acted; None where there is one policy.
    """

    observations: Observations
    actions: Array
    action_mask: Array | None
    agent_mask: Array
    log_probs: Array
    values: Array
    bootstrap_values: Array
    rewards: Array
    terminations: Array
    truncations: Array
    last_values: Array
    blend: BlendRows | None = None

    def columns(self) -> dict[str, Array]:
        """Return every array of one row for each step, (T, N, A, ...), by the name that a dataset gives it."""
        named = {
            "actions": self.actions,
            "agent_mask": self.agent_mask,
            "log_probs": self.log_probs,
            "values": self.values,
            "bootstrap_values": self.bootstrap_values,
            "rewards": self.rewards,
            "terminations": self.terminations,
            "truncations": self.truncations,
        }
        masks = {} if self.action_mask is None else {"action_mask": self.action_mask}
        return {**self.observations, **named, **masks}

    @classmethod
    def allocate(
        cls,
        num_steps: int,
        num_worlds: int,
        num_agents: int,
        *,
        observation_spaces: Mapping[str, spaces.Space[Any]],
        action_space: spaces.Space[Any],
        has_action_mask: bool,
        is_blended: bool = False,
        num_kept: int = 0,
    ) -> Self:
        """Return a buffer of zeros for the given sizes and spaces.

        Raises:
            ConfigError: it does not fit into memory, beside `num_kept` float32 that others keep of an agent's step.
        """
        shape = (num_steps, num_worlds, num_agents)
        widths: dict[str, tuple[tuple[int, ...], Any]] = {
            name: (space.shape or (), space.dtype or np.float32) for name, space in observation_spaces.items()
        }
        action = (action_space.shape or (), np.float32 if isinstance(action_space, spaces.Box) else np.int64)
        num_mask = action_count(action_space) if has_action_mask else 0
        row_bytes = num_mask + _FIXED_BYTES + is_blended * _BLEND_BYTES + 4 * num_kept
        row_bytes += sum(math.prod(width) * np.dtype(kind).itemsize for width, kind in (*widths.values(), action))
        what = f"rollouts of {num_steps:,} steps, {num_worlds:,} worlds and {num_agents} agents"
        remedy = "lower num_steps of the strategy, or environment.num_worlds"
        require_memory(math.prod(shape) * row_bytes, what=what, remedy=remedy)
        try:
            return cls(
                observations={name: np.zeros((*shape, *width), dtype=kind) for name, (width, kind) in widths.items()},
                actions=np.zeros((*shape, *action[0]), dtype=action[1]),
                action_mask=np.zeros((*shape, num_mask), dtype=bool) if has_action_mask else None,
                agent_mask=np.zeros(shape, dtype=bool),
                log_probs=np.zeros(shape, dtype=np.float32),
                values=np.zeros(shape, dtype=np.float32),
                bootstrap_values=np.zeros(shape, dtype=np.float32),
                rewards=np.zeros(shape, dtype=np.float32),
                terminations=np.zeros(shape, dtype=bool),
                truncations=np.zeros(shape, dtype=bool),
                last_values=np.zeros(shape[1:], dtype=np.float32),
                blend=BlendRows(np.zeros(shape, bool), np.zeros(shape, np.float32)) if is_blended else None,
            )
        except MemoryError as error:  # a limit of the process that the system does not tell
            raise ConfigError(f"{what} do not fit into memory ({error}): {remedy}") from error
