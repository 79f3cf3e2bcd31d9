"""How fast PPO trains in the town, and where the time goes: whole updates, after a warm-up, with PPO's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.bench.ppo import FineClock, summary
from townlet_core.bench.probe import Probe, run_probed
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig

if TYPE_CHECKING:
    from townlet_core.context import Clock
    from townlet_core.plugins.registry import Registry


def measure_town_ppo(
    registry: Registry,
    *,
    num_worlds: int = 128,
    num_steps: int = 64,
    variant: str = "hybrid",
    seconds: float = 10.0,
    num_threads: int = 1,
    warmup: int = 1,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Train for a while and return one row of figures; see `bench.ppo.measure_ppo`.

    Args:
        registry: where PPO is found.
        num_worlds: towns that are stepped together.
        num_steps: steps of each between two updates.
        variant: of the observations.
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
        environment=EnvironmentConfig.model_validate({"num_worlds": num_worlds, "town": {"variant": variant}}),
        training=TrainingConfig(strategy="ppo", num_threads=num_threads, device="cpu"),
        strategies={"ppo": {"total_steps": 10**12, "num_steps": num_steps}},
    )
    probe = Probe(clock or FineClock(), enough)
    run_probed(config, registry, probe)
    row = {"num_worlds": num_worlds, "num_steps": num_steps, "variant": variant, "num_threads": num_threads}
    return row | summary(probe, warmup)
