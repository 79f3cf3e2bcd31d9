"""How fast PPO trains on CartPole-v1, and where the time goes: whole updates, after a warm-up.

The setting is the one in which other libraries are usually compared: 64x64 actor and critic, 128 steps of each world
between updates, 4 epochs, 4 minibatches.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.bench.probe import Probe, run_probed
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.context import Clock
    from townlet_core.plugins.registry import Registry

SETTINGS: dict[str, Any] = {
    "total_steps": 10**12,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "hidden": [64, 64],
}


class FineClock:
    """The finest clock of this machine."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of the clock that is read for short times."""
        return time.perf_counter()


def measure_ppo(
    registry: Registry,
    *,
    num_worlds: int,
    vectorization: str = "sync",
    seconds: float = 4.0,
    num_threads: int = 1,
    warmup: int = 3,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Train for a while and return one row of figures.

    `steps_per_cpu_sec` is per second of this process's processor time: it can be compared on a machine that
    does other things too, and does not count worker processes.

    Args:
        registry: where PPO is found.
        num_worlds: CartPoles that are stepped together.
        vectorization: how, as `environment.vectorization`.
        seconds: how long to measure, after the warm-up; at least two updates are made.
        num_threads: threads of matrix products.
        warmup: updates that are not measured.
        clock: the time.

    Raises:
        UnavailableError: PPO, or torch, is not installed.
    """

    def enough(probe: Probe) -> bool:
        return len(probe.ends) > warmup + 2 and probe.ends[-1] - probe.ends[warmup] >= seconds

    config = SimulationConfig(
        environment=EnvironmentConfig.model_validate(
            {"name": "gymnasium:CartPole-v1", "num_worlds": num_worlds, "vectorization": vectorization}
        ),
        training=TrainingConfig(strategy="ppo", num_threads=num_threads, device="cpu"),
        strategies={"ppo": SETTINGS},
    )
    probe = Probe(clock or FineClock(), enough)
    run_probed(config, registry, probe)
    row = {"num_worlds": num_worlds, "vectorization": vectorization, "num_threads": num_threads}
    return row | summary(probe, warmup)


def summary(probe: Probe, warmup: int) -> dict[str, Any]:
    """Return the rates and shares of the updates after the warm-up."""

    def spent(marks: list[float]) -> Array:
        return np.diff(np.array(marks[warmup:]))

    durations, steps = spent(probe.ends), np.diff(np.array(probe.steps[warmup:]))
    total = float(durations.sum())
    environment = float(spent(probe.environment_sec).sum()) / total
    rollout = float(spent(probe.rollout_sec).sum()) / total
    return {
        "steps_per_sec": round(float(steps.sum()) / total, 1),
        "steps_per_sec_median": round(float(np.median(steps / durations)), 1),
        "steps_per_cpu_sec": round(float(steps.sum()) / max(float(spent(probe.cpu_sec).sum()), 1e-9), 1),
        "updates": len(durations),
        "share_environment": round(environment, 3),
        "share_acting": round(rollout - environment, 3),
        "share_learning": round(1.0 - rollout, 3),
    }
