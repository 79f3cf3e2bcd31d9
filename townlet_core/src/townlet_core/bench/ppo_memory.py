"""How much memory PPO takes in the town, beside what it cannot do without: one rollout and the network.

A training of two updates runs in a process of its own, and reads from the system what it has resident: after its
imports, once the environment has been reset, and at its peak.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from townlet_core.bench.memory import megabytes, memory_of, require_memory_figures
from townlet_core.bench.ppo import FineClock
from townlet_core.bench.probe import Probe, ProbedRollouts
from townlet_core.bench.town_ppo import town_config, town_network
from townlet_core.context import TrainingContext
from townlet_core.errors import RunInterrupted
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.plugins.registry import Registry
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.weights import layout

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.root import SimulationConfig
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.rollout import Rollout

STATES_OF_A_PARAMETER = 4
"""The parameter, its gradient, and the two moments of Adam."""


def measure_ppo_memory(
    registry: Registry,
    *,
    num_worlds: int = 1024,
    num_steps: int = 64,
    variant: str = "hybrid",
    num_threads: int = 1,
    num_updates: int = 2,
) -> dict[str, Any]:
    """Train a little in a process of its own and return one row of figures.

    Args:
        registry: where PPO is looked for first; the process discovers it again.
        num_worlds: towns that are stepped together.
        num_steps: steps of each between two updates.
        variant: of the observations.
        num_threads: threads of matrix products.
        num_updates: updates; the first one allocates what the others use again.

    Returns:
        In MB: `imports_mb`, resident after imports; `environment_mb`, what building and resetting the environment and
        the network added; `buffer_mb`, the arrays of a rollout; `network_mb`, parameters, their gradient and Adam's
        moments; `peak_mb`, what was resident at most, above the former two. `ratio`: peak over buffer and network;
        `ratio_with_environment`: the same with the environment in the peak.

    Raises:
        UnavailableError: this system does not tell how much memory a process has, or PPO is not installed.
    """
    require_memory_figures()
    config = town_config(registry, num_worlds=num_worlds, num_steps=num_steps, variant=variant, num_threads=num_threads)
    spec = town_network(registry, config)
    network = STATES_OF_A_PARAMETER * layout(spec, built_in_encoder(spec.encoder.name)).size * 4
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        figures = processes.submit(_train, config, num_updates).result()
    peak = figures["peak"] - figures["reset"]
    least = figures["buffer"] + network
    row = {"num_worlds": num_worlds, "variant": variant, "num_threads": num_threads, "num_steps": num_steps}
    return row | {
        "imports_mb": megabytes(figures["imports"]),
        "environment_mb": megabytes(figures["reset"] - figures["imports"]),
        "buffer_mb": megabytes(figures["buffer"]),
        "network_mb": megabytes(network),
        "peak_mb": megabytes(peak),
        "ratio": round(peak / least, 2),
        "ratio_with_environment": round((figures["peak"] - figures["imports"]) / least, 2),
    }


@dataclass(frozen=True, slots=True)
class _WatchedRollouts(ProbedRollouts):
    """A rollout service that takes the memory of the process when the buffer is allocated, and its size.

    Attributes:
        figures: what is taken. [bytes]
    """

    figures: dict[str, int]

    def allocate(self, rollout: Rollout, num_steps: int) -> RolloutBuffer:
        """Return a buffer; see `RolloutCaptureService.allocate`."""
        self.figures["reset"] = memory_of("self")["VmRSS"]
        buffer = ProbedRollouts.allocate(self, rollout, num_steps)
        arrays: list[Array] = [*buffer.columns().values(), buffer.last_values]
        self.figures["buffer"] = sum(array.nbytes for array in arrays)
        return buffer


def _train(config: SimulationConfig, num_updates: int) -> dict[str, int]:
    """Train in this process and return what it had resident, and how large the buffer is, in bytes."""
    registry = Registry.discover(os.environ)
    strategy = registry.resolve("strategy", "ppo")
    figures = {"imports": memory_of("self")["VmRSS"]}
    probe = Probe(FineClock(), lambda seen: len(seen.ends) >= num_updates)
    context = TrainingContext.from_config(
        config, resolver=PluginResolver(registry, trust_code=False), clock=probe.clock, trackers=probe, stop=probe
    )
    context = replace(context, services=replace(context.services, rollout=_WatchedRollouts(probe, figures)))
    try:
        strategy().run(context)
    except RunInterrupted:
        figures["peak"] = memory_of("self")["VmHWM"]
    return figures
