"""Writing what one agent shows into its row of each world, and emptying the row of an agent that left.

Legend: N worlds, A agents per world, R = N x A rows, K actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from townlet_core.environments.faults import FieldError
from townlet_core.environments.leaf_writers import RowCheck, observation_writer
from townlet_core.environments.pettingzoo_spaces import AGENT_TYPE
from townlet_core.environments.step_values import ACTION_MASK, flat_action_mask
from townlet_core.spaces import OBSERVATION, flatten_space

if TYPE_CHECKING:
    from townlet_core.arrays import Array, Observations
    from townlet_core.environments.agent_arrays import AgentArrays
    from townlet_core.environments.pettingzoo_spaces import JointSpaces


class AgentRows:
    """The rows of one agent's place; every number after an agent's own ones stays zero.

    Args:
        joint: the spaces of all agents.
        slot: which agent.
        arrays: what is written.

    Attributes:
        agent: the agent's name in the environment.
        has_own_mask: whether its observations carry its action mask.
    """

    def __init__(self, joint: JointSpaces, slot: int, arrays: AgentArrays) -> None:
        own = joint.agents[slot]
        self.agent = own.agent
        self.has_own_mask = own.has_mask
        self._is_wrapped = own.is_wrapped
        self._arrays = arrays
        self._type = joint.types[slot]
        self._num_actions = int(joint.allowed[slot].sum())
        self._shapes = [leaf.shape or () for leaf in flatten_space(own.observation).values()]
        self._seen = self._own(arrays.observations)
        self._finals = self._own(arrays.final_observations)
        self._slices = tuple(leaf[slot :: len(joint.agents)] for leaf in self._seen)
        self._write = observation_writer(own.observation, self._seen)
        self._check = RowCheck(own.observation)

    def write(self, row: int, observation: Any) -> None:
        """Write an observation and mark the agent as present.

        Raises:
            FieldError: it has another structure, shape or type than its space.
        """
        if self._is_wrapped:
            observation = _part(observation, OBSERVATION)
        self._write(row, observation)
        if AGENT_TYPE in self._arrays.observations:
            self._arrays.observations[AGENT_TYPE][row, self._type] = 1
        self._arrays.agent_mask[row] = True

    def write_mask(self, row: int, observation: Any, info: Any, *, is_in_info: bool) -> None:
        """Write which actions are allowed: those that the agent has, as far as its own mask allows them.

        Raises:
            FieldError: the mask is missing, unexpected, or of another size.
        """
        if not self._num_actions:
            return
        told = info.get(ACTION_MASK) if isinstance(info, Mapping) else None
        flags: Any = True
        if self.has_own_mask:
            mask = _part(observation, ACTION_MASK)
            flags = flat_action_mask("observation['action_mask']", mask, self._num_actions)
        elif is_in_info and told is None:
            raise FieldError("info", "has no 'action_mask', and there was one after the first reset")
        elif is_in_info:
            flags = flat_action_mask("info['action_mask']", told, self._num_actions)
        elif told is not None:
            raise FieldError("info", "has an 'action_mask', and there was none after the first reset")
        allowed = self._arrays.action_mask[row]
        allowed[:] = False
        allowed[: self._num_actions] = flags

    def end(self, row: int) -> None:
        """Keep the observation as the last one of the agent's episode.

        Raises:
            FieldError: it holds NaN, infinity or a category that does not exist.
        """
        for final, leaf in zip(
            self._arrays.final_observations.values(), self._arrays.observations.values(), strict=True
        ):
            final[row] = leaf[row]
        problem = self._check.problem(self._finals, row)
        if problem is not None:
            raise FieldError("final", problem)

    def clear(self, row: int) -> None:
        """Make the row that of an absent agent."""
        for leaf in self._arrays.observations.values():
            leaf[row] = 0
        self._arrays.agent_mask[row] = False
        self._arrays.action_mask[row] = True

    def are_possible(self) -> bool:
        """Return whether this agent's observations in all worlds are free of NaN, infinity and unknown categories."""
        return self._check.passes(self._slices)

    def problem(self, row: int) -> str | None:
        """Return what is wrong with one row, or None."""
        return self._check.problem(self._seen, row)

    def _own(self, leaves: Observations) -> tuple[Array, ...]:
        """Return the parts of the joint leaves that this agent fills, in the order of its own space."""
        joint = [leaf for name, leaf in leaves.items() if name != AGENT_TYPE]
        return tuple(
            leaf if leaf.shape[1:] == shape else leaf[:, : shape[0]]
            for leaf, shape in zip(joint, self._shapes, strict=True)
        )


def _part(observation: Any, key: str) -> Any:
    if not isinstance(observation, Mapping) or key not in observation:
        raise FieldError("observation", f"has no '{key}', which its space has")
    return observation[key]
