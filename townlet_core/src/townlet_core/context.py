"""What a strategy is given: configuration, services, and four small protocols that the orchestrator implements.

So a strategy reaches environments, other strategies, the clock and the stop signal without importing who provides them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from townlet_core.environments.build import make_environment
from townlet_core.errors import UnavailableError
from townlet_core.policy.encoder import Encoder, built_in_encoder
from townlet_core.services.services import TrainingServices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.config.base import Settings
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.config.root import SimulationConfig
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.runs.layout import RunDirectory
    from townlet_core.strategy import TrainingStrategy
    from townlet_core.tracking.base import Tracker
    from townlet_core.tracking.jsonl import TelemetryLog


class Resolver(Protocol):
    """Finds things by the names that users type."""

    def environment(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
        """Build the environment of `config`, with `num_worlds` worlds instead of the configured number if given.

        Raises:
            ConfigError: the name means nothing; the text lists what there is.
        """
        ...

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of that name."""
        ...

    def tracker(self, name: str, options: Mapping[str, Any], run_directory: str) -> Tracker:
        """Return a tracker of that name for a run."""
        ...

    def strategy(self, name: str) -> TrainingStrategy:
        """Return a new strategy of that name."""
        ...

    def strategy_settings(self, name: str) -> type[Settings]:
        """Return the settings model of the strategy of that name."""
        ...


class StageRunner(Protocol):
    """Runs another strategy as a stage of this run, in a child directory, under the same lock and stop signal."""

    def run(
        self,
        name: str,
        options: Mapping[str, Any],
        initial_policy: PolicyArtefact | None = None,
        continuation: Mapping[str, bytes] | None = None,
        anneal_context: AnnealContext | None = None,
        *,
        number: int | None = None,
    ) -> TrainingResultBase:
        """Run the strategy `name` and return its result.

        Args:
            name: the strategy.
            options: overrides of its settings by field name.
            initial_policy: what it starts from.
            continuation: the last checkpoint's files of an earlier stage of the same strategy; it goes on from there,
                but with the weights of `initial_policy` if both are given.
            anneal_context: where in an anneal schedule the stage stands.
            number: of its directory, see `RunDirectory.stage`; by default the next one. A run that is resumed goes on
                with a stage from what is there.
        """
        ...


class StopSignal(Protocol):
    """Says whether the run was asked to stop."""

    @property
    def requested(self) -> bool:
        """True from the moment that a stop was asked for; strategies finish their update, save, and stop."""
        ...


