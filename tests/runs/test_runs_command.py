"""`townlet runs`, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from townlet_core.dto.anneal import AnnealStageResultDTO, AnnealSummaryDTO, flatten_stage_record
from townlet_core.dto.evaluation import Estimate
from townlet_core.runs.layout import RunDirectory
from townlet_core.runs.status import RunRecord, timestamp


@pytest.fixture
def runs_dir(tmp_path):
    runs_dir = tmp_path / "runs"
    for number, name in enumerate(("20261123-062748-ppo-ab12", "20261123-062749-ppo-cd34")):
        run = RunDirectory.create(runs_dir / name)
        time = timestamp(1795415268.0 + number)
        run.write_record(
            RunRecord(
                id=name,
                status="interrupted",
                strategy="ppo",
                environment="gymnasium:CartPole-v1",
                seed=3,
                num_threads=1,
                versions={"townlet": "0.1.0"},
                config_digest="d" * 64,
                created=time,
                updated=time,
                agent_steps=12_800,
            )
        )
        run.telemetry_path.write_text('{"episode_return_mean": 123.456}\n')
        run.checkpoints().save(10, {})
    return runs_dir


def townlet(tmp_path, *arguments):
    command = [sys.executable, "-m", "townlet_core", "runs", *map(str, arguments)]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True, timeout=60
    )


def test_runs_are_listed_newest_first(tmp_path, runs_dir):
    done = townlet(tmp_path)
    header, *rows = done.stdout.splitlines()
    assert done.returncode == 0
    assert header.split() == ["RUN", "STATUS", "STRATEGY", "ENVIRONMENT", "STEPS", "RETURN"]
    assert [row.split()[0] for row in rows] == ["20261123-062749-ppo-cd34", "20261123-062748-ppo-ab12"]
    assert rows[1].split()[1:] == ["interrupted", "ppo", "…ium:CartPole-v1", "12.8k", "123.5"]
    assert max(map(len, done.stdout.splitlines())) == 80, "as wide as a terminal is at least"
    assert townlet(tmp_path, "list", "--runs-dir", runs_dir).stdout == done.stdout


def test_a_name_of_an_environment_is_whole_where_there_is_room_and_its_end_where_there_is_none(tmp_path, runs_dir):
    for name in ("20261123-062748-ppo-ab12", "20261123-062749-ppo-cd34"):
        (runs_dir / name).rename(runs_dir / name[-4:])
    assert townlet(tmp_path).stdout.count(" gymnasium:CartPole-v1 ") == 2
    (runs_dir / "ab12").rename(runs_dir / ("long-" * 10 + "name"))
    assert townlet(tmp_path).stdout.count(" …artPole-v1 ") == 2


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ('{"provenance": {"environment": "gymnasium:Acrobot-v1"}}', "…mnasium:Acrobot-v1"),
        ('{"provenance": {"environment": ""}}', "…nasium:CartPole-v1"),
        ('{"provenance": {"environment": 3}}', "…nasium:CartPole-v1"),
        ("{", "…nasium:CartPole-v1"),
    ],
)
def test_a_policy_of_recordings_is_listed_with_their_environment(tmp_path, runs_dir, document, shown):
    run = RunDirectory(runs_dir / "20261123-062749-ppo-cd34")
    run.write_record(run.record().revised(clock=lambda: 0.0, status="finished"))
    run.policy_dir.mkdir()
    (run.policy_dir / "policy.json").write_text(document)
    environment = townlet(tmp_path, "list").stdout.splitlines()[1].split()[3]
    assert environment.strip("…") in shown
    assert environment[-8:] == shown[-8:]


def test_a_damaged_run_is_shown_with_the_reason_beside_the_others(tmp_path, runs_dir):
    (runs_dir / "20261123-062749-ppo-cd34" / "run.json").write_text("{")
    done = townlet(tmp_path, "--runs-dir", runs_dir)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].startswith("20261123-062748-ppo-ab12  interrupted")
    assert lines[2].startswith("20261123-062749-ppo-cd34  damaged")
    assert "run.json is damaged" in lines[3]
    found = json.loads(townlet(tmp_path, "--json").stdout)["runs"]
    assert [run["status"] for run in found] == ["interrupted", "damaged"]


@pytest.mark.parametrize("exists", [False, True])
def test_no_runs_is_said_kindly_and_is_no_error(tmp_path, exists):
    if exists:
        (tmp_path / "runs").mkdir()
    done = townlet(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no runs yet: runs ")
    assert json.loads(townlet(tmp_path, "--json").stdout) == {"runs": []}


def test_one_run_is_shown_by_id_or_by_path(tmp_path, runs_dir):
    by_id = townlet(tmp_path, "show", "20261123-062748-ppo-ab12")
    assert by_id.returncode == 0
    shown = dict(line.split(maxsplit=1) for line in by_id.stdout.splitlines())
    assert shown["status"] == "interrupted"
    assert shown["resumable"] == "yes"
    assert shown["checkpoints"] == "10"
    assert shown["versions"] == "townlet 0.1.0"
    by_path = json.loads(townlet(tmp_path, "show", runs_dir / "20261123-062748-ppo-ab12", "--json").stdout)
    assert (by_path["id"], by_path["agent_steps"], by_path["last_return"]) == (
        "20261123-062748-ppo-ab12",
        12_800,
        123.456,
    )


def test_an_unknown_run_ends_with_66_and_offers_the_closest(tmp_path, runs_dir):
    done = townlet(tmp_path, "show", "20261123-062748-ppo-ab13")
    assert (done.returncode, done.stdout) == (66, "")
    assert "did you mean '20261123-062748-ppo-ab12'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_text_from_a_run_cannot_steer_the_terminal(tmp_path, runs_dir):
    run = RunDirectory(runs_dir / "20261123-062748-ppo-ab12")
    run.write_record(run.record().revised(clock=lambda: 0.0, message="\x1b[2Jgone\nnext"))
    (runs_dir / "evil\x1b[2J").mkdir()
    (runs_dir / "evil\x1b[2J" / "run.json").write_text("{}")
    for arguments in (("show", run.id), ()):
        assert "\x1b" not in townlet(tmp_path, *arguments).stdout


def _annealed(run, *, verdict):
    """Make a run one of two stages, the first of which is its best."""
    stages = []
    for number, mode in ((1, "bc"), (2, "ppo")):
        stages.append(
            AnnealStageResultDTO(
                number=number,
                entry=0,
                cycle=number,
                mode=mode,
                epochs=1,
                bc_weight=0.5,
                attempt=0,
                repeat=0,
                path=f"stages/{number:03d}-{mode}",
                score=Estimate(
                    mean=-0.0274 * number, iqm=-0.027, low=-0.03, high=-0.02, confidence=0.95, num_episodes=16
                ),
                is_best=number == 1,
                verdict="PASS" if number == 1 else verdict,
                reason="faint_events: worse\x1b[2J" if number == 2 else "it is fine",
                duration_sec=1.0,
            )
        )
    result = AnnealSummaryDTO(
        strategy="anneal",
        duration_sec=1.0,
        status=verdict,
        reason="stage 2: faint_events: worse",
        stages=stages,
        baselines=(),
        best_stage=1,
        score_name="reward_mean",
        agent_steps=10,
    )
    run.result_path.write_text(result.model_dump_json())
    lines = [flatten_stage_record(stage, total=2, agent_steps=10) for stage in stages]
    run.telemetry_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.write_record(run.record().revised(clock=lambda: 0.0, strategy="anneal", status="finished"))


def test_an_anneal_run_is_shown_with_its_stages_and_its_verdict(tmp_path, runs_dir):
    run = RunDirectory(runs_dir / "20261123-062748-ppo-ab12")
    _annealed(run, verdict="HOLD")
    shown = townlet(tmp_path, "show", run.id).stdout
    facts, stages, verdict = shown.split("\n\n")
    assert "best_score       -0.0274\n" in facts
    assert [line.split()[:2] for line in stages.splitlines()[:3]] == [["STAGE", "CYCLE"], ["1", "bc"], ["2", "ppo"]]
    assert verdict == "verdict  HOLD: stage 2: faint_events: worse\n"
    assert "\x1b" not in shown
    found = json.loads(townlet(tmp_path, "show", run.id, "--json").stdout)
    assert [stage["verdict"] for stage in found["result"]["stages"]] == ["PASS", "HOLD"]
    row = townlet(tmp_path).stdout.splitlines()[-1]
    assert row.split()[-1] == "-0.0274", "the score of its best stage"


def test_a_result_that_cannot_be_read_does_not_keep_a_run_from_being_shown(tmp_path, runs_dir):
    run = RunDirectory(runs_dir / "20261123-062748-ppo-ab12")
    _annealed(run, verdict="PASS")
    run.result_path.write_text("{")
    done = townlet(tmp_path, "show", run.id)
    assert (done.returncode, "STAGE" in done.stdout) == (0, False)
