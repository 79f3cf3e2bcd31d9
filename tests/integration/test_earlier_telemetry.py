"""A run that writes the telemetry of version 1.2: what is learned is the same, and so is every number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from run_outcome import differences, outcome, telemetry

from townlet_core import TrainingOrchestrator
from townlet_core.cli.main import main
from townlet_core.config.load import load_config
from townlet_core.dto.base import without_clock
from townlet_core.errors import ConfigError, RunInterrupted
from townlet_core.plugins.registry import Registry
from townlet_core.tracking.earlier_telemetry import as_1_2

pytest.importorskip("torch", reason="PPO trains with torch")

SCENARIO = Path(__file__).parents[1] / "fixtures" / "scenarios" / "short_day.yaml"
SETS = [
    f"environment.scenario={SCENARIO}",
    "environment.num_worlds=2",
    "environment.max_episode_steps=7",
    "training.device=cpu",
    "training.checkpoint_every=2",
    "tracking.progress=off",
    "strategies.ppo={num_steps: 5, num_epochs: 1, num_minibatches: 1, hidden: [4], total_steps: 100}",
]
REGISTRY = Registry.discover(os.environ)


class Stopping:
    """A console that stops the run when it is shown update `after`."""

    def __init__(self, after: int) -> None:
        self.after = after

    def log(self, record):
        if record["epoch"] == self.after:
            raise KeyboardInterrupt

    def message(self, text):
        del text

    def close(self):
        return


def train(path, version, *, resume=False, **fields):
    config = load_config(None, sets=[*SETS, f"tracking.telemetry={version}"]).config
    return TrainingOrchestrator(config, registry=REGISTRY, run_dir=path, resume=resume, **fields).run()


def test_the_run_is_the_same_and_so_is_what_its_telemetry_says(tmp_path, capsys):
    train(tmp_path / "today", "2.0")
    result = train(tmp_path / "earlier", "1.2")
    today, earlier = outcome(tmp_path / "today"), outcome(tmp_path / "earlier")
    assert differences(today, earlier) == ["telemetry"]
    assert earlier["telemetry"] == [without_clock(as_1_2(record)) for record in today["telemetry"]] != []
    assert earlier["record"]["agent_steps"] == result.agent_steps >= 100
    assert main(["--no-plugins", "watch", str(tmp_path / "earlier"), "--check"]) == 0
    assert "ppo 1.2" in capsys.readouterr().out


def test_a_run_goes_on_with_the_version_that_it_has_to_the_same_lines(tmp_path):
    train(tmp_path / "whole", "1.2")
    with pytest.raises(RunInterrupted):
        train(tmp_path / "run", "1.2", console=Stopping(4))
    assert len(telemetry(tmp_path / "run")) == 4, "more than the checkpoint knows of"
    with pytest.raises(ConfigError, match=r"telemetry of version 1\.2.*--telemetry 1\.2"):
        train(tmp_path / "run", "2.0", resume=True)
    train(tmp_path / "run", "1.2", resume=True)
    assert differences(outcome(tmp_path / "run"), outcome(tmp_path / "whole")) == []


def test_the_option_sets_it_and_a_version_that_is_not_written_is_refused(tmp_path, capsys):
    options = [part for setting in SETS for part in ("--set", setting)]
    assert main(["train", "--run-dir", str(tmp_path / "run"), *options, "--telemetry", "1.2"]) == 0
    assert {line["telemetry_version"] for line in telemetry(tmp_path / "run")} == {"1.2"}
    capsys.readouterr()
    assert main(["train", *options, "--telemetry", "1.1"]) == 64
    assert "'1.1' is not one of '2.0', '1.2'" in capsys.readouterr().err
