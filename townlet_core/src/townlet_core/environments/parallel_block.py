"""PettingZoo parallel worlds stepped one after the other; agents come and go, and autoreset is within the step.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.arrays import is_finite
from townlet_core.environments.agent_rows import AgentRows
from townlet_core.environments.faults import FieldError, Place
from townlet_core.environments.seeds import EpisodeSeeds
from townlet_core.environments.step_values import ACTION_MASK, require_flag, reward_number
from townlet_core.environments.worlds import close_worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.environments.agent_arrays import AgentArrays
    from townlet_core.environments.pettingzoo_spaces import JointSpaces
    from townlet_core.errors import EnvironmentFault

_FIELDS = ("observations", "rewards", "terminations", "truncations", "infos")


class ParallelBlock:
    """N worlds with the same agents.

    Args:
        worlds: PettingZoo parallel environments, all with the same agents and spaces.
        joint: the spaces of their agents.
        arrays: what is written.
        limit: time limit in steps, or None.
        name: the environment's name, for messages.
    """

    def __init__(
        self, worlds: Sequence[Any], *, joint: JointSpaces, arrays: AgentArrays, limit: int | None, name: str
    ) -> None:
        self._worlds = list(worlds)
        self._arrays = arrays
        self._joint = joint
        self._limit = sys.maxsize if limit is None else limit
        self._name = name
        self._lacks_actions = joint.lacks_actions
        self._num_actions = joint.allowed.shape[1]
        self._rows = [AgentRows(joint, slot, arrays) for slot in range(len(joint.agents))]
        self._slots = {rows.agent: slot for slot, rows in enumerate(self._rows)}
        self._present: list[list[int]] = [[] for _ in self._worlds]
        self._earned = np.zeros(len(arrays.rewards))
        self._seeds = EpisodeSeeds([0] * len(self._worlds), range(len(self._worlds)))
        self._is_mask_in_info: bool | None = None
        self._agent: Any = None

    def single_worlds(self) -> list[ParallelBlock]:
        """Return each world as a block of its own, which writes where this one does."""
        blocks = []
        for number, world in enumerate(self._worlds):
            arrays = self._arrays.world(number, len(self._rows))
            block = ParallelBlock([world], joint=self._joint, arrays=arrays, limit=self._limit, name=self._name)
            block._present = [self._present[number]]
            block._is_mask_in_info = self._is_mask_in_info
            blocks.append(block)
        return blocks

    def reset(self, seeds: Sequence[int], indices: Sequence[int], episodes: Sequence[int] | None = None) -> bool:
        """Start an episode everywhere and return whether actions are masked.

        Args:
            seeds: the seed of each world.
            indices: the world index that each draws its key with.
            episodes: which episode of each world, from 0; None for the first ones.

        Raises:
            EnvironmentFault: a world failed.
        """
        arrays = self._arrays
        self._seeds = EpisodeSeeds(seeds, indices)
        for column in (arrays.rewards, arrays.terminations, arrays.truncations, arrays.ages):
            column.fill(0)
        arrays.episodes[:] = 0 if episodes is None else episodes
        arrays.episode_starts.fill(True)  # noqa: FBT003  (the value to fill with)
        for world in range(len(self._worlds)):
            self._reset_world(world)
        self._require_possible()
        has_own = any(rows.has_own_mask for rows in self._rows)
        return bool(self._num_actions and (self._lacks_actions or has_own or self._is_mask_in_info))

    def step(self, choices: Sequence[Sequence[Any]]) -> bool:
        """Make one step everywhere.

        Args:
            choices: for each slot, the action of that agent in each world, as the world takes it.

        Returns:
            Whether an agent's episode ended, so that `final_observations` hold something new.

        Raises:
            EnvironmentFault: a world failed.
        """
        arrays = self._arrays
        for flags in (arrays.terminations, arrays.truncations, arrays.episode_starts):
            flags.fill(False)  # noqa: FBT003  (the value to fill with)
        self._earned.fill(0)
        ages = arrays.ages
        ages += 1
        has_ended = False
        for world in range(len(self._worlds)):
            has_ended |= self._step_world(world, choices)
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told below
            arrays.rewards[:] = self._earned
        self._require_possible()
        if not is_finite(arrays.rewards):
            world, slot = divmod(int(np.argmin(np.isfinite(arrays.rewards))), len(self._rows))
            self._agent = self._rows[slot].agent
            raise self._fault(world, f"reward is {arrays.rewards[world * len(self._rows) + slot]}")
        return has_ended

    def close(self) -> None:
        """Close every world, whatever the others do."""
        close_worlds(self._worlds)

    def _step_world(self, world: int, choices: Sequence[Sequence[Any]]) -> bool:
        """Make one step of a world and return whether somebody's episode ended."""
        acting, self._agent = self._present[world], None
        try:
            returned = self._worlds[world].step({self._rows[slot].agent: choices[slot][world] for slot in acting})
            observations, rewards, terminations, truncations, infos = returned
            for name, part in zip(_FIELDS, returned, strict=True):
                if not isinstance(part, Mapping):
                    raise FieldError(name, f"is a {type(part).__name__}, expected a mapping from agents")
            left = self._slots_of(self._worlds[world].agents)
            has_run_out = int(self._arrays.ages[world]) >= self._limit
            ended = []
            for slot in acting:
                agent = self._agent = self._rows[slot].agent
                row = world * len(self._rows) + slot
                self._earned[row] = reward_number(_entry("rewards", rewards, agent))
                self._rows[slot].write(row, _entry("observations", observations, agent))
                terminated = require_flag("terminated", _entry("terminations", terminations, agent))
                truncated = require_flag("truncated", _entry("truncations", truncations, agent))
                _require_consistent(has_ended=terminated or truncated, is_left=slot in left)
                if terminated or truncated or has_run_out:
                    self._arrays.terminations[row] = terminated
                    self._arrays.truncations[row] = truncated or (has_run_out and not terminated)
                    self._rows[slot].end(row)
                    ended.append(slot)
            if left and not has_run_out:
                for slot in ended:
                    self._rows[slot].clear(world * len(self._rows) + slot)
                self._show(world, left, observations, infos, known=acting)
        except FieldError as error:
            raise self._fault(world, str(error)) from error.__cause__
        except Exception as error:
            raise self._fault(world, f"step raised {type(error).__name__}: {error}", cause=error) from error
        if not left or has_run_out:
            self._arrays.episode_starts[world] = True
            self._arrays.episodes[world] += 1
            self._arrays.ages[world] = 0
            self._reset_world(world)
        return bool(ended)

    def _reset_world(self, world: int) -> None:
        """Start the next episode of a world with the seed of that episode."""
        self._agent = None
        for slot, rows in enumerate(self._rows):
            rows.clear(world * len(self._rows) + slot)
        try:
            seed = self._seeds.of(world, int(self._arrays.episodes[world]))
            observations, infos = self._worlds[world].reset(seed=seed)
            present = self._slots_of(self._worlds[world].agents)
            if not present:
                raise FieldError("agents", "is empty after reset: nobody can act")
            if self._is_mask_in_info is None:
                self._is_mask_in_info = any(ACTION_MASK in (info or {}) for info in infos.values())
            self._show(world, present, observations, infos, known=())
        except FieldError as error:
            raise self._fault(world, str(error)) from error.__cause__
        except Exception as error:
            raise self._fault(world, f"reset raised {type(error).__name__}: {error}", cause=error) from error

    def _show(self, world: int, present: list[int], observations: Any, infos: Any, *, known: Sequence[int]) -> None:
        """Write the masks of those who are present, and the observations of those who have just come."""
        for slot in present:
            rows, row = self._rows[slot], world * len(self._rows) + slot
            self._agent = rows.agent
            observation = _entry("observations", observations, rows.agent)
            if slot not in known:
                rows.write(row, observation)
            rows.write_mask(row, observation, infos.get(rows.agent), is_in_info=bool(self._is_mask_in_info))
        self._present[world][:] = present

    def _slots_of(self, agents: Any) -> list[int]:
        """Return the slots of the agents that a world says are there, in order."""
        unknown = [agent for agent in agents if agent not in self._slots]
        if unknown:
            raise FieldError("agents", f"holds {unknown[0]!r}, which is not one of possible_agents")
        return sorted({self._slots[agent] for agent in agents})

    def _require_possible(self) -> None:
        for slot, rows in enumerate(self._rows):
            if rows.are_possible():
                continue
            for world in range(len(self._worlds)):
                problem = rows.problem(world * len(self._rows) + slot)
                if problem is not None:
                    self._agent = rows.agent
                    raise self._fault(world, problem)

    def _fault(self, world: int, problem: str, *, cause: BaseException | None = None) -> EnvironmentFault:
        episode = int(self._arrays.episodes[world])
        place = Place(
            environment=self._name,
            world=world,
            episode=episode,
            seed=self._seeds.of(world, episode),
            step=int(self._arrays.ages[world]),
        )
        who = "" if self._agent is None else f"agent {self._agent!r}: "
        return place.fault(f"{who}{problem}", cause=cause)


def _entry(name: str, parts: Mapping[Any, Any], agent: Any) -> Any:
    try:
        return parts[agent]
    except KeyError as error:
        raise FieldError(name, "has no entry for it") from error


def _require_consistent(*, has_ended: bool, is_left: bool) -> None:
    """Raise unless an agent is in `agents` exactly as long as its episode goes on."""
    if has_ended and is_left:
        raise FieldError("agents", "still holds it, though it is terminated or truncated: who has ended is taken out")
    if not has_ended and not is_left:
        raise FieldError("agents", "does not hold it any more, though it is neither terminated nor truncated")
