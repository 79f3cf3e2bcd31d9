"""`townlet watch`: what it prints, and what it ends with."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from telemetry_logs import LINES

from townlet_core.cli.main import main
from townlet_core.cli.tables import short_count, short_number, trend
from townlet_core.cli.watch import _Printer
from townlet_core.dto.anneal import AnnealStageResultDTO, flatten_stage_record
from townlet_core.dto.evaluation import Estimate
from townlet_core.runs.layout import RunDirectory
from townlet_core.runs.status import RunRecord, timestamp
from townlet_core.tracking.jsonl import encode_record
from townlet_core.tracking.log_watch import LogWatch
from townlet_core.tracking.thresholds import Threshold

PPO = LINES["ppo"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.jsonl"


@pytest.fixture
def watch(path, capsys):
    """Write lines and run the command on them; returns the exit code, and what it printed."""

    def watch(*arguments, lines=()):
        path.write_bytes(b"".join(lines))
        code = main(["--no-plugins", "watch", str(path), *arguments])
        printed = capsys.readouterr()
        return int(code), printed.out, printed.err

    return watch


@pytest.mark.parametrize("name", sorted(LINES))
def test_every_version_is_shown_in_eighty_columns(watch, name):
    code, out, err = watch("--last", "2", lines=[LINES[name](epoch) for epoch in (1, 2, 99_999)])
    kind, header, *rows = out.splitlines()
    assert (code, err) == (0, "")
    assert kind.split()[0] == ("bc" if name == "bc" else "ppo")
    assert header.split()[0] == "EPOCH"
    assert [row.split()[0] for row in rows[:2]] == ["2", "99999"]
    assert rows[2] == ""
    assert "updates      3 (3 of " in out
    assert all(len(line) <= 80 for line in out.splitlines())
    values = dict(zip(header.split(), rows[1].split(), strict=False))
    assert values["LOSS"] == ("1e-5" if name == "bc" else "0.25")
    if name != "bc":
        assert values["ENTROPY"] == "1.25"
        assert ("CONFL" in values) == (name != "1.0")


def staged(number, verdict, **changes):
    """Return the line of a stage that an anneal run writes today."""
    score = Estimate(mean=-0.0273563, iqm=-0.027, low=-0.0308999, high=-0.0244111, confidence=0.95, num_episodes=1000)
    fields = {"number": number, "entry": 2, "cycle": 10_000, "mode": "plugin:somebody-else:strategy", "epochs": 20}
    fields |= {"bc_weight": 0.125, "attempt": 1, "repeat": 0, "tries": 3, "path": "stages/003-ppo", "score": score}
    reason = "score beside the clone: worse " * 4
    stage = AnnealStageResultDTO(**fields, verdict=verdict, reason=reason, is_best=verdict == "PASS", duration_sec=1.0)
    return encode_record(flatten_stage_record(stage, total=3, agent_steps=4096) | changes)


@pytest.mark.parametrize("status", ["running", "finished"])
def test_the_stage_that_a_run_is_in_is_shown_with_how_far_it_is(watch, path, status):
    run, record = RunDirectory(path.parent), {"epoch": 4, "agent_steps": 8192, "total_steps": 16384}
    fields = {"id": run.id, "strategy": "anneal", "environment": "town", "seed": 0, "num_threads": 1, "versions": {}}
    fields |= {"status": status, "created": timestamp(0), "updated": timestamp(0), "config_digest": ""}
    run.write_record(RunRecord(**fields))
    for number in (999, 1000):
        stage = run.stage(number, "ppo")
        stage.path.mkdir(parents=True)
        stage.telemetry_path.write_bytes(encode_record(record))
    run.stage(999, "ppo").result_path.write_text("{}")
    line = "stage        1000-ppo, not finished, update 4: 8,192/16,384 50%\n"
    assert (line in watch(lines=[staged(1, "PASS")])[1]) == (status == "running")
    assert (line in watch()[1]) == (status == "running"), "the first stage has no line before it either"
    run.stage(1000, "ppo").result_path.write_text("{}")
    assert "not finished" not in watch(lines=[staged(1, "PASS")])[1]


def test_the_stages_of_an_anneal_run_are_shown_with_their_verdicts(watch):
    code, out, err = watch(lines=[staged(1, "PASS"), staged(102, "FAIL")])
    kind, header, first, second, *why = out.splitlines()
    assert (code, err, kind) == (0, "", "anneal 2.0")
    assert header.split()[:5] == ["STAGE", "MODE", "CYCLE", "WEIGHT", "TRY"]
    assert first.split()[:5] == ["1", "plugin:so…", "10000", "0.125", "3"]
    assert first.split()[5:] == ["-0.0274", "-0.0309", "-0.0244", "1000", "PASS", "*"]
    assert second.split()[0::9] == ["102", "FAIL"]
    assert " ".join(" ".join(why[:2]).split()) == ("score beside the clone: worse " * 4).strip()
    assert max(map(len, out.splitlines())) <= 80
    assert "(2 of anneal 2.0)" in out
    damaged = watch(lines=[staged(1, "PASS", bc_weight=2.0)])
    assert damaged[0] == 65
    assert "bc_weight" in damaged[2]


def test_stages_are_shown_by_their_scores_in_the_episodes_that_all_have(watch):
    few = {f"common_score_{name}": value for name, value in (("mean", -0.5), ("low", -0.75), ("high", -0.25))}
    _, out, _ = watch(lines=[staged(1, "PASS", **few, common_score_num_episodes=32)])
    assert out.splitlines()[2].split()[5:9] == ["-0.5", "-0.75", "-0.25", "32"]


def test_the_widest_numbers_stay_in_eighty_columns(watch):
    names = ("episode_return_mean", "loss_total", "loss_policy", "loss_value", "kl_divergence", "entropy")
    extreme = dict.fromkeys(names, -1.2345e-123)
    line = PPO(99_999, **extreme, agent_steps=123_456_789, queue_conflict_events=123_456.7)
    code, out, _ = watch(lines=[line, line])
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_kinds_that_take_turns_each_get_their_head(watch):
    _, out, _ = watch(lines=[LINES["bc"](1), LINES["bc"](2), PPO(1), b'{"epoch": 1, "pulse": 2}\n'])
    heads = [line for line in out.splitlines() if line in ("bc 2.0", "ppo 2.0", "other")]
    assert heads == ["bc 2.0", "ppo 2.0", "other"]
    assert "\n\nppo 2.0\n" in out
    assert "  EPOCH   PULSE".lower() in out.lower()


def test_names_of_a_log_cannot_steer_the_terminal(watch):
    _, out, _ = watch("--max", "x.\x1b=1", lines=[b'{"epoch": 1, "\\u001b[2J": 2}\n'])
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 0, ""),
        (("--kl-max", "0.05"), 0, ""),
        (("--kl-max", "0.005"), 2, "exceeded     kl_divergence 0.01 > 0.005 (epoch 1, line 1), and in 1 more record"),
        (("--kl-k3-max", "0.001"), 2, "kl_k3 0.005 > 0.001"),
        (("--loss-max", "0.2"), 2, "loss_total 0.25 > 0.2"),
        (("--clip-fraction-max", "0.05"), 2, "clip_fraction 0.1 > 0.05"),
        (("--grad-norm-max", "1.4"), 2, "grad_norm_max 1.5 > 1.4"),
        (("--conflict-max", "0.4"), 2, "queue_conflicts_per_tick 0.5 > 0.4"),
        (("--entropy-min", "1.3"), 2, "entropy 1.25 < 1.3"),
        (("--return-min", "15"), 2, "episode_return_mean 10 < 15 (epoch 1, line 1)"),
        (("--explained-variance-min", "0.6"), 2, "explained_variance 0.5 < 0.6"),
        (("--max", "lr=0.0001"), 2, "lr 0.0003 > 0.0001"),
        (("--min", "environment.faint_events=4"), 2, "environment.faint_events 3 < 4"),
        (("--return-min", "15", "--judge-last", "1"), 0, ""),
        (("--return-min", "15", "--after", "1"), 0, ""),
        (("--after", "2"), 1, "cannot tell  no record was judged"),
        (("--max", "baseline_reward_sum=1"), 1, "cannot tell  baseline_reward_sum"),
    ],
)
def test_check_ends_with_the_verdict_and_says_why(watch, arguments, code, said):
    lines = [PPO(1), PPO(2)]
    got, out, err = watch("--check", *arguments, lines=lines)
    assert (got, err) == (code, "")
    assert said in out
    assert ("exceeded " in out, "cannot tell" in out) == (code == 2, code == 1)
    assert watch(*arguments, lines=lines)[0] == 0


@pytest.mark.parametrize(("version", "code"), [("1.0", 1), ("1.1", 1), ("ppo", 0)])
def test_a_limit_that_a_version_lacks_the_field_for_cannot_be_told(watch, version, code):
    assert watch("--check", "--kl-k3-max", "1", lines=[LINES[version](1)])[0] == code


def test_what_is_not_finite_exceeds_whatever_the_limits(watch):
    for line in (
        LINES["1.0"](1, loss_policy=math.nan),
        LINES["1.2"](1, loss_policy=-math.inf),
        PPO(1, loss_policy=None),
    ):
        code, out, _ = watch("--check", lines=[line])
        assert code == 2
        assert "loss_policy is not finite (epoch 1, line 1)" in out
        code, out, _ = watch("--check", "--min", "loss_policy=0", lines=[line])
        assert code == 2
        assert "loss_policy is not finite, and the limit is 0 (epoch 1, line 1)" in out


def test_an_empty_log_is_no_error_and_cannot_be_told(watch):
    code, out, _ = watch()
    assert (code, out.startswith("no records in ")) == (0, True)
    assert watch("--check")[0] == 1


def test_half_a_last_line_is_said(watch):
    code, out, _ = watch("--check", lines=[PPO(1), PPO(2)[:60]])
    assert code == 0
    assert "the file ends in half a line, which was left out" in out


@pytest.mark.parametrize(
    ("arguments", "lines", "code", "said"),
    [
        ((), [PPO(1), b"{\n"], 65, "telemetry.jsonl:2: the line is damaged"),
        ((), [PPO(1, telemetry_version="9.0")], 65, "telemetry.jsonl:1: the line is damaged: telemetry_version '9.0'"),
        (("--max", "lrr=1"), [PPO(1)], 64, "telemetry has no number 'lrr'; did you mean 'lr'?"),
        (("--max", "lr"), [PPO(1)], 64, "--max 'lr' is not NAME=X"),
        (("--min", "lr=low"), [PPO(1)], 64, "--min 'lr=low' is not NAME=X"),
        (("--kl-max", "nan"), [PPO(1)], 64, "the limit of kl_divergence is nan"),
        (("--stale-sec", "1"), [PPO(1)], 64, "--stale-sec is for --follow"),
        (("--last", "0"), [PPO(1)], 64, "--last"),
    ],
)
def test_errors_have_their_code_and_say_what_to_do(watch, arguments, lines, code, said):
    got, out, err = watch("--check", *arguments, lines=lines)
    assert (got, out) == (code, "")
    assert said in err


def test_a_missing_log_ends_with_66(tmp_path, capsys):
    for name in ("nothing", "."):
        assert main(["--no-plugins", "watch", str(tmp_path / name)]) == 66
    assert "has no telemetry.jsonl" in capsys.readouterr().err


def test_json_holds_the_whole_report(watch, path):
    code, out, _ = watch("--json", "--check", "--kl-max", "0.005", lines=[PPO(1), PPO(2, grad_norm=math.nan)])
    records, report = json.loads(out).values()
    assert code == 2
    assert [(record["line"], record["kind"], record["values"]["grad_norm"]) for record in records] == [
        (1, "ppo 2.0", 0.75),
        (2, "ppo 2.0", None),
    ]
    assert (report["path"], report["updates"], report["verdict"]) == (str(path), 2, "exceeded")
    assert [(found["name"], found["bound"], found["line"]) for found in report["exceeded"]] == [
        ("kl_divergence", "max", 1),
        ("grad_norm", "finite", 2),
    ]
    assert report["fields"]["agent_steps"]["last"] == 512


def test_json_of_a_log_that_is_followed_is_a_line_for_each_record_and_one_for_all(watch):
    lines = [PPO(1), PPO(2, grad_norm=math.nan)]
    code, out, _ = watch("--json", "--follow", "--check", lines=lines)
    first, second, report = map(json.loads, out.splitlines())
    assert code == 2
    assert (first["line"], first["kind"], first["values"]["epoch"]) == (1, "ppo 2.0", 1.0)
    assert second["values"]["grad_norm"] is None
    assert report["report"]["updates"] == 2


def test_limits_that_are_left_are_told_while_following_goes_on(watch, path):
    record = {"id": "run", "status": "finished", "strategy": "ppo", "environment": "town", "seed": 0, "versions": {}}
    record |= {"num_threads": 1, "created": "2026-11-23T06:41:08Z", "updated": "2026-11-23T06:41:08Z"}
    path.with_name("run.json").write_text(json.dumps(record | {"config_digest": "d"}))
    code, out, err = watch("--follow", "--kl-max", "0.005", lines=[PPO(1), PPO(2)])
    told = "kl_divergence 0.01 > 0.005 (epoch 1, line 1), and in 1 more record"
    assert (code, err) == (0, f"exceeded: {told}\n")
    assert f"exceeded     {told}" in out
    assert "run          finished" in out


def test_a_limit_is_told_once_until_the_log_begins_again(path, capsys):
    path.write_bytes(PPO(1))
    log = LogWatch(path, thresholds=[Threshold(name="lr", bound="max", limit=0.0)])
    news, printer = log.look(), _Printer(as_json=False, is_following=True)
    printer.warn(log.report())
    printer.warn(log.report())
    assert capsys.readouterr().err.count("exceeded: lr 0.0003 > 0 (epoch 1, line 1)") == 1
    printer.show(replace(news, begun_again=True))
    printer.warn(log.report())
    assert "read again from its beginning\nexceeded: lr" in capsys.readouterr().err


def test_following_a_silent_log_ends_with_2(watch):
    code, out, _ = watch("--follow", "--check", "--stale-sec", "0.01", "--interval", "0.02", lines=[PPO(1)])
    assert code == 2
    assert "exceeded     no new line for 0 s" in out


@pytest.mark.parametrize(("lines", "check", "code"), [(1, [], 0), (1, ["--check"], 0), (0, ["--check"], 1)])
def test_ctrl_c_ends_the_following_in_order(path, lines, check, code):
    command = [sys.executable, "-m", "townlet_core", "--no-plugins", "watch", str(path.parent), "--follow", *check]
    with subprocess.Popen(
        [*command, "--interval", "0.02"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr.readline().startswith("waiting for ")
        if lines:
            path.write_bytes(PPO(1))
            assert process.stdout.readline() == "ppo 2.0\n"
        else:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (code, "")
    assert ("updates      1" in out) == bool(lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (-0.0, "0"),
        (1234567.0, "1234567"),
        (12345678.0, "1.235e7"),
        (-12345678.0, "-1.23e7"),
        (0.0012345, "0.00123"),
        (-0.0012345, "-0.0012"),
        (-1.2345e-123, "-1e-123"),
        (0.123456, "0.1235"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_short_number_has_seven_letters_at_most(value, text):
    assert short_number(value) == text
    assert len(text) <= 7


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (999.0, "999"),
        (999.6, "1k"),
        (12_345, "12.3k"),
        (999_600, "1M"),
        (5e9, "5G"),
        (5e13, "5e13"),
    ],
)
def test_a_short_count_has_five_letters_at_most(value, text):
    assert short_count(value) == text


def test_a_trend_goes_from_the_least_to_the_most():
    assert len(trend([0.0, 1.0, 0.5])) == 3
    assert trend([0.0, 1.0, 0.5])[0] == trend([3.0, 3.0])[0] == trend([3.0, 3.0])[1]
    assert len(set(trend([-1.7e308, 0.0, 1.7e308]))) == 3
    assert trend([]) == ""
