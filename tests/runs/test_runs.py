"""Run directories: names, records, lists and the run to resume."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from townlet_core.errors import DataError, MissingInputError, StorageError, UsageError
from townlet_core.runs.layout import RunDirectory, check_run_id
from townlet_core.runs.listing import find_resumable, find_run, list_runs
from townlet_core.runs.status import RunRecord, read_record, timestamp

NOON = 1795415268.0  # 2026-11-23T06:27:48Z


def clock():
    return NOON


def make_run(runs_dir, name, *, seconds=0, checkpoints=(), **fields):
    run = RunDirectory.create(runs_dir / name)
    given = {
        "strategy": "ppo",
        "environment": "gymnasium:CartPole-v1",
        "seed": 1,
        "num_threads": 1,
        "config_digest": "d",
    }
    times = {"created": timestamp(NOON + seconds), "updated": timestamp(NOON + seconds)}
    run.write_record(RunRecord(id=run.id, versions={"townlet": "0.1.0"}, **(given | times | fields)))
    for step in checkpoints:
        run.checkpoints().save(step, {})
    return run


def test_a_new_run_is_named_after_its_time_and_strategy(tmp_path):
    tokens = iter(["ab12", "ab12", "cd34"])
    first, second = (
        RunDirectory.create_new(tmp_path / "runs", "plugin:My Dist:ppo", clock=clock, token=lambda: next(tokens))
        for _ in range(2)
    )
    assert first.id == "20261123-062748-plugin-my-dist-ppo-ab12"
    assert second.id == "20261123-062748-plugin-my-dist-ppo-cd34"
    assert RunDirectory.create_new(tmp_path / "runs", "ppo", clock=clock).path.is_dir()


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "a\\b", "/abs", ".hidden", "nul\0", "a b", "x" * 129, "C:", "~", "é", "a."]
)
def test_a_run_id_is_one_safe_path_component(name):
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        check_run_id(name)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}[A-Za-z0-9]", fullmatch=True))
def test_ordinary_names_are_run_ids(name):
    assert check_run_id(name) == name


def test_a_run_directory_is_made_once_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b" / "run"
    run = RunDirectory.create(path)
    assert RunDirectory.create(path).path == path, "nothing is in it yet"
    with run.lock(clock=clock):
        pass
    RunDirectory.create(path)
    (path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="is a run already: resume it with --resume"):
        RunDirectory.create(path)
    (tmp_path / "a" / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="is not empty and is not a run"):
        RunDirectory.create(tmp_path / "a")
    with pytest.raises(StorageError, match=r"ENOTDIR|EEXIST"):
        RunDirectory.create(tmp_path / "a" / "mine.txt" / "run")


def test_a_directory_with_anything_in_it_is_not_taken_for_a_run(tmp_path):
    (tmp_path / ".git").mkdir()
    with pytest.raises(UsageError, match="is not empty and is not a run"):
        RunDirectory.create(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".notes.tmp").write_text("")
    with pytest.raises(UsageError, match="is not empty and is not a run"):
        RunDirectory.create(tmp_path / "other")
    assert (tmp_path / "other" / ".notes.tmp").exists()


def test_only_what_a_killed_run_leaves_before_its_record_may_be_where_a_run_begins(tmp_path):
    torn = [".lock", "config.yaml", ".run.json.77-0.tmp", ".config.yaml.77-0.tmp"]
    for number, (names, is_free) in enumerate(
        [(torn, True), (torn[:2], True), (torn[1:], False), ([*torn, "notes"], False), ([".lock", ".git"], False)]
    ):
        path = tmp_path / str(number)
        path.mkdir()
        for name in names:
            (path / name).write_text("")
        if is_free:
            assert RunDirectory.create(path).path == path
        else:
            with pytest.raises(UsageError, match="is not empty and is not a run"):
                RunDirectory.create(path)


def test_a_run_that_another_process_made_meanwhile_is_not_taken(tmp_path):
    first, second = RunDirectory.create(tmp_path / "r"), RunDirectory.create(tmp_path / "r")
    with first.lock(clock=clock):
        first.require_free()
        first.record_path.write_text("{}")
    with second.lock(clock=clock), pytest.raises(UsageError, match="is a run already"):
        second.require_free()


def begin(run):
    for path in (run.record_path, run.config_path, run.telemetry_path, run.path / ".lock"):
        path.write_text("")


def test_a_withdrawn_run_takes_only_a_directory_that_it_made_with_it(tmp_path):
    made = RunDirectory.create(tmp_path / "made")
    new = RunDirectory.create_new(tmp_path, "ppo", clock=clock)
    (tmp_path / "given").mkdir()
    given = RunDirectory.create(tmp_path / "given")
    for run in (made, new, given):
        begin(run)
        assert run.withdraw()
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
    assert list(given.path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["mine.txt", "stages/001-ppo/policy/x", "checkpoints/newest", ".git/HEAD", "telemetry.jsonl"]
)
def test_a_run_that_holds_anything_else_is_not_withdrawn(tmp_path, name):
    run = RunDirectory.create(tmp_path / "r")
    begin(run)
    (run.path / name).parent.mkdir(parents=True, exist_ok=True)
    (run.path / name).write_text("kept")
    before = sorted(run.path.rglob("*"))
    assert not run.withdraw()
    assert sorted(run.path.rglob("*")) == before


def test_opening_what_is_no_run_says_why(tmp_path):
    with pytest.raises(MissingInputError, match="does not exist"):
        RunDirectory.open(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match=r"has no run\.json"):
        RunDirectory.open(tmp_path)


def test_the_working_directory_may_be_a_run(tmp_path, monkeypatch):
    run = make_run(tmp_path, "here")
    monkeypatch.chdir(run.path)
    assert RunDirectory.open(type(tmp_path)()).id == "here"


def test_all_files_stand_in_the_run_directory(tmp_path):
    run = RunDirectory(tmp_path / "r")
    paths = [run.record_path, run.config_path, run.telemetry_path, run.result_path, run.policy_dir, run.checkpoints_dir]
    names = ["run.json", "config.yaml", "telemetry.jsonl", "result.json", "policy", "checkpoints"]
    assert [path.relative_to(run.path).as_posix() for path in paths] == names
    assert run.checkpoints(3).keep_last == 3
    assert not run.path.exists()


def test_a_record_is_read_as_it_was_written_and_revised_with_its_time(tmp_path):
    run = make_run(tmp_path, "r")
    record = run.record()
    assert record.status == "running"
    later = record.revised(clock=lambda: NOON + 60, status="finished", agent_steps=10)
    run.write_record(later)
    assert run.record() == later
    assert (later.updated, later.created) == ("2026-11-23T06:28:48Z", "2026-11-23T06:27:48Z")
    with pytest.raises(ValidationError):
        record.revised(clock=clock, status="great")
    with pytest.raises(ValidationError):
        record.revised(clock=clock, state="finished")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 2}', "[" * 100_000, "x" * (1 << 20) + "x"], ids=range(7)
)
def test_a_damaged_record_is_data_error_that_names_the_file(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        read_record(tmp_path / "run.json")


def test_text_that_steers_a_terminal_is_no_record(tmp_path):
    with pytest.raises(ValidationError):
        make_run(tmp_path, "r", strategy="\x1b[2J")


def test_runs_are_listed_newest_first_and_a_damaged_one_hides_none(tmp_path):
    make_run(tmp_path, "old", seconds=-60, status="finished")
    make_run(tmp_path, "new", status="interrupted", checkpoints=(5, 9))
    RunDirectory.create(tmp_path / "torn").record_path.write_text("{")
    (tmp_path / "odd name").mkdir()
    (tmp_path / "odd name" / "run.json").write_text("{}")
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    runs = list_runs(tmp_path)
    assert [(run.path.name, run.status) for run in runs[:2]] == [("new", "interrupted"), ("old", "finished")]
    assert {run.path.name: run.status for run in runs[2:]} == {"torn": "damaged", "odd name": "damaged"}
    assert all(run.reason for run in runs[2:])
    assert runs[0].checkpoints == (5, 9)


def test_no_runs_directory_is_no_runs(tmp_path):
    assert list_runs(tmp_path / "nowhere") == []


def test_a_running_run_that_nobody_locks_was_killed(tmp_path):
    run = make_run(tmp_path, "r")
    with run.lock(clock=clock):
        assert list_runs(tmp_path)[0].status == "running"
    assert list_runs(tmp_path)[0].status == "killed"
    run.write_record(run.record().revised(clock=clock, status="finished"))
    assert list_runs(tmp_path)[0].status == "finished"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (['{"episode_return_mean": 1.5}', '{"episode_return_mean": null}', '{"episode'], 1.5),
        (['{"episode_return_mean": 1}', '{"episode_return_mean": 2}'], 2.0),
        (['{"x": "' + "y" * 200_000 + '"}', '{"episode_return_mean": 3.0}'], 3.0),
        (["[" * 70_000, "[1]", '"text"', '{"episode_return_mean": "high"}'], None),
    ],
    ids=["none", "torn end", "last", "long file", "junk"],
)
def test_the_last_return_is_read_from_the_end_of_the_telemetry(tmp_path, lines, expected):
    run = make_run(tmp_path, "r")
    run.telemetry_path.write_text("\n".join(lines))
    assert list_runs(tmp_path)[0].last_return == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"best_update": 12, "best_score": -0.25}', (12, -0.25)),
        ('{"best_update": null, "best_score": null}', (None, None)),
        ('{"best_update": NaN, "best_score": "high"}', (None, None)),
        ('{"best_update": 1e400}', (None, None)),
    ],
)
def test_the_best_policy_so_far_is_read_from_the_telemetry(tmp_path, line, expected):
    make_run(tmp_path, "r").telemetry_path.write_text(line + "\n")
    (run,) = list_runs(tmp_path)
    assert (run.best_update, run.best_score) == expected


def test_the_newest_resumable_run_of_this_configuration_is_found(tmp_path):
    make_run(tmp_path, "older", seconds=-9, status="interrupted", checkpoints=(1,))
    make_run(tmp_path, "killed", seconds=-8, checkpoints=(1,))
    make_run(tmp_path, "failed", seconds=-7, status="failed", checkpoints=(1,), config_digest="e")
    make_run(tmp_path, "empty", seconds=-6, status="interrupted")
    make_run(tmp_path, "finished", seconds=-5, status="finished", checkpoints=(1,))
    held = make_run(tmp_path, "held", seconds=-4, checkpoints=(1,))
    RunDirectory.create(tmp_path / "torn").record_path.write_text("{")
    with held.lock(clock=clock):
        assert find_resumable(tmp_path, "d").path.name == "killed"
        assert find_resumable(tmp_path, "e").path.name == "failed"
        with pytest.raises(MissingInputError) as error:
            find_resumable(tmp_path, "f")
    lines = {line.strip().removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()[1:]}
    assert {
        "older: interrupted, another configuration",
        "killed: killed, another configuration",
        "empty: interrupted, has no checkpoint, another configuration",
        "finished: finished, another configuration",
        "held: running, another configuration",
    } < lines
    assert "--run-dir" in str(error.value).splitlines()[0]


def test_with_no_run_at_all_resuming_says_so(tmp_path):
    with pytest.raises(MissingInputError, match="there are no runs at all"):
        find_resumable(tmp_path / "runs", "d")


def test_a_run_is_found_by_its_id_or_its_path_and_the_closest_id_is_offered(tmp_path):
    run = make_run(tmp_path / "runs", "20261123-ppo-ab12")
    assert find_run(run.id, runs_dir=tmp_path / "runs").path == run.path
    assert find_run(str(run.path), runs_dir=tmp_path / "elsewhere").path == run.path
    for name in ("20261123-ppo-ab13", "\0", ""):
        with pytest.raises(MissingInputError, match="there is no run"):
            find_run(name, runs_dir=tmp_path / "runs")
    with pytest.raises(MissingInputError, match="did you mean '20261123-ppo-ab12'"):
        find_run("20261123-ppo-ab13", runs_dir=tmp_path / "runs")


def test_a_record_is_plain_json(tmp_path):
    assert json.loads(make_run(tmp_path, "r").record_path.read_bytes())["environment"] == "gymnasium:CartPole-v1"


def test_what_killed_writes_left_in_a_run_is_removed(tmp_path):
    run = make_run(tmp_path, "r")
    (run.path / ".run.json.1-0.tmp").write_text("torn")
    assert run.clean() == [".run.json.1-0.tmp"]
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


def test_the_steps_of_a_run_that_is_going_or_was_killed_are_those_of_its_telemetry(tmp_path):
    going, ended = make_run(tmp_path, "going", agent_steps=100), make_run(tmp_path, "ended", status="interrupted")
    for run in (going, ended):
        lines = [f'{{"agent_steps": {steps}}}' for steps in (100, 200, 300)]
        run.telemetry_path.write_text("\n".join([*lines, '{"agent_st']))
    with going.lock(clock=clock):
        assert find_run("going", runs_dir=tmp_path).record.agent_steps == 300
    killed = find_run("going", runs_dir=tmp_path)
    assert (killed.status, killed.record.agent_steps) == ("killed", 300)
    assert find_run("ended", runs_dir=tmp_path).record.agent_steps == 0
    going.telemetry_path.write_text("")
    assert find_run("going", runs_dir=tmp_path).record.agent_steps == 100
