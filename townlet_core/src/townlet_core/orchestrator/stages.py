"""Runs a strategy as a stage of a run: in a child directory, under the same lock and the same stop signal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.errors import UnavailableError
from townlet_core.runs.layout import make_with_parents
from townlet_core.tracking.base import Trackers
from townlet_core.tracking.earlier_telemetry import in_version
from townlet_core.tracking.jsonl import TelemetryLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.context import AnnealContext, TrainingContext
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.tracking.console import Console


@dataclass(slots=True)
class ChildStages:
    """The stage runner of a run.

    Attributes:
        context: the run's own context; set once, when it is made.
        console: progress and messages.
    """

    console: Console
    context: TrainingContext | None = None
    _count: int = field(default=0)

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
        """Run a stage; see `StageRunner.run`. Its files are in `stages/<number>-<name>` of the run directory.

        Raises:
            UnavailableError: the strategy is not installed, or this run has no directory.
            StorageError: the system refused.
        """
        context = self.context
        if context is None or context.run is None:
            raise UnavailableError("stages need a run directory: use TrainingOrchestrator(config).run(...)")
        strategy = context.resolver.strategy(name)
        self._count = self._count + 1 if number is None else number
        run = context.run.stage(self._count, name)
        with storage_guard("make", run.path):
            make_with_parents(run.path, run.filesystem)
        run.clean()
        with TelemetryLog(run.telemetry_path, filesystem=run.filesystem) as telemetry:
            written = in_version(telemetry, context.config.tracking.telemetry)
            stage = replace(
                context,
                strategy_name=name,
                run=run,
                telemetry=telemetry,
                trackers=Trackers([written, self.console], warn=self.console.message),
                initial_policy=initial_policy,
                continuation=continuation,
                anneal_context=anneal_context,
            )
            result = strategy.run(stage, **options)
        write_file(run.result_path, result.model_dump_json(indent=2).encode() + b"\n", filesystem=run.filesystem)
        return result
