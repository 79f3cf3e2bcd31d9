"""Capture while training: the strategy's own rollouts as a dataset beside its policy."""

import numpy as np
import pytest

from townlet_core.cli.train import _report
from townlet_core.config.load import load_config
from townlet_core.errors import RunInterrupted, TownletWarning
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.orchestrator.signals import StopOnSignal
from townlet_core.orchestrator.training_capture import captures
from townlet_core.replay.dataset import Dataset
from townlet_core.runs.layout import RunDirectory
from townlet_core.services.recording import TrajectoryRecorder

pytest.importorskip("torch", reason="PPO trains with torch")

TINY = (
    "environment.name=gymnasium:CartPole-v1",
    "environment.num_worlds=4",
    "strategies.ppo.num_steps=16",
    "strategies.ppo.num_minibatches=2",
    "strategies.ppo.total_steps=256",
    "tracking.progress=off",
)


def train(path, *, captures=True, resume=False, sets=()):
    config = load_config(None, sets=[*TINY, f"training.capture_rollouts={str(captures).lower()}", *sets]).config
    return TrainingOrchestrator(config, run_dir=path, resume=resume).run()


def contents(path):
    dataset = Dataset(path)
    dataset.require_intact()
    assert dataset.manifest.complete
    return dataset, list(dataset.trajectories())


@pytest.mark.parametrize("vectorization", ["sync", "workers", "entry_point"])
def test_every_step_of_the_training_is_recorded_once_and_what_runs_at_the_end_is_cut(tmp_path, vectorization):
    train(tmp_path / "run", sets=[f"environment.vectorization={vectorization}"])
    dataset, found = contents(tmp_path / "run" / "capture")
    steps = 256 if vectorization != "entry_point" else dataset.num_rows
    assert dataset.num_rows == steps > 200
    (source,) = dataset.manifest.sources
    assert (source.kind, source.policy, source.deterministic) == ("training", "ppo", False)
    assert len(source.config_digest) == 64
    cut = [entry for entry, _ in found if entry.ending == "cut"]
    assert 1 <= len(cut) <= 4
    assert len({entry.group for entry, _ in found}) == len(found)
    for entry, one in found:
        assert entry.seed is None
        assert entry.metadata.keys() == {"seed", "world", "episode"}
        assert entry.group == entry.metadata["episode"] * 4 + entry.metadata["world"]
        assert (one.steps["log_probs"] < 0).all()
        assert one.steps["rewards"].sum() == entry.num_steps
        assert (one.final["bootstrap_values"] == 0) == (entry.ending == "terminated")
        assert np.isfinite(one.final["final.observation"]).all()


def test_capturing_changes_nothing_of_what_is_learned(tmp_path):
    with_capture, without = train(tmp_path / "a"), train(tmp_path / "b", captures=False)
    assert with_capture.artefact.digest == without.artefact.digest
    assert not (tmp_path / "b" / "capture").exists()
    assert captures(tmp_path / "b") == []


def test_the_report_says_where_the_capture_lies(tmp_path, capsys):
    result = train(tmp_path / "run")
    _report(result, RunDirectory.open(tmp_path / "run"), as_json=False)
    assert f"capture      {tmp_path / 'run' / 'capture'}\n" in capsys.readouterr().out


def test_a_strategy_that_makes_no_rollouts_says_that_nothing_was_recorded(tmp_path):
    train(tmp_path / "ppo")
    sets = [
        "environment.name=gymnasium:CartPole-v1",
        "training.strategy=bc",
        "training.capture_rollouts=true",
        f"strategies.bc.dataset={tmp_path / 'ppo' / 'capture'}",
        "strategies.bc.num_epochs=1",
        "strategies.bc.batch_size=16",
        "strategies.bc.evaluate_episodes=0",
        "tracking.progress=off",
    ]
    with pytest.warns(TownletWarning, match=r"training.capture_rollouts is on, and nothing .*: 'bc' made no rollouts"):
        TrainingOrchestrator(load_config(None, sets=sets).config, run_dir=tmp_path / "run").run()
    assert captures(tmp_path / "run") == []


def stop_after_a_rollout(monkeypatch):
    real = TrajectoryRecorder.pause

    def stop(recorder, values):
        real(recorder, values)
        StopOnSignal.requested = True

    monkeypatch.setattr(TrajectoryRecorder, "pause", stop)
    monkeypatch.setattr(StopOnSignal, "__init__", lambda self, announce: setattr(self, "_previous", {}))
    monkeypatch.setattr(StopOnSignal, "requested", False, raising=False)


def test_an_interrupted_run_has_a_complete_dataset_and_the_resumed_one_another(tmp_path, monkeypatch):
    stop_after_a_rollout(monkeypatch)
    with pytest.raises(RunInterrupted):
        train(tmp_path / "run")
    assert contents(tmp_path / "run" / "capture")[0].num_rows == 64
    monkeypatch.undo()
    train(tmp_path / "run", resume=True)
    assert contents(tmp_path / "run" / "capture")[0].num_rows == 64
    assert contents(tmp_path / "run" / "capture-2")[0].num_rows == 192
    assert captures(tmp_path / "run") == [tmp_path / "run" / "capture", tmp_path / "run" / "capture-2"]


def test_a_run_may_be_resumed_with_and_without_capture(tmp_path):
    train(tmp_path / "run", captures=False)
    assert train(tmp_path / "run", captures=True, resume=True).agent_steps == 256


def test_an_error_leaves_the_episodes_that_had_ended(tmp_path, monkeypatch):
    real, calls = TrajectoryRecorder.take, []

    def fail(recorder, *step):
        real(recorder, *step)
        calls.append(step)
        if len(calls) == 60:
            raise OSError("it broke")

    monkeypatch.setattr(TrajectoryRecorder, "take", fail)
    with pytest.raises(OSError, match="it broke"):
        train(tmp_path / "run")
    dataset = Dataset(tmp_path / "run" / "capture")
    dataset.require_intact()
    assert not dataset.manifest.complete
    assert not any(entry.ending == "cut" for entry, _ in dataset.trajectories())


def test_a_run_that_is_taken_up_within_its_episodes_says_at_which_step(tmp_path, monkeypatch):
    sets = [
        "environment.name=town",
        "environment.scenario=kitchen_breakfast",
        "environment.max_episode_steps=40",
        "strategies.ppo.total_steps=512",
    ]
    whole = tmp_path / "whole"
    train(whole, sets=sets)
    with monkeypatch.context() as patch:
        stop_after_a_rollout(patch)
        with pytest.raises(RunInterrupted):
            train(tmp_path / "run", sets=sets)
    train(tmp_path / "run", resume=True, sets=sets)
    parts = [tmp_path / "run" / name for name in ("capture", "capture-2")]

    def rows(paths):
        found = {}
        for path in paths:
            for entry, one in contents(path)[1]:
                for row, reward in enumerate(one.steps["rewards"].tolist(), start=entry.start_step):
                    found[entry.group, entry.agent, row] = reward
        return found

    assert rows([whole / "capture"]) == rows(parts)
    assert min(entry.start_step for entry, _ in contents(parts[1])[1] if entry.group < 4) == 16
