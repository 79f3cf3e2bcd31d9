"""A run in Gymnasium or PettingZoo worlds that is taken up again ends with the bytes of one that was never interrupted.

Such worlds cannot tell their state; their running episodes are made again.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import run_outcome
from training import Records, context_for

from townlet_core.dto.base import without_clock
from townlet_core.environments import episode_replay
from townlet_core.errors import RunInterrupted, RunWarning
from townlet_core.runs.layout import RunDirectory
from townlet_core.tracking.base import Trackers
from townlet_core.tracking.jsonl import TelemetryLog
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from townlet_core.dto.ppo import PPOTrainingResultDTO

CARTPOLE = {"name": "gymnasium:CartPole-v1"}
RUNS: dict[str, dict[str, Any]] = {
    "CartPole": CARTPOLE,
    "CartPole, workers": {**CARTPOLE, "vectorization": "workers", "num_workers": 2},
    "Pendulum": {"name": "gymnasium:Pendulum-v1", "max_episode_steps": 40},
    "agents that come and go": {
        "name": "pettingzoo:parallel_toys",
        "options": {"arrives": [0, 2, 4], "leaves": [3, 8, 6], "truncated": [1], "masks": True},
    },
}


@pytest.fixture(autouse=True)
def _toy_worlds_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = Path(__file__).parents[1] / "environments" / "worlds"
    monkeypatch.setattr(sys, "path", [str(worlds), *sys.path])


class StopAfter:
    """Asks for a stop in update `update`."""

    def __init__(self, made: Records, update: int) -> None:
        self.made, self.update = made, update

    @property
    def requested(self) -> bool:
        return bool(self.made) and self.made[-1]["epoch"] >= self.update


def go(path: Path, *, resume: bool = False, stop_after: int | None = None, **fields: Any) -> PPOTrainingResultDTO:
    """Run, or go on with, PPO in `path`, with telemetry on disk."""
    settings = {"num_steps": 13, "num_epochs": 1, "hidden": (8,), "total_steps": 5 * 13 * 4}
    settings |= {"normalize_observations": True, "normalize_rewards": True}
    made = context_for(None, num_worlds=4, worlds_per_shard=2, settings=settings, **fields)
    run = RunDirectory(path) if resume else RunDirectory.create(path)
    records = Records()
    stop = {} if stop_after is None else {"stop": StopAfter(records, stop_after)}
    with TelemetryLog(run.telemetry_path) as telemetry:
        trackers = Trackers([telemetry, records], warn=pytest.fail)
        return PPOStrategy().run(replace(made, run=run, telemetry=telemetry, trackers=trackers, resume=resume, **stop))


def stop(path: Path, after: int, **fields: Any) -> None:
    with pytest.raises(RunInterrupted):
        go(path, stop_after=after, **fields)


def outcome(path: Path, result: PPOTrainingResultDTO) -> dict[str, Any]:
    return run_outcome.outcome(path) | {"result": without_clock(result.model_dump(mode="json"))}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_is_stopped_after_every_update_ends_with_the_bytes_of_the_uninterrupted_one(tmp_path, kind) -> None:
    whole = outcome(tmp_path / "whole", go(tmp_path / "whole", **RUNS[kind]))
    path, updates = tmp_path / "run", len(whole["telemetry"])
    stop(path, 1, **RUNS[kind])
    for after in range(2, updates):
        stop(path, after, resume=True, **RUNS[kind])
    result = go(path, resume=True, **RUNS[kind])
    assert outcome(path, result) == whole
    assert (result.num_resumes, result.episodes_restarted) == (0, False)
    assert updates >= 3
    assert sum(record["episodes"] for record in whole["telemetry"]) > 0


def test_a_run_goes_on_with_workers_where_it_had_none(tmp_path) -> None:
    whole = outcome(tmp_path / "whole", go(tmp_path / "whole", **CARTPOLE))
    stop(tmp_path / "run", 2, **CARTPOLE)
    result = go(tmp_path / "run", resume=True, **RUNS["CartPole, workers"])
    assert outcome(tmp_path / "run", result)["telemetry"] == whole["telemetry"]


def test_worlds_that_are_not_what_they_were_begin_new_episodes_and_the_result_says_so(tmp_path) -> None:
    worlds = {"name": "python:toy_worlds:restless", "options": {"shown": "observation"}}
    stop(tmp_path / "run", 1, **worlds)
    with pytest.warns(RunWarning, match="'observation' is not what it was; new episodes begin"):
        stop(tmp_path / "run", 2, resume=True, **worlds)
    with pytest.warns(RunWarning, match="new episodes begin"):
        result = go(tmp_path / "run", resume=True, **worlds)
    assert (result.num_resumes, result.episodes_restarted) == (2, True)
    assert result.epoch == 5


def test_episodes_that_are_too_long_to_be_kept_begin_anew_and_the_result_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(episode_replay.ActionLog.__init__, "__kwdefaults__", {"most_bytes": 4 * 20})
    stop(tmp_path / "run", 3, **RUNS["Pendulum"])
    result = go(tmp_path / "run", resume=True, **RUNS["Pendulum"])
    assert (result.num_resumes, result.episodes_restarted) == (1, True)
