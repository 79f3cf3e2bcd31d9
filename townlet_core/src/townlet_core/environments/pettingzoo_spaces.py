"""The spaces of several agents as one: equal ones stay, unequal sizes are padded and marked with the agent's type.

Legend: A agents, K actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.environments.step_values import ACTION_MASK
from townlet_core.errors import ConfigError
from townlet_core.spaces import OBSERVATION, action_count, describe_space, flatten_action_space, flatten_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.spaces import Space

AGENT_TYPE = f"{OBSERVATION}.agent_type"


@dataclass(frozen=True, slots=True)
class AgentSpaces:
    """What one agent sees and does, its action mask taken out of what it sees.

    Attributes:
        agent: its name in the environment.
        observation: its own observation space, without the mask.
        action: its own action space.
        has_mask: whether its observations are a mapping with an `action_mask`.
        is_wrapped: whether all but the mask stands under the key `observation` of that mapping.
    """

    agent: Any
    observation: Space
    action: Space
    has_mask: bool
    is_wrapped: bool

    @classmethod
    def of(cls, world: Any, agent: Any) -> AgentSpaces:
        """Return the spaces of an agent of a PettingZoo world."""
        observation, action = world.observation_space(agent), world.action_space(agent)
        count = action_count(action)
        parts = dict(observation.spaces) if isinstance(observation, spaces.Dict) else {}
        mask = parts.pop(ACTION_MASK, None)
        if mask is None or not count or not parts or (mask.shape or ()) != (count,):
            return cls(agent, observation, action, has_mask=False, is_wrapped=False)
        if list(parts) == [OBSERVATION]:
            return cls(agent, parts[OBSERVATION], action, has_mask=True, is_wrapped=True)
        return cls(agent, spaces.Dict(parts), action, has_mask=True, is_wrapped=False)


@dataclass(frozen=True, slots=True)
class JointSpaces:
    """The spaces that all agents share.

    Attributes:
        agents: their own spaces, in the order of their slots.
        types: for each slot, the number of its type; agents of one type have equal spaces.
        observation_spaces: flattened name -> leaf as policies see it; the last is the one-hot type where there are two
            types or more.
        action_space: as policies see it.
        allowed: (A, K) bool, the actions that each agent has; K = 0 for Box.
    """

    agents: tuple[AgentSpaces, ...]
    types: tuple[int, ...]
    observation_spaces: dict[str, Space]
    action_space: Space
    allowed: Array

    @property
    def num_types(self) -> int:
        """How many types of agents there are."""
        return max(self.types) + 1

    @property
    def lacks_actions(self) -> bool:
        """Whether some agent lacks actions that others have, so that a mask must tell them."""
        return not bool(self.allowed.all())


def joint_spaces(agents: Sequence[AgentSpaces], *, name: str) -> JointSpaces:
    """Return the spaces that hold those of every agent.

    Equal spaces stay as they are. Float Boxes of one axis grow to the longest (zeros after an agent's own numbers) and
    Discrete spaces to the largest count; then `observation` becomes `observation.observation`, and
    `observation.agent_type` says one-hot which type an agent is of. Bounds are the widest.

    Args:
        agents: their spaces.
        name: the environment's name, for messages.

    Raises:
        ConfigError: the spaces of two agents have nothing in common, or are of a kind that is not supported.
    """
    seen = [(flatten_space(one.observation), flatten_action_space(one.action)) for one in agents]
    distinct: list[tuple[dict[str, Space], Space]] = []
    types = []
    for each in seen:
        if each not in distinct:
            distinct.append(each)
        types.append(distinct.index(each))
    leaves, action = seen[0]
    for one, (own_leaves, own_action) in zip(agents[1:], seen[1:], strict=True):
        merged = {leaf: _merged(leaves[leaf], own_leaves[leaf]) for leaf in leaves if leaf in own_leaves}
        if list(leaves) != list(own_leaves) or None in merged.values():
            raise _unlike(name, "observation", agents[0], one)
        leaves = {leaf: space for leaf, space in merged.items() if space is not None}
        both = _merged(action, own_action)
        if both is None:
            raise _unlike(name, "action", agents[0], one)
        action = both
    if len(distinct) > 1:
        leaves = {f"{OBSERVATION}.{leaf}": space for leaf, space in leaves.items()}
        leaves[AGENT_TYPE] = spaces.Box(0.0, 1.0, (len(distinct),), np.float32)
    counts = np.array([action_count(one.action) for one in agents])
    allowed = np.arange(action_count(action)) < counts[:, None]
    return JointSpaces(tuple(agents), tuple(types), leaves, action, allowed)


def _merged(left: Space, right: Space) -> Space | None:
    """Return the space that holds both of two leaves, or None where there is none."""
    if left == right:
        return left
    if isinstance(left, spaces.Discrete) and isinstance(right, spaces.Discrete):
        return spaces.Discrete(max(int(left.n), int(right.n)))
    if not (isinstance(left, spaces.Box) and isinstance(right, spaces.Box)):
        return None
    if left.dtype != np.float32 or right.dtype != np.float32 or len(left.shape) != 1 or len(right.shape) != 1:
        return None
    size = max(left.shape[0], right.shape[0])
    low = np.minimum(_padded(left.low, size), _padded(right.low, size))
    high = np.maximum(_padded(left.high, size), _padded(right.high, size))
    return spaces.Box(low, high, (size,), np.float32)


def _padded(numbers: Array, size: int) -> Array:
    return np.pad(numbers, (0, size - len(numbers)))


def _unlike(name: str, kind: str, first: AgentSpaces, other: AgentSpaces) -> ConfigError:
    return ConfigError(
        f"environment '{name}': agents {first.agent!r} and {other.agent!r} have {kind} spaces that do not go into one: "
        f"{describe_space(getattr(first, kind))} and {describe_space(getattr(other, kind))}; "
        "only the sizes of float Boxes with one axis, and the counts of Discrete spaces, may differ"
    )
