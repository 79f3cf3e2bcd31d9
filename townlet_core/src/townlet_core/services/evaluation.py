"""Evaluation: an explicit list of seeds, each run exactly once, one result per episode.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.dto.evaluation import EpisodeResult, EvaluationResultDTO
from townlet_core.errors import EnvironmentFault, UsageError
from townlet_core.services.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy


DEFAULT_MAX_STEPS = 100_000


def episode_seeds(seed: int, count: int) -> list[int]:
    """Return `count` seeds drawn from `seed`; a longer list begins with the shorter one."""
    return [randomness.integer_seed(randomness.key(seed, "evaluation", index))[0] for index in range(count)]


class EvaluationService:
    """Runs a policy over seeds; holds nothing between runs."""

    def evaluate(
        self,
        policy: Policy,
        environment: VectorEnvironment,
        seeds: Sequence[int],
        *,
        deterministic: bool = True,
        artefact_digest: str = "",
        max_steps: int = DEFAULT_MAX_STEPS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> EvaluationResultDTO:
        """Run every seed once.

        Seeds are taken in batches of N worlds. Each world runs under its own seed as world 0, so an episode is the same
        whatever its neighbours are; with a `NumpyPolicy` that is true to the byte when it makes one product per world.

        Args:
            policy: who acts.
            environment: where; it has to take one seed for each world. The caller closes it.
            seeds: the episodes.
            deterministic: take the most likely action instead of a sample.
            artefact_digest: what the result says was evaluated.
            max_steps: steps after which an episode that has not ended is an error.
            on_progress: called with (episodes done, episodes in all).

        Raises:
            UsageError: the list is empty.
            EnvironmentFault: an episode failed, did not end, or had no agent; nothing is returned for the others.
        """
        if not seeds:
            raise UsageError("an evaluation needs at least one seed")
        begin = time.perf_counter()
        episodes: list[EpisodeResult] = []
        for first in range(0, len(seeds), environment.num_worlds):
            batch = list(seeds[first : first + environment.num_worlds])
            episodes.extend(
                self._run_batch(policy, environment, batch, deterministic=deterministic, max_steps=max_steps)
            )
            if on_progress is not None:
                on_progress(len(episodes), len(seeds))
        returns = np.array([episode.episode_return for episode in episodes])
        return EvaluationResultDTO(
            environment=environment.name,
            artefact_digest=artefact_digest,
            deterministic=deterministic,
            episodes=tuple(episodes),
            return_mean=float(returns.mean()),
            return_std=float(returns.std()),
            return_min=float(returns.min()),
            return_max=float(returns.max()),
            reward_mean=float(np.mean([episode.reward_mean for episode in episodes])),
            length_mean=float(np.mean([episode.length for episode in episodes])),
            duration_sec=time.perf_counter() - begin,
        )

    def _run_batch(
        self,
        policy: Policy,
        environment: VectorEnvironment,
        seeds: list[int],
        *,
        deterministic: bool,
        max_steps: int,
    ) -> list[EpisodeResult]:
        """Run one seed in each world until every episode has ended; worlds left over repeat the last seed, unread.

        An agent's episode begins when it is first present, and only its first one counts. A world takes in agents until
        all those that came have ended, or its own next episode starts.
        """
        padded = seeds + [seeds[-1]] * (environment.num_worlds - len(seeds))
        rollout = Rollout(environment, policy, seeds=padded, purpose="evaluate", deterministic=deterministic)
        shape = rollout.returns.shape
        returns, lengths = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        running, lived, truncated = (np.zeros(shape, dtype=bool) for _ in range(3))
        is_open = np.arange(len(padded)) < len(seeds)
        for _ in range(max_steps):
            acted, ended, after = rollout.step()
            appeared = acted & ~lived & is_open[:, None]
            lived |= appeared
            running |= appeared
            first_end = ended & running
            returns[first_end] = rollout.returns[first_end]
            lengths[first_end] = rollout.lengths[first_end]
            truncated[first_end] = (after.truncations & ~after.terminations)[first_end]
            running &= ~ended
            rollout.clear(ended)
            is_running = running.any(axis=1)
            is_open &= (is_running | ~lived.any(axis=1)) & ~after.episode_starts
            if not (is_running | is_open).any():
                break
        else:
            seed = seeds[int(np.argmax(is_running | is_open))]
            raise EnvironmentFault(
                f"environment '{environment.name}': seed {seed} has not ended after {max_steps:,} steps; "
                "set environment.max_episode_steps"
            )
        nobody = [seed for world, seed in enumerate(seeds) if not lived[world].any()]
        if nobody:
            raise EnvironmentFault(
                f"environment '{environment.name}': seed {nobody[0]}: no agent was present in the whole episode"
            )
        return [
            EpisodeResult(
                seed=seed,
                episode_return=float(returns[world][lived[world]].mean()),
                reward_mean=float(returns[world].sum() / lengths[world].sum()),
                length=int(lengths[world].max()),
                truncated=bool(truncated[world].any()),
            )
            for world, seed in enumerate(seeds)
        ]
