"""Killed at any moment, a writer leaves a checkpoint at least as new as the last one that it was told is safe."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.tracking.jsonl import TelemetryLog

NUM_KILLS = 24

# Saves 2 MB checkpoints for ever; each line that it prints is a step that `save` returned for.
WRITER = """
import hashlib, sys
from pathlib import Path
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.tracking.jsonl import TelemetryLog
root = Path(sys.argv[1])
store, log = CheckpointStore(root / "checkpoints"), TelemetryLog(root / "telemetry.jsonl")
loaded = store.load_newest()
step = loaded.step if loaded else 0
log.truncate(int(loaded.files["offset"]) if loaded else 0)
print("ready", flush=True)
while True:
    step += 1
    log.log({"epoch": step, "text": "x" * 5000})
    files = {"weights": hashlib.sha256(b"%d" % step).digest() * 65536, "offset": b"%d" % log.sync()}
    store.save(step, files)
    print(step, flush=True)
"""


def run_until_killed(root, seconds):
    """Return the last step that the writer reported before it was killed."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    reported = writer.communicate(timeout=60)[0].split("\n")[:-1]
    assert writer.returncode == -signal.SIGKILL
    return int(reported[-1]) if reported else 0


def test_a_writer_killed_many_times_loses_nothing_that_was_acknowledged(tmp_path):
    moments = random.Random(0)
    store, acknowledged, leftovers = CheckpointStore(tmp_path / "checkpoints"), 0, 0
    for _ in range(NUM_KILLS):
        acknowledged = max(acknowledged, run_until_killed(tmp_path, moments.uniform(0.0, 0.08)))
        leftovers += any((tmp_path / "checkpoints").glob(".*.tmp"))
        loaded = store.load_newest()
        if loaded is None:
            assert acknowledged == 0
            continue
        assert loaded.step in (acknowledged, acknowledged + 1)
        assert loaded.skipped == ()
        acknowledged = loaded.step
    with TelemetryLog(tmp_path / "telemetry.jsonl") as log:
        log.truncate(int(loaded.files["offset"]))
    lines = (tmp_path / "telemetry.jsonl").read_text().splitlines()
    assert [line.startswith(f'{{"epoch":{step},') for step, line in enumerate(lines, start=1)] == [True] * acknowledged
    assert acknowledged > NUM_KILLS / 2, "the loop makes progress"
    assert leftovers > 0, "some kills land inside a save"


# Forks a child that kills itself at its n-th call of the file system, n = 0, 1, ... until one gets through.
EVERY_CALL = """
import os, signal, sys
from pathlib import Path
from townlet_core.checkpoint.filesystem import FileSystem
from townlet_core.checkpoint.store import CheckpointStore

class Dying(FileSystem):
    def __init__(self, calls):
        self.calls = calls
    def __getattribute__(self, name):
        if not name.startswith("_") and name != "calls":
            self.calls -= 1
            if self.calls < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)

root = Path(sys.argv[1])
CheckpointStore(root, keep_last=1).save(1, {"a": b"1"})
step, number, survived = 1, 0, False
while not survived:
    child = os.fork()
    if child == 0:
        CheckpointStore(root, keep_last=1, filesystem=Dying(number)).save(step + 1, {"a": b"%d" % (step + 1)})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    survived = status == 0
    loaded = CheckpointStore(root).load_newest()
    assert loaded.step in (step, step + 1), loaded
    assert loaded.files == {"a": b"%d" % loaded.step}, loaded
    assert loaded.skipped == (), loaded
    step, number = loaded.step, number + 1
print(step, number)
"""


def test_a_kill_at_every_call_of_a_save_is_recovered_from(tmp_path):
    root = tmp_path / "checkpoints"
    done = subprocess.run([sys.executable, "-c", EVERY_CALL, root], stdout=subprocess.PIPE, check=True, timeout=120)
    step, number = map(int, done.stdout.split())
    assert number > 15
    assert [path.name for path in sorted(root.iterdir())] == [f"{step:012d}", "newest"]
