"""`townlet train` and `townlet evaluate` as a user runs them: in processes, on files, with signals."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from townlet_core.policy.artefact import load_artefact


def telemetry(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_verified_policy_its_telemetry_its_configuration_and_its_result(townlet, small):
    done = townlet("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=2000", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    run = townlet.directory / "run"
    assert load_artefact(run / "policy").digest == result["artefact"]["digest"]
    assert json.loads((run / "result.json").read_text()) == {k: v for k, v in result.items() if k != "run_dir"}
    records = telemetry(run)
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["agent_steps"] == result["agent_steps"] == len(records) * 32 * 8
    assert result["agent_steps"] >= 2000 > result["agent_steps"] - 32 * 8
    assert "total_steps: 2000" in (run / "config.yaml").read_text()
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_a_policy_is_evaluated_without_torch_and_twice_the_same(townlet, small):
    assert townlet("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=500").returncode == 0
    first = townlet("evaluate", "run", "--episodes", "7", "--json", torch=False)
    assert first.returncode == 0, first.stderr
    second = townlet(
        "evaluate", "run/policy", "--env", "gymnasium:CartPole-v1", "--episodes", "5", "--json", torch=False
    )
    seven, five = json.loads(first.stdout)["episodes"], json.loads(second.stdout)["episodes"]
    assert len(seven) == 7
    assert seven[:5] == five


def test_training_without_torch_is_one_line_with_the_pip_command_and_code_69(townlet, small):
    done = townlet("train", *small, torch=False)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert 'pip install "townlet-core[ppo]"' in done.stderr
    assert not (townlet.directory / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_does(townlet, small, number):
    run = townlet.directory / "run"
    process = townlet.start("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    log = run / "telemetry.jsonl"
    stderr = townlet.stop_when(process, lambda: log.exists() and log.stat().st_size > 0, number)
    assert process.returncode == 75
    assert "townlet train --resume --run-dir run" in stderr
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    stopped = len(telemetry(run))
    process = townlet.start("train", "--resume", "--run-dir", "run")
    townlet.stop_when(process, lambda: len(log.read_bytes().splitlines()) > stopped + 2, number)
    assert process.returncode == 75
    records = telemetry(run)
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert len(records) > stopped
    assert records[-1]["agent_steps"] == len(records) * 32 * 8


def test_a_killed_run_goes_on_from_its_newest_checkpoint_and_its_telemetry_has_no_gap(townlet, small):
    run = townlet.directory / "runs"
    arguments = (*small, "--set", "strategies.ppo.total_steps=60000")
    process = townlet.start("train", *arguments)
    townlet.stop_when(process, lambda: len(list(run.glob("*/checkpoints/0*"))) >= 2, signal.SIGKILL)
    (killed,) = run.iterdir()
    done = townlet("train", "--resume", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert Path(result["run_dir"]).name == killed.name
    assert result["num_resumes"] == 0
    assert result["episodes_restarted"] is False
    records = telemetry(killed)
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert result["agent_steps"] == records[-1]["agent_steps"] >= 60000


def test_resuming_a_finished_run_is_done_at_once_with_the_same_result(townlet, small):
    first = townlet("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=300", "--json")
    before = (townlet.directory / "run" / "telemetry.jsonl").read_bytes()
    again = townlet("train", "--resume", "--run-dir", "run", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert "finished already" in again.stderr
    assert (townlet.directory / "run" / "telemetry.jsonl").read_bytes() == before


def test_a_run_is_not_resumed_with_another_configuration(townlet, small):
    townlet("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=300")
    done = townlet("train", "--resume", "--run-dir", "run", "--seed", "7")
    assert done.returncode == 78
    assert "config.yaml" in done.stderr


def test_a_run_that_is_to_train_longer_is_told_to_begin_from_its_policy(townlet, small):
    townlet("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=300")
    longer = ("--set", "strategies.ppo.total_steps=600")
    done = townlet("train", "--resume", "--run-dir", "run", *longer)
    assert done.returncode == 78
    assert "strategies.ppo.total_steps: 300 then, 600 now" in done.stderr
    assert "with --from run\n" in done.stderr
    done = townlet("train", *small, *longer, "--from", "run", "--run-dir", "next")
    assert done.returncode == 0, done.stderr


def test_two_processes_cannot_write_one_run(townlet, small):
    run = townlet.directory / "run"
    first = townlet.start("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    log = run / "telemetry.jsonl"

    def second_is_refused() -> bool:
        if not (log.exists() and log.stat().st_size):
            return False
        second = townlet("train", "--resume", "--run-dir", "run")
        assert second.returncode == 73
        assert str(first.pid) in second.stderr
        return True

    townlet.stop_when(first, second_is_refused, signal.SIGTERM)
    assert first.returncode == 75


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--strategy", "ppo", "--set", "environment.name=null"), 78, "gymnasium:ID"),
        (("--strategy", "ppo", "--env", "gymnasium:CartPole-v9999"), 78, "CartPole-v"),
        (("--strategy", "ppo", "--env", "gymnasium:CartPol-v1"), 78, "CartPole-v1"),
        (("--strategy", "pppo", "--env", "gymnasium:CartPole-v1"), 69, "'ppo'"),
        (("--env", "gymnasium:CartPole-v1", "--set", "strategies.ppo.lerning_rate=1"), 78, "learning_rate"),
        (("--env", "gymnasium:CartPole-v1", "--set", "training.device=cuda:7"), 78, "cuda:7"),
        (("--env", "gymnasium:CartPole-v1", "--from", "nowhere"), 66, "nowhere"),
        (("--strategy", "bc", "--set", "strategies.bc.dataset=nowhere"), 66, "nowhere"),
        (("--strategy", "bc"), 78, "strategies.bc.dataset"),
        (("--resume", "--run-dir", "nowhere"), 66, "nowhere"),
        (("absent.yaml",), 66, "absent.yaml"),
    ],
)
def test_a_wrong_request_is_one_clear_error_and_leaves_no_run_behind(townlet, arguments, code, text):
    done = townlet("train", *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((townlet.directory / "runs").glob("*")) if (townlet.directory / "runs").exists() else True


def test_an_environment_that_fails_ends_the_run_with_code_65_and_keeps_the_checkpoint(townlet, small, monkeypatch):
    (townlet.directory / "faulty.py").write_text(
        "import gymnasium as gym\n"
        "class Faulty(gym.Wrapper):\n"
        "    steps = 0\n"
        "    def step(self, action):\n"
        "        Faulty.steps += 1\n"
        "        observation, reward, *rest = self.env.step(action)\n"
        "        return observation, (float('nan') if Faulty.steps == 1200 else reward), *rest\n"
        "def make():\n"
        "    return Faulty(gym.make('CartPole-v1'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(townlet.directory))
    done = townlet("train", *small, "--env", "python:faulty:make", "--run-dir", "run")
    assert done.returncode == 65
    assert "world 7" in done.stderr
    assert "reward" in done.stderr
    run = townlet.directory / "run"
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["agent_steps"] == 1024
    assert len(telemetry(run)) == 4
    assert sorted(path.name for path in (run / "checkpoints").glob("0*")) == ["000000000002", "000000000004"]


def test_a_policy_starts_from_another_one_and_other_spaces_are_listed_side_by_side(townlet, small):
    townlet("train", *small, "--run-dir", "a", "--set", "strategies.ppo.total_steps=300")
    done = townlet("train", *small, "--run-dir", "b", "--from", "a/policy", "--set", "strategies.ppo.total_steps=300")
    assert done.returncode == 0, done.stderr
    wrong = townlet("train", *small, "--run-dir", "c", "--from", "a/policy", "--env", "gymnasium:Acrobot-v1")
    assert wrong.returncode == 65
    assert "the policy sees" in wrong.stderr
    assert "and is shown Box(6,)" in wrong.stderr
    elsewhere = townlet("evaluate", "a", "--env", "gymnasium:Acrobot-v1", torch=False)
    assert elsewhere.returncode == 65
    assert "does not fit" in elsewhere.stderr


CHATTY = """
import gymnasium as gym

