"""The environment contract: N worlds of A agents, stepped as arrays.

Legend: N worlds, A agents per world, K actions, D action dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gymnasium import spaces

    from townlet_core.arrays import Array, Observations


class AutoresetMode(StrEnum):
    """What `step` does with a world whose episode ends.

    SAME_STEP: the world is reset within the step; `observations` are the new episode's first ones, and the last ones of
    the old episode stand in `final_observations`.
    NEXT_STEP: the step returns the last observations; the world is reset by the following step, during which nobody
    acts there (`agent_mask` False), so that this step is not counted.
    """

    SAME_STEP = "same_step"
    NEXT_STEP = "next_step"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentStep:
    """What all worlds show after `reset` or `step`; the arrays belong to the environment until its next step.

    Attributes:
        observations: (N, A, ...) for each flattened name: what the agents see before they act.
        agent_mask: (N, A) bool; True = the agent is present and acts now.
        action_mask: (N, A, K) bool, True = allowed; None where every action always is, and then in every step: an
            environment has masks always or never. For MultiDiscrete actions K is the sum of the counts.
        rewards: (N, A) float32 for the step just made; zeros after `reset`.
        terminations: (N, A) bool; the agent's process ended (bootstrap 0).
        truncations: (N, A) bool; a time limit cut the episode (bootstrap the value of the final observation).
        final_observations: like `observations`; rows are valid where `terminations | truncations`; None if none did.
        episode_starts: (N,) bool; `observations` of this world are the first of a new episode.
        events: per-step counts by event name, each (N,) float64.
    """

    observations: Observations
    agent_mask: Array
    rewards: Array
    terminations: Array
    truncations: Array
    episode_starts: Array
    action_mask: Array | None = None
    final_observations: Observations | None = None
    events: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepEvents:
    """What happened in the last step, one row for each event; E rows, (E,) each.

    Attributes:
        kinds: place in the environment's `event_kinds`.
        worlds: where.
        steps: step of the world's episode, from 0.
        actors: slot of who did it, or -1.
        targets: slot of whom it happened to, or what the kind says, or -1.
        values: how much.
    """

    kinds: Array
    worlds: Array
    steps: Array
    actors: Array
    targets: Array
    values: Array


class VectorEnvironment(ABC):
    """N worlds x A agents behind one `reset` and one `step`.

    Attributes:
        name: the name that the environment was asked for by.
        num_worlds: N.
        num_agents: A, the number of agent slots in each world.
        observation_spaces: flattened name -> leaf space of one agent (`observation`, or `observation.<key>`).
        action_space: the action space of one agent.
        autoreset: what happens when an episode ends.
        exact: whether the same seed gives the same bytes for any split of worlds over processes.
        feature_names: observation name -> what its entries are called; only where somebody has named them.
        action_names: what the numbers of a Discrete action mean; empty where nobody has named them.
        event_kinds: what `StepEvents.kinds` counts; empty where the environment only counts (`EnvironmentStep.events`).
        growing_arrays: names in a `snapshot` whose first axis is as long as it takes; all others keep their shape.
    """

    feature_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    action_names: tuple[str, ...] = ()
    event_kinds: tuple[str, ...] = ()
    growing_arrays: tuple[str, ...] = ()

    name: str
    num_worlds: int
    num_agents: int
    observation_spaces: Mapping[str, spaces.Space[object]]
    action_space: spaces.Space[object]
    autoreset: AutoresetMode
    exact: bool

    @abstractmethod
    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        """Start episode 0 in every world.

        Args:
            seeds: one seed for all (world w draws its own key from it), or one for each world, which then behaves as
                world 0 under that seed, whatever its neighbours are.
        """

    @abstractmethod
    def step(self, actions: Array) -> EnvironmentStep:
        """Make one step in every world.

        Args:
            actions: (N, A) int64 for Discrete, (N, A, D) int64 for MultiDiscrete, (N, A, D) float32 for Box (clipped to
                the space's bounds here). Rows of absent agents are ignored.

        Raises:
            EnvironmentFault: a world raised, hung, died, or returned something that is not of its spaces: another
                structure, shape or type, NaN or infinity, a category that does not exist. (The bounds of a Box are not
                enforced: many environments leave their own by a little.)
        """

    def begin_cycle(self, cycle: int) -> None:
        """Be told, before a rollout, which training cycle it belongs to, from 0; a curriculum goes by it."""
        del cycle

    def keep_events(self) -> None:
        """Be told, between a reset and its first step, that `last_events` will be asked for from then on."""
        return

    def last_events(self) -> StepEvents | None:
        """Return the single events of the last step; None where the environment only counts them."""
        return None

    def snapshot(self) -> dict[str, Array] | None:
        """Return everything that the worlds go on from, as copies; None where the environment cannot tell."""
        return None

    def restore(self, arrays: dict[str, Array]) -> EnvironmentStep:
        """Go back to a snapshot, which may be another process's, and return what the agents see there.

        Args:
            arrays: what `snapshot` returned, of as many worlds, under the same seeds and settings.

        Raises:
            UsageError: the environment cannot.
            EpisodesLostError: its worlds are not what they were; after a reset it can go on with new episodes.
        """
        del arrays
        raise UsageError(f"environment '{self.name}' cannot go back to a snapshot")

    def close(self) -> None:
        """Release what the environment holds; may be called twice."""
        return
