"""Clone a demonstrator the way a strategy is run, and read what came out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig
from townlet_core.context import BuiltInResolver, TrainingContext
from townlet_core.dto.base import without_clock
from townlet_core.policy.artefact import load_artefact
from townlet_core.runs.layout import RunDirectory
from townlet_core.tracking.jsonl import TelemetryLog
from townlet_strategies_bc.strategy import BCStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.dto.bc import BCTrainingResultDTO
    from townlet_core.policy.artefact import PolicyArtefact

QUICK = {"num_epochs": 4, "batch_size": 16, "hidden": (16,), "learning_rate": 1e-2, "evaluate_episodes": 0}


class Records(list):
    """A tracker that keeps what it is told."""

    def log(self, record: dict[str, Any]) -> None:
        self.append(dict(record))

    def close(self) -> None:
        return


class StopAfter:
    """Asks for a stop when it was looked at a number of times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def context_for(
    path: Path | None,
    dataset: Path,
    *,
    seed: int = 1,
    training: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    **settings: Any,
) -> TrainingContext:
    """Return the context of a run in `path`; `settings` are those of behaviour cloning."""
    config = SimulationConfig(
        environment=EnvironmentConfig.model_validate(environment or {}),
        training=TrainingConfig(strategy="bc", seed=seed, device="cpu", **(training or {})),
        strategies={"bc": {**QUICK, "dataset": dataset, **settings}},
    )
    run = None if path is None else RunDirectory.create(path)
    return TrainingContext.from_config(config, run=run, trackers=Records(), resolver=BuiltInResolver(trust_code=True))


@dataclass(frozen=True)
class Cloned:
    result: BCTrainingResultDTO
    artefact: PolicyArtefact
    records: Records
    run: RunDirectory


def clone(path: Path, dataset: Path, **fields: Any) -> Cloned:
    """Train in ``path`` and load the policy that was kept there."""
    context = context_for(path, dataset, **{k: v for k, v in fields.items() if k != "context"})
    context = replace(context, **fields.get("context", {}))
    result = BCStrategy().run(context)
    return Cloned(result, load_artefact(context.run.policy_dir), context.trackers, context.run)


def train_once(context: TrainingContext, *, stop: object | None = None, resume: bool = False) -> Any:
    """Run with a telemetry file, as the orchestrator does; return the result."""
    with TelemetryLog(context.run.telemetry_path) as telemetry:
        running = replace(context, telemetry=telemetry, trackers=telemetry, resume=resume)
        if stop is not None:
            running = replace(running, stop=stop)
        return BCStrategy().run(running)


def what_is_promised(result: Any, run: RunDirectory) -> tuple[Any, ...]:
    """Return all that has to be equal for equal runs: result and telemetry but for the clock, policy and checkpoint."""
    import json

    lines = [without_clock(json.loads(line)) for line in run.telemetry_path.read_text().splitlines()]
    files = dict(run.checkpoints().load_newest().files)
    counters = json.loads(files.pop("state.json"))
    counters.pop("telemetry_offset")
    records = {name: without_clock(json.loads(files.pop(name))) for name in ("telemetry.json", "best.json")}
    policy = {path.name: path.read_bytes() for path in sorted(run.policy_dir.iterdir())}
    fields = without_clock(result.model_dump(mode="json"))
    return fields, lines, counters, records, files, policy
