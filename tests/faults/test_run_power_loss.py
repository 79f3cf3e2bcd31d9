"""Whole runs that lose power: from what the disk may hold then, they go on to the bytes of an uninterrupted one.

A dozen of the states is tried; `make faults` tries 200.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from device_states import Device, put_on_disk, random_state
from run_outcome import differences, outcome

from townlet_core.checkpoint.filesystem import FileSystem
from townlet_core.config.load import load_config
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.plugins.registry import Registry

pytest.importorskip("torch", reason="PPO trains with torch")

CONFIG = load_config(
    None,
    sets=[
        "environment.name=gymnasium:CartPole-v1",
        "environment.num_worlds=2",
        "training.device=cpu",
        "training.checkpoint_every=1",
        "training.keep_checkpoints=1",
        "tracking.progress=off",
        "strategies.ppo={num_steps: 20, num_epochs: 1, num_minibatches: 1, hidden: [4], total_steps: 160}",
    ],
).config
NUM_LOSSES = max(12, int(os.environ.get("TOWNLET_KILLS", "40")) // 2)
LOG = "telemetry.jsonl"


def train(path):
    """Begin a run, or go on with it where there is one."""
    resume = (path / "run.json").exists()
    registry = Registry.discover(os.environ)
    TrainingOrchestrator(CONFIG, registry=registry, run_dir=path, resume=resume).run()
    return outcome(path)


class Recorder:
    """Remembers every call of the file system, and what the telemetry held, since its lines are appended past it.

    Attributes:
        moments: (call, what the telemetry held, how much of that is on the device) after each call.
    """

    def __init__(self, root, patch):
        self.root, self.log = root, root / "run" / LOG
        self.paths, self.log_synced, self.moments = {}, 0, []
        for name in [name for name in vars(FileSystem) if not name.startswith("_")]:
            patch.setattr(FileSystem, name, self.recorded(name, getattr(FileSystem, name)))

    def recorded(self, name, call):
        def called(disk, *arguments):
            result = call(disk, *arguments)
            self.note(name, arguments, result)
            return result

        return called

    def note(self, name, arguments, result):
        held = self.log.read_bytes() if self.log.exists() else None
        shown = tuple(str(one.relative_to(self.root)) if isinstance(one, Path) else one for one in arguments)
        if name == "create":
            self.paths[result] = shown[0]
        elif name == "close":
            del self.paths[arguments[0]]
            return
        elif name == "write":
            shown = self.paths[arguments[0]], bytes(arguments[1][:result])
        elif name == "sync" and arguments[0] not in self.paths:
            self.log_synced = len(held)
            return
        elif name == "sync":
            shown = (self.paths[arguments[0]],)
        self.moments.append(((name, *shown), held, self.log_synced))


def a_state_after(moments, chance):
    """Return what the disk may hold when power is lost after the last of `moments`: a state, and the telemetry."""
    device = Device()
    for call, _, _ in moments:
        device.follow(*call)
    _, held, synced = moments[-1]
    if held is not None:
        held = held[: chance.choice([synced, (synced + len(held)) // 2, len(held)])]
    return random_state(device.root, chance), held


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the moments of a run, and what it came to."""
    root = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        moments = Recorder(root, patch).moments
        return moments, train(root / "run")


def test_a_run_that_lost_power_at_any_moment_ends_with_the_same_bytes(tmp_path, recorded):
    moments, uninterrupted = recorded
    chance, differing, gone_on = random.Random(0), {}, 0
    for number in range(NUM_LOSSES):
        after = chance.randrange(1, len(moments) + 1)
        state, log = a_state_after(moments[:after], chance)
        disk = tmp_path / f"loss-{number}"
        put_on_disk(state, disk)
        if (disk / "run").exists():
            (disk / "run" / ".lock").touch()  # the first name in the directory, made past the file system too
            if log is not None:
                (disk / "run" / LOG).write_bytes(log)
        gone_on += any(disk.glob("run/checkpoints/0*"))
        found = differences(train(disk / "run"), uninterrupted)
        if found:
            differing[f"loss {number}, after call {after} of {len(moments)}"] = found
    assert differing == {}
    assert len(moments) > 100
    assert gone_on > NUM_LOSSES // 2