class Chatty(gym.Wrapper):
    def step(self, action):
        print("debugging")
        return self.env.step(action)

def make():
    return Chatty(gym.make("CartPole-v1"))
"""


def test_an_environment_of_the_working_directory_is_found_and_what_it_prints_is_not_the_result(townlet, small):
    (townlet.directory / "chatty.py").write_text(CHATTY)
    townlet.command = (sys.executable, "-P", "-m", "townlet_core")  # without the working directory on the path
    run = ("--env", "python:chatty:make", "--run-dir", "run", "--set", "strategies.ppo.total_steps=300", "--json")
    trained = townlet("train", *small, *run)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["agent_steps"] == 512
    assert "debugging" in trained.stderr
    evaluated = townlet("evaluate", "run", "--episodes", "3", "--env", "python:chatty:make", "--json", torch=False)
    assert len(json.loads(evaluated.stdout)["episodes"]) == 3
    mistyped = townlet("train", *small, "--env", "python:chatty.py:make")
    assert mistyped.returncode == 69
    assert "say 'python:chatty:...'" in mistyped.stderr


def test_a_run_stands_for_its_policy_and_one_without_a_policy_says_so(townlet, small):
    townlet("train", *small, "--run-dir", "a", "--set", "strategies.ppo.total_steps=300")
    done = townlet(
        "train", *small, "--run-dir", "b", "--from", "a", "--set", "strategies.ppo.total_steps=300", "--json"
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(townlet.directory / "b" / "policy")
    for arguments in (("evaluate", "b"), ("train", *small, "--from", "b")):
        missing = townlet(*arguments)
        assert missing.returncode == 66
        assert "b has no policy yet" in missing.stderr
