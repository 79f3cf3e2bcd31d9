"""`townlet evaluate`: what it prints, what it writes, and what it ends with."""

import json
import shlex

import pytest

from townlet_core.cli.main import main
from townlet_core.dto.comparison import EvaluationReportDTO
from townlet_core.services.evaluation import EvaluationService

POLE = ("--env", "gymnasium:CartPole-v1", "--episodes", "12")
HARD = """
name: hard
entries:
  - {environment: {scenario: storm, max_episode_steps: 5}, seed: 1, count: 6}
  - {environment: {scenario: queue_conflict, max_episode_steps: 5}, seeds: [4, 9]}
"""


@pytest.fixture
def evaluate(capsys, tmp_path, monkeypatch):
    """Run the command in a directory of its own; returns the exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hard.yaml").write_text(HARD)

    def evaluate(*arguments):
        code = main(["--no-plugins", "evaluate", *arguments])
        printed = capsys.readouterr()
        return int(code), printed.out, printed.err

    return evaluate


@pytest.mark.parametrize(
    ("policies", "margin", "verdict", "code"),
    [
        (("random", "--against", "idle"), "0", ["PASS"], 0),
        (("idle", "--against", "random"), "0", ["FAIL"], 2),
        (("idle", "--against", "random"), "100", ["PASS"], 0),
        (("idle", "--against", "random"), "13", ["HOLD"], 1),
        (("idle", "--against", "random", "--against", "idle"), "13", ["HOLD", "PASS"], 1),
        (("idle", "--against", "idle", "--against", "random"), "0", ["PASS", "FAIL"], 2),
    ],
)
def test_the_exit_code_is_the_worst_verdict(evaluate, policies, margin, verdict, code):
    ended, out, _ = evaluate(*policies, *POLE, "--margin", margin, "--json")
    report = EvaluationReportDTO.model_validate_json(out)
    assert ([comparison.verdict for comparison in report.against], ended) == (verdict, code)
    assert {comparison.margin for comparison in report.against} == {float(margin)}


def test_without_another_policy_there_is_no_verdict_and_no_margin(evaluate):
    code, out, _ = evaluate("idle", *POLE)
    assert code == 0
    assert "verdict" not in out
    code, _, err = evaluate("idle", *POLE, "--margin", "1")
    assert (code, "--against" in err) == (64, True)


def test_the_file_is_the_report_and_what_it_claims_follows_from_it(evaluate, tmp_path):
    code, out, _ = evaluate("scripted", "--against", "random", "--suite", "hard.yaml", "--json", "--out", "r.json")
    stored = (tmp_path / "r.json").read_text()
    assert stored == out
    report = EvaluationReportDTO.model_validate_json(stored)
    assert report.suite.name == "hard"
    assert [(episode.part, episode.seed) for episode in report.episodes][6:] == [(1, 4), (1, 9)]
    (comparison,) = report.against
    assert EvaluationService().compare(report, comparison.other) == comparison
    assert code == {"PASS": 0, "HOLD": 1, "FAIL": 2}[comparison.verdict]


def test_the_command_that_it_names_gives_the_same_again(evaluate):
    given = ("random", "--against", "idle", *POLE, "--set", "environment.options={'sutton_barto_reward': true}")
    _, out, _ = evaluate(*given, "--margin", "2", "--stochastic", "--json")
    report = json.loads(out)
    program, command, *arguments = shlex.split(report["command"])
    assert (program, command) == ("townlet", "evaluate")
    assert "--json" not in arguments
    again = json.loads(evaluate(*arguments, "--json")[1])
    assert again["episodes"] == report["episodes"]
    assert again["against"][0]["differences"] == report["against"][0]["differences"]


@pytest.mark.parametrize("more", [(), ("--against", "random"), ("--against", "random", "--against", "idle")])
def test_the_table_fits_a_terminal_and_shows_what_becomes_of_the_citizens(evaluate, more):
    _, out, err = evaluate("scripted", *more, "--suite", "hard.yaml")
    lines = [line for line in out.splitlines() if not line.startswith("again")]
    assert max(map(len, lines)) <= 80
    for name in ("score", "return", "faints", "queue conflicts", "their intensity", "good chats", "hunger (1 = full)"):
        assert sum(line.startswith(f"{name}  ") for line in lines) >= max(1, len(more) // 2)
    assert "8 of suite hard, sha256 " in out
    assert "the mean reward of a present agent in a step" in out
    verdicts = [line for line in lines if line.startswith("verdict")]
    assert len(verdicts) == out.count("PASS: no part of the interval is below 0 (--margin 0)") == len(more) // 2
    assert err == ""


@pytest.mark.parametrize("arguments", [("--env", "town"), ("--episodes", "3"), ("--seed", "1"), ("--set", "a.b=1")])
def test_a_suite_says_itself_what_is_run(evaluate, arguments):
    code, _, err = evaluate("idle", "--suite", "hard.yaml", *arguments)
    assert code == 64
    assert f"--suite says which episodes are run: leave out {arguments[0]}" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("idle", "--suite", "none.yaml"), 66, "there is no suite file none.yaml"),
        (("idle", "--suite", "twon"), 78, "there is no suite 'twon'; did you mean 'town'"),
        (("idle", "--against", "runs/none", *POLE), 66, "there is no policy and no run runs/none"),
        (("scripted", *POLE), 64, "has no script 'scripted'"),
        (
            ("none", *POLE),
            64,
            "there is no run and no policy at none, and environment 'gymnasium:CartPole-v1' has no script 'none'",
        ),
        (("idle", *POLE, "--margin", "-1"), 64, "margin"),
        (("idle", *POLE, "--out", "no/r.json"), 74, "no/r.json"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_never_a_verdict(evaluate, arguments, code, message):
    ended, out, err = evaluate(*arguments)
    assert (ended, out) == (code, "")
    assert message in err


def test_a_suite_runs_no_code_that_is_not_trusted(evaluate, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "suite_pole.py").write_text(
        "import gymnasium\ndef make():\n    return gymnasium.make('CartPole-v1', max_episode_steps=3)\n"
    )
    (tmp_path / "own.yaml").write_text("entries: [{environment: {name: 'python:suite_pole:make'}, count: 2}]\n")
    code, _, err = evaluate("idle", "--suite", "own.yaml")
    assert (code, "--trust-config" in err) == (78, True)
    code, out, _ = evaluate("idle", "--suite", "own.yaml", "--trust-config", "--json")
    assert (code, {episode["length"] for episode in json.loads(out)["episodes"]}) == (0, {3})
