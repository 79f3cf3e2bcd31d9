"""The life of one run: directory, lock, record, telemetry, result, and what is written when it ends badly."""

from __future__ import annotations

import shlex
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.atomic import write_file
from townlet_core.config.dump import config_digest, dump_yaml
from townlet_core.environments.build import runs_code
from townlet_core.errors import (
    ConfigError,
    DataError,
    MissingInputError,
    RunInterrupted,
    RunWarning,
    TownletError,
    TownletWarning,
    UnavailableError,
    UsageError,
)
from townlet_core.orchestrator.experiment import scenario_digest
from townlet_core.orchestrator.fingerprint import changes, installed_versions
from townlet_core.runs.listing import logged_agent_steps
from townlet_core.runs.status import MOST_WARNINGS, RunRecord, timestamp
from townlet_core.tracking.base import Trackers
from townlet_core.tracking.earlier_telemetry import in_version
from townlet_core.tracking.jsonl import TelemetryLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from townlet_core.config.root import SimulationConfig
    from townlet_core.context import Clock, Resolver
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.plugins.manager import PluginManager
    from townlet_core.runs.layout import RunDirectory
    from townlet_core.tracking.console import Console


_REFUSALS = (ConfigError, DataError, MissingInputError, UnavailableError, UsageError)
"""What says that something is wrong with what a run was given; where nothing came of it, it never was."""


class _StepsMade:
    """A tracker that knows how many agent-steps the run has made, whatever version its telemetry is written in."""

    agent_steps: int | None = None

    def log(self, record: Mapping[str, Any]) -> None:
        self.agent_steps = record.get("agent_steps", self.agent_steps)

    def close(self) -> None:
        return


