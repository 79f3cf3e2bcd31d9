"""A look inside a run from outside it: times each update and its phases, and ends the run when enough was seen.

A strategy reaches the environment, the rollout service and the trackers through its context only. So a context with
instrumented ones measures any strategy that uses them, and the strategy has no code for being measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from townlet_core.context import TrainingContext
from townlet_core.errors import RunInterrupted
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.rollout import Rollout, RolloutStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.config.root import SimulationConfig
    from townlet_core.context import Clock
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment
    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.base import Policy
    from townlet_core.services.buffer import RolloutBuffer


@dataclass(slots=True)
class Probe:
    """The instruments of one run: its tracker, its stop signal, and the clock of its phases.

    Attributes:
        clock: the time.
        on_update: called after each update with this probe; returns whether to stop. Its time is off the clock.
        policy: the policy that acts, once the run has begun; its weights change from update to update.
        agent_steps: agent-steps of the run so far.
        ends: the time at which each update ended. [seconds]
        cpu_sec: processor time of this process so far, all threads, at each of them. [seconds]
        steps: `agent_steps` at each of them.
        environment_sec: time inside `VectorEnvironment.step` so far, at the end of each update. [seconds]
        rollout_sec: time inside rollouts so far, at the end of each update, the environment's included. [seconds]
        requested: whether the run is to stop.
        aside: time inside `on_update` so far, which no other figure counts. [seconds]
    """

    clock: Clock
    on_update: Callable[[Probe], bool]
    policy: Policy | None = None
    agent_steps: int = 0
    ends: list[float] = field(default_factory=list)
    cpu_sec: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    environment_sec: list[float] = field(default_factory=list)
    rollout_sec: list[float] = field(default_factory=list)
    requested: bool = False
    aside: float = 0.0
    aside_cpu: float = 0.0
    in_environment: float = 0.0
    in_rollout: float = 0.0

    def log(self, record: Mapping[str, Any]) -> None:
        """Take the record of one update."""
        end, end_cpu = self.clock.monotonic(), time.process_time()
        self.ends.append(end - self.aside)
        self.cpu_sec.append(end_cpu - self.aside_cpu)
        self.agent_steps = int(record["agent_steps"])
        self.steps.append(self.agent_steps)
        self.environment_sec.append(self.in_environment)
        self.rollout_sec.append(self.in_rollout)
        self.requested = self.on_update(self)
        self.aside += self.clock.monotonic() - end
        self.aside_cpu += time.process_time() - end_cpu

    def close(self) -> None:
        """Do nothing."""


class ProbedRollout(Rollout):
    """A rollout whose time is taken, and that of the environment's steps in it."""

    probe: Probe

    @classmethod
    def begin(cls, probe: Probe, environment: VectorEnvironment, policy: Policy, **fields: Any) -> ProbedRollout:
        """Reset the environment and return its rollout; `fields` are those of `Rollout`."""
        step, clock = environment.step, probe.clock.monotonic

        def timed_step(actions: Array) -> EnvironmentStep:
            begin = clock()
            after = step(actions)
            probe.in_environment += clock() - begin
            return after

        environment.step = timed_step  # type: ignore[method-assign]  # this one environment is being measured
        probe.policy = policy
        rollout = cls(environment, policy, **fields)
        rollout.probe = probe
        return rollout

    def fill(self, buffer: RolloutBuffer) -> RolloutStatistics:
        """Record T steps; see `Rollout.fill`."""
        begin = self.probe.clock.monotonic()
        statistics = super().fill(buffer)
        self.probe.in_rollout += self.probe.clock.monotonic() - begin
        return statistics


@dataclass(frozen=True, slots=True)
class ProbedRollouts(RolloutCaptureService):
    """The rollout service of a run that is measured.

    Attributes:
        probe: what takes the times.
    """

    probe: Probe

    def start(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        *,
        seeds: int | Sequence[int],
        purpose: str = "act",
        deterministic: bool = False,
    ) -> Rollout:
        """Reset `environment` and return a rollout; see `RolloutCaptureService.start`."""
        return ProbedRollout.begin(
            self.probe, environment, policy, seeds=seeds, purpose=purpose, deterministic=deterministic
        )


def run_probed(config: SimulationConfig, registry: Registry, probe: Probe) -> None:
    """Run `training.strategy` until it has finished or the probe stops it; nothing is written.

    Raises:
        UnavailableError: the strategy is not installed, or does not work here.
    """
    resolver = PluginResolver(registry, trust_code=False)
    context = TrainingContext.from_config(
        registry.resolve_config(config), resolver=resolver, clock=probe.clock, trackers=probe, stop=probe
    )
    context = replace(context, services=replace(context.services, rollout=ProbedRollouts(probe)))
    try:
        resolver.strategy(context.strategy_name).run(context)
    except RunInterrupted:
        if not probe.requested:
            raise
