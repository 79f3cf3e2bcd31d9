"""Whole runs in the town whose process, disk or clock fails: what is lost is made again, to the byte.

A third of the moments is tried unless `make faults` asks for all of them.
"""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path

import pytest
from run_outcome import differences, outcome

from townlet_core.checkpoint.filesystem import FileSystem
from townlet_core.config.load import load_config
from townlet_core.errors import ExitCode, StorageError
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.plugins.registry import Registry

pytest.importorskip("torch", reason="PPO trains with torch")

SCENARIO = Path(__file__).parents[1] / "fixtures" / "scenarios" / "short_day.yaml"
SETS = [
    f"environment.scenario={SCENARIO}",
    "environment.num_worlds=2",
    "environment.max_episode_steps=7",
    "training.device=cpu",
    "training.checkpoint_every=1",
    "training.keep_checkpoints=1",
    "training.evaluate_every=2",
    "training.evaluate_episodes=2",
    "tracking.progress=off",
    "strategies.ppo={num_steps: 5, num_epochs: 1, num_minibatches: 1, hidden: [4], total_steps: 50}",
]
CONFIG = load_config(None, sets=SETS).config
REGISTRY = Registry.discover(os.environ)
STRIDE = 3 if int(os.environ.get("TOWNLET_KILLS", "40")) <= 40 else 1
CALLS = [name for name in vars(FileSystem) if not name.startswith("_")]


def train(path, **fields):
    """Begin a run, or go on with it where there is one."""
    resume = (path / "run.json").exists()
    return TrainingOrchestrator(CONFIG, registry=REGISTRY, run_dir=path, resume=resume, **fields).run()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    result = train(path)
    found = outcome(path)
    assert found["record"]["agent_steps"] == result.agent_steps >= 50
    return found


@pytest.fixture
def before_each_call(monkeypatch):
    """Return a function that has another one called before each call of the file system.

    It is given the number of the call from 0, its name and its arguments.
    """

    def watch(action):
        count = iter(range(10**9))

        def watched(call):
            def called(self, *arguments):
                action(next(count), call.__name__, *arguments)
                return call(self, *arguments)

            return called

        for name in CALLS:
            monkeypatch.setattr(FileSystem, name, watched(getattr(FileSystem, name)))

    return watch


class Killed(BaseException):
    """Stands for SIGKILL: whatever cleans up on its way finds that no call works any more."""


@pytest.fixture
def num_calls(tmp_path, monkeypatch, before_each_call):
    """How many calls of the file system a run makes."""
    numbers = []
    before_each_call(lambda number, *_: numbers.append(number))
    train(tmp_path / "counted")
    monkeypatch.undo()
    return len(numbers)


def test_a_run_that_is_killed_at_any_call_of_the_file_system_ends_with_the_same_bytes(
    tmp_path, monkeypatch, before_each_call, num_calls, uninterrupted
):
    differing = {}
    for last in range(0, num_calls, STRIDE):
        path = tmp_path / f"run-{last}"

        def die(number, *_, last=last):
            if number >= last:
                raise Killed

        before_each_call(die)
        with pytest.raises(Killed):
            train(path)
        monkeypatch.undo()
        train(path)
        found = differences(outcome(path), uninterrupted)
        if found:
            differing[last] = found
    assert differing == {}
    assert num_calls > 80


def test_a_run_whose_disk_is_full_from_any_write_on_ends_with_code_74_and_then_with_the_same_bytes(
    tmp_path, monkeypatch, before_each_call, num_calls, uninterrupted
):
    ended = 0
    for first in range(0, num_calls, STRIDE):
        path = tmp_path / f"run-{first}"
        refused = []

        def refuse(number, call, *_, first=first, refused=refused):
            if number >= first and call in ("create", "write", "make_directory"):
                refused.append(number)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        before_each_call(refuse)
        told = None
        try:
            train(path)
        except StorageError as error:
            told = error
        monkeypatch.undo()
        assert (told is not None) == bool(refused), "what the system refuses is told"
        if told:
            assert told.exit_code == ExitCode.IO
            assert "No space left on device [ENOSPC] (the disk is full: free some space)" in str(told)
            ended += 1
        train(path)
        assert differences(outcome(path), uninterrupted) == []
    assert ended > num_calls // 4


def test_a_run_that_meets_a_limit_on_file_sizes_ends_with_code_74_and_then_with_the_same_bytes(tmp_path, uninterrupted):
    """Real EFBIG: the kernel cuts a file at its middle. SIGXFSZ, which it sends too, is ignored by Python."""
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    train(tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("config.yaml", "run.json", "telemetry.jsonl", "result.json", "state.safetensors"):
        path = tmp_path / name
        size = max(file.stat().st_size for file in (tmp_path / "whole").rglob(name))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
        try:
            with pytest.raises(StorageError, match=r"EFBIG\] \(a limit on file sizes is in force") as error:
                train(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert error.value.exit_code == ExitCode.IO
        assert str(path) in str(error.value)
        train(path)
        assert differences(outcome(path), uninterrupted) == []


class JumpingClock:
    """A clock of a machine that is set back and forth, and put to sleep."""

    def __init__(self):
        self.day = random.Random(0)
        self.awake = 0.0
        self.read = 0

    def now(self):
        self.read += 1
        return 1.8e9 + self.day.choice([-1, 0, 1]) * 86_400 + self.read

    def monotonic(self):
        self.awake += self.day.choice([0.0, 0.01, 86_400.0])
        return self.awake


def test_a_clock_that_jumps_by_a_day_changes_nothing_but_what_measures_time(tmp_path, uninterrupted):
    clock = JumpingClock()
    train(tmp_path / "run", clock=clock)
    assert differences(outcome(tmp_path / "run"), uninterrupted) == []
    assert clock.read >= 3
    records = [json.loads(line) for line in (tmp_path / "run" / "telemetry.jsonl").read_text().splitlines()]
    for record in [*records, json.loads((tmp_path / "run" / "result.json").read_text())]:
        assert all(record[name] >= 0 for name in ("epoch_duration_sec", "steps_per_sec"))


def test_a_run_that_was_killed_before_it_had_a_record_can_be_begun_again_where_it_stood(tmp_path, uninterrupted):
    path = tmp_path / "run"
    path.mkdir()
    for name in (".lock", "config.yaml", ".run.json.77-0.tmp", ".config.yaml.77-0.tmp"):
        (path / name).write_text("torn")
    train(path)
    assert differences(outcome(path), uninterrupted) == []
    assert not list(path.glob("*.tmp"))


def test_the_telemetry_that_a_checkpoint_counts_on_is_on_the_device_before_the_checkpoint(
    tmp_path, monkeypatch, before_each_call
):
    path, on_device, counted_on = tmp_path / "run", [0], []

    def watch(_, call, *arguments):
        log = path / "telemetry.jsonl"
        if call == "sync" and log.exists() and os.path.sameopenfile(arguments[0], opened(log)):
            on_device.append(log.stat().st_size)
        elif call == "rename" and arguments[1].parent.name == "checkpoints" and arguments[1].name.isdigit():
            state = json.loads((arguments[0] / "state.json").read_bytes())
            counted_on.append((state["telemetry_offset"], on_device[-1]))

    descriptors = []

    def opened(log):
        descriptors.append(os.open(log, os.O_RDONLY))
        return descriptors[-1]

    before_each_call(watch)
    train(path)
    monkeypatch.undo()
    for descriptor in descriptors:
        os.close(descriptor)
    assert len(counted_on) >= 3
    assert all(needed == synced for needed, synced in counted_on)
    assert counted_on[-1][0] == (path / "telemetry.jsonl").stat().st_size
