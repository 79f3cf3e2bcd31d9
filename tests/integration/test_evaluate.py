"""Where `townlet evaluate` runs a policy: in the run's own environment as it was configured, or where the user says."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from townlet_core.cli import train as train_command
from townlet_core.config.dump import dump_yaml
from townlet_core.config.load import load_config
from townlet_core.runs.layout import RunDirectory
from townlet_core.runs.status import RunRecord, timestamp

TINY = ("--set", "strategies.ppo.total_steps=64", "--set", "environment.max_episode_steps=3")


@pytest.fixture
def run(townlet, small) -> Path:
    """A run in CartPole cut at 3 steps, in a directory whose name needs quotes."""
    done = townlet("train", *small, *TINY, "--run-dir", "my runs/run")
    assert done.returncode == 0, done.stderr
    townlet.said = done.stdout
    return townlet.directory / "my runs" / "run"


def lengths(townlet, *arguments) -> set[int]:
    done = townlet("evaluate", *arguments, "--episodes", "3", "--json", torch=False)
    assert done.returncode == 0, done.stderr
    return {episode["length"] for episode in json.loads(done.stdout)["episodes"]}


def test_what_train_says_comes_next_evaluates_in_the_runs_own_environment(townlet, run):
    (line,) = [line for line in townlet.said.splitlines() if line.startswith("next")]
    assert line.split(maxsplit=1)[1] == "townlet evaluate 'my runs/run' --episodes 100"
    done = townlet(*shlex.split(line)[2:], "--json", torch=False)
    assert {episode["length"] for episode in json.loads(done.stdout)["episodes"]} == {3}
    assert lengths(townlet, "my runs/run/policy") == {3}
    assert lengths(townlet, "my runs/run", "--env", "gymnasium:CartPole-v1") == {3}


def test_what_the_user_sets_wins_over_the_run_and_another_environment_has_nothing_of_it(townlet, run):
    assert lengths(townlet, "my runs/run", "--set", "environment.max_episode_steps=2") == {2}
    assert min(lengths(townlet, "my runs/run", "--env", "gymnasium:CartPole-v0")) > 3
    assert min(lengths(townlet, "my runs/run", "--set", "environment.name=gymnasium:CartPole-v0")) > 3
    done = townlet("evaluate", "my runs/run", "--set", "environment.name=gymnasium:Acrobot-v1", torch=False)
    assert done.returncode == 65
    assert "does not fit gymnasium:Acrobot-v1" in done.stderr


def test_a_configuration_beside_an_artefact_that_is_no_runs_is_not_read(townlet, run):
    bundle = townlet.directory / "bundle"
    bundle.mkdir()
    shutil.copytree(run / "policy", bundle / "policy")
    (bundle / "config.yaml").write_text("a: page of somebody else\n")
    assert min(lengths(townlet, "bundle/policy")) > 3
    assert min(lengths(townlet, "bundle")) > 3


def test_a_run_cannot_name_code_to_run_unless_it_is_trusted(townlet, small, monkeypatch):
    (townlet.directory / "mine.py").write_text(
        "import gymnasium, sys\nprint('it ran', file=sys.stderr)\n"
        "def make():\n    return gymnasium.make('CartPole-v1', max_episode_steps=3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(townlet.directory))
    done = townlet("train", *small, *TINY[:2], "--env", "python:mine:make", "--run-dir", "run")
    assert "townlet evaluate run --episodes 100 --env python:mine:make" in done.stdout
    shutil.copytree(townlet.directory / "run" / "policy", townlet.directory / "alone")
    for path in ("run", "alone"):
        refused = townlet("evaluate", path, "--episodes", "1")
        assert refused.returncode == 78
        assert "--trust-config" in refused.stderr
        assert "it ran" not in refused.stderr
        for trust in (
            ["--trust-config"],
            ["--env", "python:mine:make"],
            ["--set", "environment.name=python:mine:make"],
        ):
            done = townlet("evaluate", path, *trust, "--episodes", "1")
            assert done.returncode == 0, done.stderr
            assert "it ran" in done.stderr


def written(
    directory: Path, environment: str, strategy: str, settings: dict[str, Any], **training: Any
) -> RunDirectory:
    run = RunDirectory.create(directory / "my runs" / "run")
    known = {"id": "run", "seed": 0, "versions": {}, "num_threads": 1, "config_digest": ""}
    now = timestamp(0)
    run.write_record(RunRecord(**known, strategy=strategy, environment=environment, created=now, updated=now))
    options = {"environment.name": environment, "training.strategy": strategy, f"strategies.{strategy}": settings}
    options |= {f"training.{name}": value for name, value in training.items()}
    run.config_path.write_text(dump_yaml(load_config(None, options=options).config))
    return run


@pytest.mark.parametrize(
    ("environment", "strategy", "settings", "evaluate_every", "more"),
    [
        ("gymnasium:A-v1", "ppo", {}, 0, []),
        ("gymnasium:A-v1", "ppo", {}, 4, ["--stochastic"]),
        ("gymnasium:A-v1", "bc", {"evaluate_deterministic": False}, 0, ["--stochastic"]),
        ("my-town", "anneal", {"evaluate_deterministic": True}, 0, []),
        ("my-town", "random-search", {}, 0, []),
        ("town", "ppo", {}, 0, ["--stochastic"]),
        ("town", "bc", {"evaluate_deterministic": True}, 0, []),
        ("gymnasium:m:A-v1", "ppo", {}, 0, ["--env", "gymnasium:m:A-v1"]),
    ],
)
def test_the_next_command_names_code_to_run_and_samples_where_the_run_did(
    tmp_path, environment, strategy, settings, evaluate_every, more
):
    run = written(tmp_path, environment, strategy, settings, evaluate_every=evaluate_every)
    words = ["townlet", "evaluate", str(run.path), "--episodes", "100"]
    assert shlex.split(train_command._evaluation(run, "")) == words + more


def test_a_policy_of_the_towns_recordings_samples_wherever_its_run_was_to_act(tmp_path):
    run = written(tmp_path, "gymnasium:A-v1", "ppo", {})
    assert train_command._evaluation(run, "town").endswith("--stochastic")
