"""What becomes of a run directory, whatever ends the run: in processes, on files, with signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest

from townlet_core import TrainingOrchestrator
from townlet_core.config.document import read_document
from townlet_core.config.dump import experiment_digest, experiment_of, to_yaml
from townlet_core.config.load import load_config
from townlet_core.errors import ConfigError, RunWarning, TownletWarning, UsageError
from townlet_core.orchestrator.session import _run_warnings
from townlet_core.policy.artefact import load_artefact
from townlet_core.runs.layout import RunDirectory
from townlet_core.runs.status import MOST_WARNINGS, RunRecord
from townlet_core.tracking.console import SilentConsole

TWO_STAGES = """
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_strategies():
    return [StrategyEntry(name="twice", strategy=f"{__package__}.parts:Twice", settings=f"{__package__}.parts:Settings",
                          result="townlet_core.dto.base:TrainingResultBase")]
"""
TWO_STAGES_PARTS = """
from townlet_core.config.base import Settings as Base
from townlet_core.context import AnnealContext

class Settings(Base):
    pass

class Twice:
    def run(self, context, **options):
        small = {"total_steps": 100, "num_steps": 16, "num_epochs": 1}
        context.stages.run("ppo", small, anneal_context=AnnealContext(cycle=4, stage="ppo", dataset="none"))
        context.stages.run("ppo", {**small, "lerning_rate": 1e-3})