class Clock(Protocol):
    """Tells time; logic never reads it elsewhere."""

    def now(self) -> float:
        """Return seconds since 1970; for people to read only."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealContext:
    """Where in an anneal schedule a stage stands, and what its guardrails compare with.

    Attributes:
        cycle: cycle of the schedule.
        stage: name of the stage.
        dataset: label of the dataset.
        bc_accuracy: held-out accuracy of the cloned policy.
        bc_threshold: accuracy that the gate asked for.
        bc_passed: whether the gate was passed.
        loss_baseline: loss_total of the previous PPO stage.
        queue_baseline: queue conflict events of the previous PPO stage.
        intensity_baseline: conflict intensity of the previous PPO stage.
        loss_tolerance: allowed relative change of the loss.
        queue_tolerance: allowed relative fall of events and intensity.
        attempt: how often the run has gone back to a better policy; part of every key of random numbers while
            learning, because the same numbers would fail in the same way.
    """

    cycle: int
    stage: str
    dataset: str
    bc_accuracy: float | None = None
    bc_threshold: float | None = None
    bc_passed: bool | None = None
    loss_baseline: float | None = None
    queue_baseline: float | None = None
    intensity_baseline: float | None = None
    loss_tolerance: float = 0.10
    queue_tolerance: float = 0.15
    attempt: int = 0

    def telemetry_fields(self) -> dict[str, Any]:
        """Return the `AnnealFields` of every record of the stage; its alarms are for those who can raise them."""
        names = ("cycle", "stage", "dataset", "bc_accuracy", "bc_threshold", "bc_passed")
        baselines = ("loss_baseline", "queue_baseline", "intensity_baseline")
        return {f"anneal_{name}": getattr(self, name) for name in (*names, *baselines)}


@dataclass(slots=True)
class PPOState:
    """How far a PPO run has come; saved with every checkpoint.

    Attributes:
        update: updates made.
        agent_steps: agent-steps made; reset steps are not counted.
        optimizer_steps: minibatch steps made.
        episodes: episodes finished.
        num_resumes: how often the run was taken up again with new episodes; going on within them does not count.
        telemetry_offset: bytes of telemetry that belong to these updates.
        rollouts: updates that learned from what the policy itself did, and not from recordings.
        replay_pass: passes over a dataset that were made; with data mode `mixed`, the rollout behind each included.
        replay_place: updates that were made of the present one.
        num_threads: threads that the run learns with; 0 before that is chosen.
        attempt: of the stage, see `AnnealContext`.
        adam_steps: steps of the optimiser since its moments were 0.
        warmup_updates: updates in which the critic alone has learned.
        warmup_passes: how many of the last of them the critic has explained well.
    """

    update: int = 0
    agent_steps: int = 0
    optimizer_steps: int = 0
    episodes: int = 0
    num_resumes: int = 0
    telemetry_offset: int = 0
    rollouts: int = 0
    replay_pass: int = 0
    replay_place: int = 0
    num_threads: int = 0
    attempt: int = 0
    adam_steps: int = 0
    warmup_updates: int = 0
    warmup_passes: int = 0


@dataclass(frozen=True, slots=True)
class BuiltInResolver:
    """Resolves what core itself offers.

    Attributes:
        trust_code: whether an environment's name may import and run a module.
    """

    trust_code: bool = False

    def environment(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
        """Build a built-in environment; see `Resolver.environment`."""
        return make_environment(config, num_worlds=num_worlds, trust_code=self.trust_code)

    def encoder(self, name: str) -> Encoder:
        """Return a built-in encoder."""
        return built_in_encoder(name)

    def tracker(self, name: str, options: Mapping[str, Any], run_directory: str) -> Tracker:
        """Raise `UnavailableError`: trackers come from plugins."""
        del options, run_directory
        raise _needs_orchestrator(f"tracker '{name}'")

    def strategy(self, name: str) -> TrainingStrategy:
        """Raise `UnavailableError`: strategies come from plugins."""
        raise _needs_orchestrator(f"strategy '{name}'")

    def strategy_settings(self, name: str) -> type[Settings]:
        """Raise `UnavailableError`: strategies come from plugins."""
        raise _needs_orchestrator(f"strategy '{name}'")


class NoStages:
    """A stage runner for contexts that were made without an orchestrator."""

    def run(
        self,
        name: str,
        options: Mapping[str, Any],
        initial_policy: PolicyArtefact | None = None,
        continuation: Mapping[str, bytes] | None = None,
        anneal_context: AnnealContext | None = None,
        *,
        number: int | None = None,
    ) -> TrainingResultBase:
        """Raise `UnavailableError`."""
        del options, initial_policy, continuation, anneal_context, number
        raise _needs_orchestrator(f"strategy '{name}'")


def _needs_orchestrator(what: str) -> UnavailableError:
    return UnavailableError(f"{what} comes from a plugin: use TrainingOrchestrator(config), which loads plugins")


def _to_nobody(text: str) -> None:
    del text


class NeverStop:
    """A stop signal that nobody gives."""

    requested = False


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """Everything that a strategy needs and that is not its algorithm.

    Attributes:
        config: the resolved configuration.
        services: rollouts, evaluation.
        strategy_name: the name that the strategy was asked for by; its settings are `config.strategies[strategy_name]`.
        seed: the seed of every random number of the run.
        num_threads: threads to learn with; None leaves the choice to the strategy.
        resolver: environments, encoders, trackers and strategies by name.
        stages: runs other strategies.
        stop: whether to stop.
        clock: the time.
        run: where files are written; None for a run that keeps nothing.
        telemetry: the telemetry file; None for a run that keeps nothing.
        trackers: takes one record for each update, the telemetry file included; None for nobody.
        say: shows people one line of text.
        anneal_context: set while the run is a stage of an anneal schedule.
        initial_policy: the artefact to start from.
        continuation: files of the last checkpoint of an earlier stage of the same strategy.
        resume: whether to go on from the newest checkpoint of `run`.
        rank: number of this process among those that train together.
        world_size: how many they are.
    """

    config: SimulationConfig
    services: TrainingServices
    strategy_name: str
    seed: int
    num_threads: int | None = None
    resolver: Resolver = field(default_factory=BuiltInResolver)
    stages: StageRunner = field(default_factory=NoStages)
    stop: StopSignal = field(default_factory=NeverStop)
    clock: Clock = field(default_factory=SystemClock)
    run: RunDirectory | None = None
    telemetry: TelemetryLog | None = None
    trackers: Tracker | None = None
    say: Callable[[str], None] = field(default=_to_nobody, repr=False)
    anneal_context: AnnealContext | None = None
    initial_policy: PolicyArtefact | None = None
    continuation: Mapping[str, bytes] | None = None
    resume: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def attempt(self) -> int:
        """The attempt of the stage, part of every key of random numbers while learning; 0 outside of a schedule."""
        return 0 if self.anneal_context is None else self.anneal_context.attempt

    @classmethod
    def from_config(cls, config: SimulationConfig, **fields: Any) -> Self:
        """Return a context for `config` that resolves what core offers; `fields` are further attributes."""
        return cls(
            config=config,
            services=TrainingServices.from_config(config),
            strategy_name=config.training.strategy,
            seed=config.training.seed,
            num_threads=config.training.num_threads,
            **fields,
        )
