"""Evaluation: an explicit list of seeds, each run exactly once, one result per episode."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.evaluation import EpisodeResult, EvaluationResultDTO
from townlet_core.errors import UsageError
from townlet_core.services.comparison import compare
from townlet_core.services.episode_batch import run_batch
from townlet_core.services.statistics import estimate
from townlet_core.services.suites import default_score, episode_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.dto.comparison import ComparisonDTO
    from townlet_core.dto.evaluation import ScoreName, SuiteRecord
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.services.contender import Contender
    from townlet_core.services.suites import Suite

    class MakeEnvironment(Protocol):
        """What builds an environment, such as `Resolver.environment`."""

        def __call__(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
            """Return an environment of `num_worlds` worlds."""
            ...


__all__ = ["DEFAULT_MAX_STEPS", "MOST_WORLDS", "EvaluationService", "episode_seeds"]

DEFAULT_MAX_STEPS = 100_000
MOST_WORLDS = 64
"""Worlds of a suite that run side by side; it changes the speed alone."""


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
        for batch in _batches(seeds, environment.num_worlds):
            episodes += run_batch(policy, environment, batch, part=0, deterministic=deterministic, max_steps=max_steps)
            if on_progress is not None:
                on_progress(len(episodes), len(seeds))
        return _result(
            episodes,
            environment=environment.name,
            artefact_digest=artefact_digest,
            deterministic=deterministic,
            score_name=default_score([environment.name]),
            duration_sec=time.perf_counter() - begin,
        )

    def evaluate_suite(
        self,
        contender: Contender,
        suite: Suite,
        make_environment: MakeEnvironment,
        *,
        num_worlds: int = MOST_WORLDS,
        max_steps: int = DEFAULT_MAX_STEPS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> EvaluationResultDTO:
        """Run every episode of a suite once.

        Args:
            contender: who acts.
            suite: the episodes.
            make_environment: builds the environments, which are closed again.
            num_worlds: worlds that run side by side; it changes the speed alone.
            max_steps: steps after which an episode that has not ended is an error.
            on_progress: called with (episodes done, episodes in all).

        Raises:
            ArtefactError: the policy does not fit an environment.
            ConfigError: an environment cannot be built.
            EnvironmentFault: as for `evaluate`.
        """
        begin = time.perf_counter()
        total = sum(len(part.seeds) for part in suite.parts)
        episodes: list[EpisodeResult] = []
        for number, part in enumerate(suite.parts):
            config = contender.view(part.environment)
            with closing(make_environment(config, num_worlds=min(len(part.seeds), num_worlds))) as environment:
                policy = contender.policy(environment)
                for batch in _batches(part.seeds, environment.num_worlds):
                    episodes += run_batch(
                        policy,
                        environment,
                        batch,
                        part=number,
                        deterministic=contender.deterministic,
                        max_steps=max_steps,
                    )
                    if on_progress is not None:
                        on_progress(len(episodes), total)
        return _result(
            episodes,
            policy=contender.name,
            environment=", ".join(dict.fromkeys(part.environment.name or "" for part in suite.parts)),
            artefact_digest=contender.digest,
            deterministic=contender.deterministic,
            suite=suite.record(),
            score_name=suite.score_name,
            duration_sec=time.perf_counter() - begin,
        )

    def compare(self, result: EvaluationResultDTO, other: EvaluationResultDTO, *, margin: float = 0.0) -> ComparisonDTO:
        """Compare two evaluations of the same episodes; see `townlet_core.services.comparison.compare`."""
        return compare(result, other, margin=margin)


def _batches(seeds: Sequence[int], num_worlds: int) -> Iterator[Sequence[int]]:
    return (seeds[first : first + num_worlds] for first in range(0, len(seeds), num_worlds))


def _result(
    episodes: Sequence[EpisodeResult],
    *,
    environment: str,
    artefact_digest: str,
    deterministic: bool,
    score_name: ScoreName,
    duration_sec: float,
    policy: str = "",
    suite: SuiteRecord | None = None,
) -> EvaluationResultDTO:
    returns = np.array([episode.episode_return for episode in episodes])
    return EvaluationResultDTO(
        policy=policy,
        environment=environment,
        artefact_digest=artefact_digest,
        deterministic=deterministic,
        suite=suite,
        episodes=tuple(episodes),
        score_name=score_name,
        score=estimate([getattr(episode, score_name) for episode in episodes]),
        return_mean=float(returns.mean()),
        return_std=float(returns.std()),
        return_min=float(returns.min()),
        return_max=float(returns.max()),
        reward_mean=float(np.mean([episode.reward_mean for episode in episodes])),
        length_mean=float(np.mean([episode.length for episode in episodes])),
        metrics=_means(episode.metrics for episode in episodes),
        duration_sec=duration_sec,
    )


def _means(metrics: Iterable[dict[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for one in metrics:
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}