"""


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", [".git", ".notes.tmp"])
def test_a_refused_run_leaves_a_directory_of_the_user_as_it_was(townlet, name):
    project = townlet.directory / "project"
    (project / name).mkdir(parents=True)
    (project / name / "HEAD").write_text("mine")
    done = townlet("train", "--env", "gymnasium:CartPole-v9", "--run-dir", "project")
    assert done.returncode == 64
    assert "is not empty and is not a run" in done.stderr
    assert tree(project) == {f"{name}/HEAD": b"mine"}


def test_an_empty_directory_of_the_user_outlives_a_refused_run(townlet):
    (townlet.directory / "mine").mkdir()
    done = townlet("train", "--env", "gymnasium:CartPole-v9999", "--run-dir", "mine")
    assert done.returncode == 78
    assert "CartPole-v" in done.stderr
    assert list((townlet.directory / "mine").iterdir()) == []


def test_stages_that_were_trained_outlive_a_wrong_option_of_the_next(tmp_path, shelf):
    package = shelf.install("townlet-twice", TWO_STAGES)
    (shelf.path / package / "parts.py").write_text(TWO_STAGES_PARTS)
    sets = ["environment.name=gymnasium:CartPole-v1", "training.strategy=twice", "tracking.progress=off"]
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"did you mean 'strategies\.ppo\.learning_rate'"):
        TrainingOrchestrator(load_config(None, sets=sets).config, run_dir=run.path).run()
    assert run.record().status == "failed"
    load_artefact(run.path / "stages" / "001-ppo" / "policy")
    first = json.loads((run.path / "stages" / "001-ppo" / "telemetry.jsonl").read_text().splitlines()[0])
    assert (first["anneal_cycle"], first["anneal_stage"]) == (4, "ppo")


def stop_early(townlet, *arguments, ready):
    """Kill a run as soon as `ready` says so; return its directory."""
    process = townlet.start("train", *arguments, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    townlet.stop_when(process, lambda: ready(townlet.directory / "run"), signal.SIGKILL)
    return townlet.directory / "run"


@pytest.fixture
def artefact(townlet, small):
    """A policy of a network that is not the default one, in `a/policy`."""
    wide = ("--set", "strategies.ppo.hidden=[8]", "--set", "strategies.ppo.total_steps=300")
    done = townlet("train", *small, *wide, "--run-dir", "a")
    assert done.returncode == 0, done.stderr
    return load_artefact(townlet.directory / "a" / "policy")


def test_a_killed_run_that_began_from_a_policy_goes_on_with_its_network(townlet, small, artefact):
    run = stop_early(townlet, *small, "--from", "a/policy", ready=lambda run: (run / "checkpoints" / "newest").exists())
    process = townlet.start("train", "--resume", "--run-dir", "run")
    lines = len((run / "telemetry.jsonl").read_text().splitlines())

    def has_gone_on():
        return len((run / "telemetry.jsonl").read_text().splitlines()) > lines + 3

    stderr = townlet.stop_when(process, has_gone_on, signal.SIGTERM)
    assert process.returncode == 75, stderr
    newest = RunDirectory(run).checkpoints().load_newest()
    assert json.loads(newest.files["spec.json"])["actor_hidden"] == [8]
    epochs = [json.loads(line)["epoch"] for line in (run / "telemetry.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))


def test_a_run_from_a_policy_that_was_killed_before_any_checkpoint_asks_for_the_policy(townlet, small, artefact):
    run = stop_early(townlet, *small, "--from", "a/policy", ready=lambda run: (run / "run.json").exists())
    if (run / "checkpoints").exists():  # it was faster than the kill
        shutil.rmtree(run / "checkpoints")
    asked = townlet("train", "--resume", "--run-dir", "run")
    assert asked.returncode == 66
    assert artefact.digest[:12] in asked.stderr
    assert "--from" in asked.stderr
    short = ("--run-dir", "other", "--set", "strategies.ppo.total_steps=300")
    assert townlet("train", *small, *short).returncode == 0
    refused = townlet("train", "--resume", "--run-dir", "other", "--from", "a/policy")
    assert refused.returncode == 78
    assert "was begun from no policy" in refused.stderr


def test_settings_of_another_network_than_the_policys_are_listed_and_leave_no_run(townlet, small, artefact):
    done = townlet("train", *small, "--run-dir", "b", "--from", "a/policy", "--set", "strategies.ppo.activation=relu")
    assert done.returncode == 78
    assert "activation: 'relu' is set, and the policy has 'tanh'" in done.stderr
    assert not (townlet.directory / "b").exists()


def test_a_reader_of_the_progress_that_leaves_does_not_end_the_run(townlet, small):
    arguments = (*small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=10000")
    command = [sys.executable, "-m", "townlet_core", "train", *arguments]
    process = subprocess.Popen(
        command,
        cwd=townlet.directory,
        env=townlet.environ(torch=True),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr.readline()
    process.stderr.close()
    process.wait(timeout=120)
    record = RunDirectory(townlet.directory / "run").record()
    assert (record.status, record.message) == ("finished", "")
    assert process.returncode == 0


def test_a_run_that_is_going_shows_the_steps_that_it_has_made(townlet, small):
    process = townlet.start("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    log = townlet.directory / "run" / "telemetry.jsonl"

    def shows_steps():
        if not (log.exists() and log.stat().st_size):
            return False
        shown = json.loads(townlet("runs", "show", "run", "--json").stdout)
        assert (shown["status"], shown["agent_steps"] > 0) == ("running", True)
        return True

    townlet.stop_when(process, shows_steps, signal.SIGKILL)
    shown = json.loads(townlet("runs", "show", "run", "--json").stdout)
    assert shown["status"] == "killed"
    assert shown["agent_steps"] == json.loads(log.read_text().splitlines()[-1])["agent_steps"] > 0


def test_a_stopped_run_says_how_to_go_on_from_its_newest_checkpoint_or_that_there_is_none(townlet, small, tmp_path):
    arguments = (*small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    process = townlet.start("train", *arguments)
    log = townlet.directory / "run" / "telemetry.jsonl"
    stderr = townlet.stop_when(process, lambda: log.exists() and log.stat().st_size > 0, signal.SIGTERM)
    assert (townlet.directory / "run" / "checkpoints" / "newest").exists()
    assert "; go on from the newest checkpoint with: townlet train --resume --run-dir run" in stderr
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\ndef make():\n    os.kill(os.getpid(), 15)\n    os.kill(os.getpid(), 15)\n"
    )
    environ = {**townlet.environ(torch=True), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "townlet_core", "train", "--env", "python:slow:make", "--run-dir", "none"]
    done = subprocess.run(command, cwd=townlet.directory, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert "no checkpoint was kept; begin again with: townlet train --resume --run-dir none" in done.stderr


def test_what_changes_no_result_may_change_when_a_run_is_resumed_and_what_does_is_named(townlet, small, monkeypatch):
    sets = ("--set", "strategies.ppo.total_steps=300", "--set", "strategies.ppo.gamma=0.9")
    done = townlet("train", *small, "--run-dir", "run", *sets)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("TOWNLET_SET__TRACKING__PROGRESS", "plain")
    again = townlet("train", "--resume", "--run-dir", "run", "--set", "training.runs_dir=elsewhere")
    assert again.returncode == 0, again.stderr
    new = ("--set", "strategies.ppo.gamma=0.5", "--set", "environment.max_episode_steps=9")
    other = townlet("train", "--resume", "--run-dir", "run", "--seed", "7", *new)
    assert other.returncode == 78
    changes = [line.strip() for line in other.stderr.splitlines() if " then, " in line]
    assert changes == [
        "environment.max_episode_steps: null then, 9 now",
        "strategies.ppo.gamma: 0.9 then, 0.5 now",
        "training.seed: 0 then, 7 now",
    ]


@pytest.fixture
def interrupted(tmp_path):
    """A run that has finished, and its configuration; `changed` makes an interrupted one of it, begun elsewhere."""
    sets = ["environment.name=gymnasium:CartPole-v1", "tracking.progress=off", "strategies.ppo.num_steps=16"]
    config = load_config(None, sets=[*sets, "strategies.ppo.total_steps=300", "training.device=cpu"]).config
    TrainingOrchestrator(config, run_dir=tmp_path / "run").run()
    run = RunDirectory.open(tmp_path / "run")

    def changed(**fields):
        record = run.record()
        run.write_record(record.model_copy(update={"status": "interrupted", **fields}))
        return record

    def resume(**fields):
        TrainingOrchestrator(config, run_dir=run.path, resume=True, **fields).run()
        return run.record()

    return changed, resume


def as_an_earlier_version_wrote_it(run, *missing):
    """Take settings of PPO out of a run's configuration, and the digest with them."""
    values = read_document(run.config_path).values
    for name in missing:
        del values["strategies"]["ppo"][name]
    run.config_path.write_text(to_yaml(values))
    return experiment_digest(experiment_of(values))


