"""How fast PPO trains in the town, where the time goes, and how near that is to what matrix products alone allow.

Whole updates, after a warm-up, with PPO's defaults. Products are timed between updates, off their clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.bench.ppo import FineClock, summary
from townlet_core.bench.probe import Probe, run_probed
from townlet_core.bench.products import ProductTimer, UpdateShape, dense_layers, multiply_adds
from townlet_core.config.base import settings_from
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig
from townlet_core.environments.town import town_spaces
from townlet_core.policy.beginning import spec_of_settings
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.simulation.scenarios import load_scenario
from townlet_core.spaces import flatten_space

if TYPE_CHECKING:
    from townlet_core.context import Clock
    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.spec import PolicySpec


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

    Returns:
        The figures of `measure_ppo`, and `update_sec`: of an update, on average; `product_sec`: what its matrix
        products take alone; `share_of_limit`: their quotient, 1 where nothing else took time; `share_of_limit_cpu`:
        the same of processor time, which other work on the machine adds little to; `gflop_per_agent_step`: of the
        products, a multiply-add counted twice.

    Raises:
        UnavailableError: PPO, or torch, is not installed.
    """
    config = town_config(registry, num_worlds=num_worlds, num_steps=num_steps, variant=variant, num_threads=num_threads)
    clock = clock or FineClock()
    products = _products(config, registry, num_threads=num_threads, clock=clock)

    def enough(probe: Probe) -> bool:
        if len(probe.ends) > warmup:
            products.sample()
        return len(probe.ends) > warmup + 2 and probe.ends[-1] - probe.ends[warmup] >= seconds

    probe = Probe(clock, enough)
    run_probed(config, registry, probe)
    row = {"num_worlds": num_worlds, "variant": variant, "num_threads": num_threads, "num_steps": num_steps}
    return row | summary(probe, warmup) | _limit(probe, products, warmup)


def town_config(
    registry: Registry, *, num_worlds: int, num_steps: int, variant: str, num_threads: int
) -> SimulationConfig:
    """Return the configuration of an endless training in the town, with the defaults of PPO filled in.

    Raises:
        UnavailableError: PPO is not installed.
    """
    return registry.resolve_config(
        SimulationConfig(
            environment=EnvironmentConfig.model_validate({"num_worlds": num_worlds, "town": {"variant": variant}}),
            training=TrainingConfig(strategy="ppo", num_threads=num_threads, device="cpu"),
            strategies={"ppo": {"total_steps": 10**12, "num_steps": num_steps}},
        )
    )


def town_network(registry: Registry, config: SimulationConfig) -> PolicySpec:
    """Return the network that PPO trains under `config`, in the town."""
    model = registry.resolve("strategy", "ppo", field="settings")
    settings = settings_from(model, config.strategies["ppo"], path="strategies.ppo")
    observation_space, action_space = town_spaces(config.environment.town)
    return spec_of_settings(flatten_space(observation_space), action_space, settings)


def _products(config: SimulationConfig, registry: Registry, *, num_threads: int, clock: Clock) -> ProductTimer:
    """Return the products of an update as `config` describes it."""
    section, environment = config.strategies["ppo"], config.environment
    spec = town_network(registry, config)
    shape = UpdateShape(
        num_steps=section["num_steps"],
        num_shards=environment.num_worlds // environment.shard_worlds,
        shard_rows=environment.shard_worlds * load_scenario(environment.scenario).num_agents,
        num_minibatches=section["num_minibatches"],
        num_epochs=section["num_epochs"],
    )
    layers = dense_layers(spec, built_in_encoder(spec.encoder.name))
    return ProductTimer(layers, shape, num_threads=num_threads, clock=clock.monotonic)


def _limit(probe: Probe, products: ProductTimer, warmup: int) -> dict[str, Any]:
    """Return how long updates took, and their products alone."""
    updates = len(probe.ends) - 1 - warmup
    wall, processor = products.update_sec()
    update_sec = (probe.ends[-1] - probe.ends[warmup]) / updates
    update_cpu_sec = (probe.cpu_sec[-1] - probe.cpu_sec[warmup]) / updates
    additions = multiply_adds(products.layers, num_epochs=products.shape.num_epochs)
    return {
        "update_sec": round(update_sec, 3),
        "product_sec": round(wall, 3),
        "share_of_limit": round(wall / update_sec, 3),
        "share_of_limit_cpu": round(processor / update_cpu_sec, 3),
        "gflop_per_agent_step": round(2e-9 * additions, 6),
    }
