"""How soon, and how well, PPO's defaults solve CartPole-v1: the clock stands still while a policy is evaluated."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core import randomness
from townlet_core.bench.ppo import FineClock
from townlet_core.bench.probe import Probe, run_probed
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig
from townlet_core.environments.build import make_environment
from townlet_core.services.evaluation import EvaluationService

if TYPE_CHECKING:
    from townlet_core.context import Clock
    from townlet_core.plugins.registry import Registry

ENVIRONMENT = "gymnasium:CartPole-v1"
SOLVED = 475.0
MARK_EPISODES = 20
WORLDS = 24  # whole shards of the training policy, which acts on no other number of worlds
FINAL_EPISODES = 100


def measure_solve(
    registry: Registry,
    *,
    seed: int,
    evaluate_every: int = 2048,
    num_threads: int = 1,
    settings: dict[str, Any] | None = None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Train one seed to the end and return one row of figures.

    Args:
        registry: where PPO is found.
        seed: of the run.
        evaluate_every: agent-steps between two evaluations, until the first that reaches 475.
        num_threads: threads of matrix products.
        settings: of PPO, where they are not the defaults.
        clock: the time.

    Returns:
        `solved_sec` and `solved_steps`: training time and agent-steps until 20 episodes, most likely actions, had a
        mean return of at least 475 (None: never); `end_sec`, `end_steps`: of the whole run; `final_return_mean` and
        `final_return_min` of the last policy over 100 fresh episodes.

    Raises:
        UnavailableError: PPO, or torch, is not installed.
    """
    clock = clock or FineClock()
    marks: dict[str, Any] = {"solved_sec": None, "solved_steps": None}
    due = evaluate_every

    def after_update(probe: Probe) -> bool:
        nonlocal due
        if marks["solved_sec"] is None and probe.agent_steps >= due:
            due = probe.agent_steps + evaluate_every
            mean, _ = _evaluate(probe, purpose="solve", seed=seed, episodes=MARK_EPISODES)
            if mean >= SOLVED:
                marks.update(solved_sec=round(probe.ends[-1] - begin, 2), solved_steps=probe.agent_steps)
        return False

    config = SimulationConfig(
        environment=EnvironmentConfig(name=ENVIRONMENT),
        training=TrainingConfig(strategy="ppo", seed=seed, num_threads=num_threads, device="cpu"),
        strategies={"ppo": settings or {}},
    )
    probe = Probe(clock, after_update)
    with threadpool_limits(limits=num_threads):
        begin = clock.monotonic()
        run_probed(config, registry, probe)
        end = clock.monotonic()
        mean, lowest = _evaluate(probe, purpose="final", seed=seed, episodes=FINAL_EPISODES)
    return {
        "seed": seed,
        **marks,
        "end_sec": round(end - begin - probe.aside, 2),
        "end_steps": probe.agent_steps,
        "final_return_mean": round(mean, 2),
        "final_return_min": lowest,
    }


def _evaluate(probe: Probe, *, purpose: str, seed: int, episodes: int) -> tuple[float, float]:
    """Return the mean and the smallest return of fresh episodes under the policy as it is now."""
    assert probe.policy is not None
    seeds = [randomness.integer_seed(randomness.key(seed, purpose, episode))[0] for episode in range(episodes)]
    with closing(make_environment(EnvironmentConfig(name=ENVIRONMENT), num_worlds=WORLDS)) as environment:
        result = EvaluationService().evaluate(probe.policy, environment, seeds)
    return result.return_mean, result.return_min