def test_a_run_that_was_begun_before_a_setting_came_goes_on_with_its_default(interrupted, tmp_path):
    changed, resume = interrupted
    changed(config_digest=as_an_earlier_version_wrote_it(RunDirectory(tmp_path / "run"), "target_kl", "blend_share"))
    assert resume().status == "finished"


@pytest.mark.parametrize("what", ["another value now", "a changed file"])
def test_a_setting_that_came_later_and_has_another_value_is_a_difference(interrupted, tmp_path, what):
    changed, resume = interrupted
    run = RunDirectory(tmp_path / "run")
    changed(config_digest=as_an_earlier_version_wrote_it(run, "num_steps" if what == "another value now" else "gamma"))
    if what == "a changed file":
        run.config_path.write_text(run.config_path.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(ConfigError, match="absent then" if what == "another value now" else "seed: 1 then, 0 now"):
        resume()


def test_a_resume_with_other_versions_says_which(interrupted):
    changed, resume = interrupted
    record = changed()
    changed(versions={**record.versions, "numpy": "1.0.0"})
    numpy = rf"numpy 1\.0\.0 then, {record.versions['numpy']} now$"
    with pytest.warns(TownletWarning, match=f"goes on with other versions: {numpy}"):
        again = resume()
    assert again.versions == record.versions
    (warning,) = again.warnings
    assert re.search(rf"^\S+Z goes on with other versions: {numpy}", warning)


def test_a_resume_on_another_machine_is_told_and_stays_in_the_record(interrupted, townlet):
    changed, resume = interrupted
    record = changed()
    assert record.machine.keys() == {"processor", "architecture", "blas", "device"}
    assert re.fullmatch(r"cpu, \w+ kernels", record.machine["device"])
    assert resume().warnings == ()
    changed(machine={**record.machine, "processor": "Z80", "device": "cuda, H100"})
    device = re.escape(record.machine["device"])
    with pytest.warns(
        TownletWarning, match=f"on another machine: processor Z80 then.*device cuda, H100 then, {device} now"
    ):
        again = resume()
    assert again.machine == record.machine
    changed(warnings=again.warnings)
    assert resume().warnings == again.warnings, "the machine is now the one that is recorded, and what was told is kept"
    shown = townlet("runs", "show", "run").stdout
    assert re.search(r"^warnings +\S+Z goes on on another machine: processor Z80 then", shown, re.MULTILINE)
    assert re.search(rf"^machine +processor .*, device {device}$", shown, re.MULTILINE)


def test_a_damaged_checkpoint_that_a_resume_passes_over_stays_in_the_record(interrupted, tmp_path):
    changed, resume = interrupted
    changed()
    newest = RunDirectory.open(tmp_path / "run").checkpoints().load_newest()
    (newest.path / "state.json").write_bytes(b"torn")
    told, seen = "a newer checkpoint was skipped: .*state.json", []

    class Looking(SilentConsole):
        def log(self, record):
            seen.append(RunDirectory.open(tmp_path / "run").record())

    with pytest.warns(RunWarning, match=told):
        again = resume(console=Looking(sys.stderr))
    (warning,) = again.warnings
    assert re.search(rf"^\S+Z {told}", warning)
    assert (seen[0].status, seen[0].warnings) == ("running", again.warnings), "a kill does not lose it"


def test_what_an_earlier_run_of_the_process_was_told_is_told_of_the_next_one_too():
    kept = []
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # Python's own: a text is shown once for each line of code
        warnings.showwarning = lambda *_about, **_more: None
        for _ in range(2):
            with _run_warnings(kept.append):
                warnings.warn("new episodes begin", RunWarning, stacklevel=1)
    assert kept == ["new episodes begin"] * 2


def test_only_the_newest_warnings_are_kept_and_older_records_know_no_machine(interrupted):
    changed, resume = interrupted
    record = changed()
    changed(machine={}, warnings=tuple(f"old {number}" for number in range(MOST_WARNINGS)))
    again = resume()
    assert (again.machine, again.warnings[0]) == (record.machine, "old 0")
    changed(versions={"numpy": "1.0.0"}, warnings=again.warnings)
    with pytest.warns(TownletWarning, match="other versions"):
        last = resume()
    assert (len(last.warnings), last.warnings[0]) == (MOST_WARNINGS, "old 1")
    assert "numpy 1.0.0 then" in last.warnings[-1]


def test_a_record_of_an_earlier_version_is_read(interrupted):
    changed, _ = interrupted
    fields = changed().model_dump(mode="json")
    del fields["machine"], fields["warnings"]
    record = RunRecord.model_validate_json(json.dumps(fields))
    assert (record.machine, record.warnings) == ({}, ())


def test_a_run_whose_directory_is_taken_away_ends_with_code_74_and_does_not_make_it_again(townlet, small):
    run = townlet.directory / "run"
    process = townlet.start("train", *small, "--run-dir", "run", "--set", "strategies.ppo.total_steps=1000000")
    log, away = run / "telemetry.jsonl", townlet.directory / "away"
    limit = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < limit
        time.sleep(0.005)
    run.rename(away)  # in one step; what is deleted file by file may be written to meanwhile
    shutil.rmtree(away)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 74, stderr
    assert "run" in stderr
    assert "Traceback" not in stderr
    assert not run.exists()


def test_a_run_that_finished_between_the_making_and_the_lock_is_left_alone(tmp_path, monkeypatch):
    sets = ["environment.name=gymnasium:CartPole-v1", "tracking.progress=off", "strategies.ppo.total_steps=300"]
    config = load_config(None, sets=sets).config
    lock = RunDirectory.lock

    def after_another_run(run, *, clock):
        monkeypatch.undo()
        TrainingOrchestrator(config, run_dir=run.path).run()
        return lock(run, clock=clock)

    monkeypatch.setattr(RunDirectory, "lock", after_another_run)
    with pytest.raises(UsageError, match="is a run already"):
        TrainingOrchestrator(config, run_dir=tmp_path / "run").run()
    assert RunDirectory(tmp_path / "run").record().status == "finished"
    load_artefact(tmp_path / "run" / "policy")
