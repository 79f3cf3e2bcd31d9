"""One seed in each world, until every world-episode is over.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.evaluation import EpisodeResult
from townlet_core.errors import EnvironmentFault
from townlet_core.policy.actor_only import actor_of
from townlet_core.services.rollout import Rollout
from townlet_core.services.world_totals import WorldTotals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment
    from townlet_core.policy.base import Policy


class FirstLives:
    """Return, length and end of the first life in each slot.

    A life begins when its agent is first present, and only the first one counts. A world takes in agents until all
    those that came have ended, or its own next episode starts.

    Attributes:
        is_running: (N,) bool, whether a world has a life that has not ended, or may still take one in.
    """

    def __init__(self, rollout: Rollout, is_read: Array) -> None:
        shape = rollout.returns.shape
        self._rollout = rollout
        self._returns, self._lengths = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self._running, self._lived, self._truncated = (np.zeros(shape, dtype=bool) for _ in range(3))
        self._is_open = is_read.copy()
        self.is_running = is_read.copy()

    def add(self, acted: Array, ended: Array, after: EnvironmentStep) -> None:
        """Add a step of the rollout; see `Rollout.step`."""
        appeared = acted & ~self._lived & self._is_open[:, None]
        self._lived |= appeared
        self._running |= appeared
        first_end = ended & self._running
        self._returns[first_end] = self._rollout.returns[first_end]
        self._lengths[first_end] = self._rollout.lengths[first_end]
        self._truncated[first_end] = (after.truncations & ~after.terminations)[first_end]
        self._running &= ~ended
        has_running = self._running.any(axis=1)
        self._is_open &= (has_running | ~self._lived.any(axis=1)) & ~after.episode_starts
        self.is_running = has_running | self._is_open

    def has_lived(self, world: int) -> bool:
        """Return whether anybody was ever present."""
        return bool(self._lived[world].any())

    def fields(self, world: int) -> dict[str, float | int | bool]:
        """Return the fields of an `EpisodeResult` that are of first lives."""
        lived = self._lived[world]
        return {
            "episode_return": float(self._returns[world][lived].mean()),
            "length": int(self._lengths[world].max()),
            "truncated": bool(self._truncated[world].any()),
        }


def run_batch(
    policy: Policy,
    environment: VectorEnvironment,
    seeds: Sequence[int],
    *,
    part: int,
    deterministic: bool,
    max_steps: int,
) -> list[EpisodeResult]:
    """Run one world-episode for each seed; worlds left over repeat the last seed, unread.

    Args:
        policy: who acts.
        environment: of N worlds, which takes one seed for each.
        seeds: N of them at most.
        part: what the results say of the suite's part.
        deterministic: take the most likely action instead of a sample.
        max_steps: steps after which an episode that has not ended is an error.

    Raises:
        EnvironmentFault: an episode failed, did not end, or had no agent.
    """
    padded = [*seeds, *[seeds[-1]] * (environment.num_worlds - len(seeds))]
    rollout = Rollout(environment, actor_of(policy), seeds=padded, purpose="evaluate", deterministic=deterministic)
    is_read = np.arange(len(padded)) < len(seeds)
    lives, totals = FirstLives(rollout, is_read), WorldTotals(environment, is_read)
    for _ in range(max_steps):
        totals.see(rollout.current)
        acted, ended, after = rollout.step()
        lives.add(acted, ended, after)
        totals.add(acted, after)
        rollout.clear(ended)
        if not (lives.is_running | totals.is_going).any():
            break
    else:
        seed = seeds[int(np.argmax(lives.is_running | totals.is_going))]
        raise EnvironmentFault(
            f"environment '{environment.name}': seed {seed} has not ended after {max_steps:,} steps; "
            "set environment.max_episode_steps"
        )
    nobody = [seed for world, seed in enumerate(seeds) if not lives.has_lived(world)]
    if nobody:
        raise EnvironmentFault(
            f"environment '{environment.name}': seed {nobody[0]}: no agent was present in the whole episode"
        )
    return [
        EpisodeResult.model_validate(
            {
                "seed": seed,
                "part": part,
                **lives.fields(world),
                "reward_mean": totals.reward_mean(world),
                "num_steps": int(totals.num_steps[world]),
                "agent_steps": int(totals.agent_steps[world].sum()),
                "metrics": totals.metrics(world),
            }
        )
        for world, seed in enumerate(seeds)
    ]
