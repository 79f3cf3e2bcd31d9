"""Short runs of PPO in the town, stopped and taken up again, and what they came to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import run_outcome
from training import Records, context_for

from townlet_core.dto.base import without_clock
from townlet_core.errors import RunInterrupted
from townlet_core.orchestrator.training_capture import captured_services
from townlet_core.runs.layout import RunDirectory
from townlet_core.tracking.base import Trackers
from townlet_core.tracking.jsonl import TelemetryLog
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from townlet_core.context import TrainingContext
    from townlet_core.dto.ppo import PPOTrainingResultDTO

UPDATES = 6
TOWN = {
    "scenario": str(Path(__file__).parents[1] / "fixtures" / "scenarios" / "short_day.yaml"),
    "max_episode_steps": 25,
    "town": {"day_ticks": 10, "needs": {"hunger_decay": 0.03, "faint_hunger": 0.15}, "social_reward_schedule": [
        {"cycle": 2, "stage": "C1"}, {"cycle": 4, "stage": "C3"},
    ]},
}  # fmt: skip


class StopAfter:
    """Asks for a stop in update `update`."""

    def __init__(self, made: Records, update: int) -> None:
        self.made, self.update = made, update

    @property
    def requested(self) -> bool:
        return bool(self.made) and self.made[-1]["epoch"] >= self.update


def go(path: Path, *, resume: bool = False, stop_after: int | None = None, **fields: Any) -> PPOTrainingResultDTO:
    """Run, or go on with, PPO in `path`, with telemetry on disk."""
    made = town_context(None, **fields)
    run = RunDirectory(path) if resume else RunDirectory.create(path)
    records = Records()
    stop = {} if stop_after is None else {"stop": StopAfter(records, stop_after)}
    with TelemetryLog(run.telemetry_path) as telemetry:
        trackers = Trackers([telemetry, records], warn=pytest.fail)
        return PPOStrategy().run(replace(made, run=run, telemetry=telemetry, trackers=trackers, resume=resume, **stop))


def town_context(
    path: Path | None, *, num_worlds: int = 4, training: dict[str, Any] | None = None, **settings: Any
) -> TrainingContext:
    fixed = {"num_steps": 11, "num_epochs": 2, "hidden": (8,), "gamma": 0.98, "total_steps": UPDATES * 11 * 4 * 2}
    return context_for(
        path,
        name="town",
        num_worlds=num_worlds,
        worlds_per_shard=2,
        training={"checkpoint_every": 2} | (training or {}),
        settings=fixed | settings,
        **TOWN,
    )


def capture(path: Path, **settings: Any) -> Path:
    """Train in `path`, record its rollouts, and return their dataset."""
    made = town_context(path, training={"capture_rollouts": True}, **settings)
    with captured_services(made, path) as services:
        PPOStrategy().run(replace(made, services=services))
    return path / "capture"


def stop(path: Path, after: int, **fields: Any) -> None:
    with pytest.raises(RunInterrupted):
        go(path, stop_after=after, **fields)


def outcome(path: Path, result: PPOTrainingResultDTO) -> dict[str, Any]:
    """Return what a run came to; without an orchestrator it has no files of its result and record."""
    return run_outcome.outcome(path) | {"result": without_clock(result.model_dump(mode="json"))}