@dataclass(slots=True, kw_only=True)
class RunSession:
    """A run that this process holds the lock of.

    Attributes:
        run: its directory.
        config: the resolved configuration.
        strategy: name of the strategy.
        resume: whether to go on from the newest checkpoint.
        console: progress and messages.
        clock: the time.
        manager: whose observers are told.
        initial_policy: digest of the artefact that the run begins from; empty for none.
        machine: what the record keeps of it, see `fingerprint.machine`.
        made: how far it got.
        num_threads: threads that it learned with; None before its result says so.
    """

    run: RunDirectory
    config: SimulationConfig
    strategy: str
    resume: bool
    console: Console
    clock: Clock
    manager: PluginManager
    initial_policy: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    made: _StepsMade = field(default_factory=_StepsMade)
    num_threads: int | None = None

    def new_record(self) -> RunRecord:
        """Return the record of a run that begins now."""
        now = timestamp(self.clock.now())
        return RunRecord(
            id=self.run.id,
            strategy=self.strategy,
            environment=self.config.environment.name or "",
            seed=self.config.training.seed,
            versions=installed_versions(),
            machine=self.machine,
            num_threads=self.config.training.num_threads,
            created=now,
            updated=now,
            config_digest=config_digest(self.config),
            scenario_digest=scenario_digest(self.config),
            initial_policy=self.initial_policy,
        )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep `run.json` true while the strategy runs, whatever ends it."""
        run, before, stood = self.run, None, None
        if self.resume:
            before, stood = run.record(), self._progress()
            record = self._taken_up(before)
        else:
            record = self.new_record()
            write_file(run.config_path, dump_yaml(self.config).encode(), filesystem=run.filesystem)
        run.write_record(record)
        self._notify("townlet_run_started", run_dir=str(run.path.resolve()), strategy=self.strategy)

        def keep(warning: str) -> None:
            nonlocal record
            record = self._with_warnings(record, [warning])
            run.write_record(record)

        try:
            with _run_warnings(keep):
                yield
        except (RunInterrupted, KeyboardInterrupt) as error:
            message = str(error) or "stopped at once"
            run.write_record(self._ended(record, "interrupted", message))
            raise RunInterrupted(f"{message}; {self._how_to_go_on()}") from error
        except BaseException as error:
            is_refusal = isinstance(error, _REFUSALS)
            if before is not None and is_refusal and self._progress() == stood:
                run.write_record(before)  # it was not taken up, and stands as it did
            elif not (before is None and is_refusal and run.withdraw()) and run.path.exists():
                self._write_failure(record, error)
            text = f"{type(error).__name__}: {error}"
            self._notify("townlet_run_failed", run_dir=str(run.path.resolve()), error=" ".join(text.split()))
            raise
        run.write_record(self._ended(record, "finished", ""))

    def _progress(self) -> tuple[list[int], int]:
        """Return what changes when a run gets on: its checkpoints, and the size of its telemetry."""
        path = self.run.telemetry_path
        return self.run.checkpoints().steps(), path.stat().st_size if path.exists() else 0

    def _taken_up(self, record: RunRecord) -> RunRecord:
        """Return the record of a run that goes on; where versions or the machine are others, it says so from now on."""
        now = {"versions": installed_versions(), "machine": self.machine}
        other_versions = changes(record.versions, now["versions"])
        other_machine = changes(record.machine, self.machine) if record.machine else ""
        told = [f"goes on with other versions: {other_versions}"] if other_versions else []
        told += [f"goes on on another machine: {other_machine}"] if other_machine else []
        for warning in told:
            warnings.warn(f"{self.run.path} {warning}", TownletWarning, stacklevel=2)
        record = self._with_warnings(record, told)
        return record.revised(clock=self.clock.now, status="running", message="", **now)

    def _with_warnings(self, record: RunRecord, told: Sequence[str]) -> RunRecord:
        moment = timestamp(self.clock.now())
        lines = (*record.warnings, *(f"{moment} {' '.join(warning.split())}"[:4096] for warning in told))
        return record.revised(clock=self.clock.now, warnings=lines[-MOST_WARNINGS:])

    def _how_to_go_on(self) -> str:
        steps = self.run.checkpoints().steps()
        kept = "go on from the newest checkpoint with" if steps else "no checkpoint was kept; begin again with"
        return f"{kept}: {self._resume_command()}"

    def _resume_command(self) -> str:
        trust = " --trust-config" if runs_code(self.config.environment.name or "") else ""
        return f"townlet train --resume --run-dir {shlex.quote(str(self.run.path))}{trust}"

    def _write_failure(self, record: RunRecord, error: BaseException) -> None:
        try:
            self.run.write_record(self._ended(record, "failed", f"{type(error).__name__}: {error}"[:4000]))
        except TownletError as second:  # the disk may be what failed; the first error is the one to report
            self.console.message(f"run.json could not be brought up to date: {second}")

    def _ended(self, record: RunRecord, status: str, message: str) -> RunRecord:
        steps = logged_agent_steps(self.run.telemetry_path) or self.made.agent_steps
        if steps is not None:
            record = record.model_copy(update={"agent_steps": steps})
        if self.num_threads is not None:
            record = record.model_copy(update={"num_threads": self.num_threads})
        return record.revised(clock=self.clock.now, status=status, message=message)

    def announce(self, result: TrainingResultBase) -> None:
        """Tell the observers that the run has finished; call it when `recording` has ended well."""
        self._notify(
            "townlet_run_finished", run_dir=str(self.run.path.resolve()), result=result.model_dump(mode="json")
        )

    def write_result(self, result: TrainingResultBase) -> None:
        """Write `result.json`; `run.json` is to have the number of threads that it tells."""
        self.num_threads = getattr(result, "num_threads", None)
        write_file(
            self.run.result_path, result.model_dump_json(indent=2).encode() + b"\n", filesystem=self.run.filesystem
        )

    @contextmanager
    def tracking(self, resolver: Resolver) -> Iterator[tuple[TelemetryLog, Trackers]]:
        """Open the telemetry file and the trackers, and close them."""
        telemetry = TelemetryLog(self.run.telemetry_path, filesystem=self.run.filesystem)
        written = in_version(telemetry, self.config.tracking.telemetry)
        trackers = Trackers([written, self.console, self.made], warn=self.console.message)
        with closing(trackers):
            for name, options in self.config.tracking.trackers.items():
                trackers.add(name, resolver.tracker(name, options, str(self.run.path.resolve())))
            yield telemetry, trackers

    def _notify(self, hook: str, **event: Any) -> None:
        for plugin, failure in self.manager.notify(hook, **event):
            self.console.message(f"{plugin.title}: {hook} failed: {failure.cause}")


@contextmanager
def _run_warnings(keep: Callable[[str], None]) -> Iterator[None]:
    """Give the text of every `RunWarning` to `keep`, besides showing it."""
    with warnings.catch_warnings():  # it also forgets what an earlier run of this process was told
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RunWarning):
                keep(str(message))
            shown(message, category, *place, **more)

        warnings.showwarning = show
        yield
