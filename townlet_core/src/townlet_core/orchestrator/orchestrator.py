"""`TrainingOrchestrator`: config -> context -> strategy -> result; it owns the run's life cycle."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from townlet_core.context import SystemClock, TrainingContext
from townlet_core.errors import ConfigError, DataError, MissingInputError, PluginError
from townlet_core.orchestrator.experiment import (
    require_same_experiment,
    require_same_start,
    require_same_telemetry,
    scenario_digest,
)
from townlet_core.orchestrator.fingerprint import machine
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.orchestrator.session import RunSession
from townlet_core.orchestrator.signals import StopOnSignal
from townlet_core.orchestrator.stages import ChildStages
from townlet_core.orchestrator.training_capture import captured_services
from townlet_core.plugins.registry import Registry
from townlet_core.policy.unfinished import load_policy, policy_path
from townlet_core.runs.layout import RunDirectory
from townlet_core.tracking.console import Console, make_console

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.config.root import SimulationConfig
    from townlet_core.context import Clock
    from townlet_core.dto.anneal import AnnealSummaryDTO
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.dto.bc import BCTrainingResultDTO
    from townlet_core.dto.ppo import PPOTrainingResultDTO
    from townlet_core.strategy import TrainingStrategy


class TrainingOrchestrator:
    """Runs strategies for one configuration.

    Args:
        config: the configuration; sections of strategies may be raw.
        registry: the plugins; by default those installed here.
        run_dir: directory of the run; by default a new one in `training.runs_dir`.
        resume: go on from the newest checkpoint of `run_dir`.
        initial_policy: directory of an artefact, or of a run, to start from.
        trust_code: whether `environment.name` may import and run a module; say so only of a configuration that you
            wrote, or of `load_config(...).trust_code`.
        clock: the time.
        console: progress and messages; by default as `tracking.progress` says, on the error stream.
    """

    def __init__(
        self,
        config: SimulationConfig,
        *,
        registry: Registry | None = None,
        run_dir: Path | None = None,
        resume: bool = False,
        initial_policy: Path | None = None,
        trust_code: bool = False,
        clock: Clock | None = None,
        console: Console | None = None,
    ) -> None:
        self.config = config
        self.registry = Registry.discover(os.environ) if registry is None else registry
        self.run_directory: RunDirectory | None = None
        self._run_dir = run_dir
        self._resume = resume
        self._initial_policy = initial_policy
        self._trust_code = trust_code
        self._clock: Clock = clock or SystemClock()
        self._console = console

    @cached_property
    def context(self) -> TrainingContext:
        """The context of a run of `training.strategy`, but for what only a running run has: directory and trackers."""
        config = self.registry.resolve_config(self.config)
        resolver = PluginResolver(self.registry, self._trust_code)
        initial = None
        if self._initial_policy is not None:
            initial = load_policy(policy_path(self._initial_policy), encoders=resolver.encoder)
        return TrainingContext.from_config(config, resolver=resolver, clock=self._clock, initial_policy=initial)

    def run(self, strategy: str | None = None, **options: Any) -> TrainingResultBase:
        """Train with `strategy` (by default `training.strategy`) and return its result.

        Args:
            strategy: name of the strategy.
            **options: overrides of its settings by field name.

        Raises:
            TownletError: its subclass says what is wrong, and `exit_code` what a command ends with.
        """
        if strategy is not None and strategy != self.config.training.strategy:
            training = self.config.training.model_copy(update={"strategy": strategy})
            self.config = self.config.model_copy(update={"training": training})
            self.__dict__.pop("context", None)
        context = self._with_options(options)
        chosen = context.resolver.strategy(context.strategy_name)
        result_type: type[TrainingResultBase] = self.registry.resolve("strategy", context.strategy_name, field="result")
        if context.config.environment.name is None:
            context.resolver.environment(context.config.environment)  # says what there is
        requires = self.registry.find("strategy", context.strategy_name).entry.requires
        found = machine(needs_torch="torch" in requires, device=context.config.training.device)
        scenario_digest(context.config)  # a scenario that is not right is refused before anything is written
        console = self._console or make_console(
            context.config.tracking.progress, stream=sys.stderr, clock=self._clock.monotonic
        )
        run = self.run_directory = self._open_directory(context)
        with run.lock(clock=self._clock.now):
            if not self._resume:
                run.require_free()  # another process may have run and finished here since the directory was made
            elif run.record().status == "finished":
                console.message(f"{run.path} has finished already; this is its result")
                return _finished(run, result_type)
            run.clean()
            session = RunSession(
                run=run,
                config=context.config,
                strategy=context.strategy_name,
                resume=self._resume,
                console=console,
                clock=self._clock,
                manager=self.registry.manager,
                initial_policy="" if context.initial_policy is None else context.initial_policy.digest,
                machine=found,
            )
            result = self._train(chosen, context, session, result_type)
            session.announce(result)
        return result

    def _train(
        self,
        chosen: TrainingStrategy,
        context: TrainingContext,
        session: RunSession,
        result_type: type[TrainingResultBase],
    ) -> TrainingResultBase:
        """Run the strategy in its directory, and write the result."""
        stages = ChildStages(session.console)
        with (
            StopOnSignal(session.console.message) as stop,
            session.recording(),
            session.tracking(context.resolver) as (telemetry, trackers),
            threadpool_limits(limits=context.num_threads or 1),
            captured_services(context, session.run.path) as services,
        ):
            running = stages.context = replace(
                context,
                services=services,
                run=session.run,
                telemetry=telemetry,
                trackers=trackers,
                say=context.say if context.config.tracking.progress == "off" else session.console.message,
                stop=stop,
                stages=stages,
                resume=self._resume,
            )
            result = chosen.run(running)
            if not isinstance(result, result_type):
                raise PluginError(
                    f"strategy '{context.strategy_name}' returned {type(result).__name__}, "
                    f"and its entry promises {result_type.__name__}"
                )
            session.write_result(result)
        return result

    def run_bc(self, *, manifest: Path | None = None, **options: Any) -> BCTrainingResultDTO:
        """Train with behaviour cloning.

        Args:
            manifest: the demonstrations; by default those of the setting `dataset`.
            **options: its settings by field name.
        """
        if manifest is not None:
            options["dataset"] = manifest
        return cast("BCTrainingResultDTO", self.run("bc", **options))

    def run_ppo(self, **options: Any) -> PPOTrainingResultDTO:
        """Train with PPO; `options` are its settings by field name."""
        return cast("PPOTrainingResultDTO", self.run("ppo", **options))

    def run_rollout_ppo(self, **options: Any) -> PPOTrainingResultDTO:
        """Train with PPO on what the policy does in the environment, whatever `data_mode` the configuration has.

        Its dataset is read only where `demonstration_coef` holds on to demonstrations.

        Args:
            **options: other settings of PPO by field name.
        """
        settings = {**self.config.strategies.get("ppo", {}), **options}
        if not settings.get("demonstration_coef"):
            options.setdefault("dataset", None)
        return self.run_ppo(**{**options, "data_mode": "rollout"})

    def run_anneal(self, **options: Any) -> AnnealSummaryDTO:
        """Train by a schedule of strategies; `options` are its settings by field name."""
        return cast("AnnealSummaryDTO", self.run("anneal", **options))

    def _with_options(self, options: dict[str, Any]) -> TrainingContext:
        """Return the context with `options` in the strategy's section, checked."""
        context = self.context
        if not options:
            return context
        name = context.strategy_name
        section = {**context.config.strategies[name], **options}
        raw = context.config.model_copy(update={"strategies": {**context.config.strategies, name: section}})
        return replace(context, config=self.registry.resolve_config(raw))

    def _open_directory(self, context: TrainingContext) -> RunDirectory:
        training = context.config.training
        if not self._resume:
            if self._run_dir is not None:
                return RunDirectory.create(self._run_dir)
            name = context.strategy_name.rpartition(":")[2]
            return RunDirectory.create_new(training.runs_dir, name, clock=self._clock.now)
        if self._run_dir is None:
            raise ConfigError("resuming needs the run's directory (run_dir)")
        run = RunDirectory.open(self._run_dir)
        record = run.record()
        require_same_experiment(run, record, context.config, self.registry.resolve_config)
        require_same_telemetry(run, context.config)
        require_same_start(run, record, context.initial_policy)
        return run


def _finished(run: RunDirectory, result_type: type[TrainingResultBase]) -> TrainingResultBase:
    try:
        return result_type.model_validate_json(run.result_path.read_bytes())
    except FileNotFoundError as error:
        raise MissingInputError(f"{run.path} has finished, but {run.result_path.name} is missing") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{run.result_path} is damaged: {where}: {problem['msg']}") from error


class PolicyTrainingOrchestrator(TrainingOrchestrator):
    """The earlier name of `TrainingOrchestrator`; deprecated."""

    def __init__(self, config: SimulationConfig, **fields: Any) -> None:
        warnings.warn("PolicyTrainingOrchestrator is now called TrainingOrchestrator", DeprecationWarning, stacklevel=2)
        super().__init__(config, **fields)
