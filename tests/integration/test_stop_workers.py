"""A signal to all processes of a job, as a scheduler sends it: the run ends in an orderly way and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKERS = ("--set", "environment.vectorization=workers", "--set", "environment.num_workers=2")
LONG = ("--set", "strategies.ppo.total_steps=1000000")


def group_members(group: int) -> list[int]:
    """Return the processes of a group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member_of = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(member_of) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def start(townlet, *arguments):
    """Start the program as the leader of a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "townlet_core", "train", *arguments],
        cwd=townlet.directory,
        env=townlet.environ(torch=True),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_until(process, ready) -> None:
    limit = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the processes of a group in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_ends_a_run_with_workers_in_order_and_leaves_no_process(townlet, small, number):
    run = townlet.directory / "run"
    process = start(townlet, *small, *WORKERS, *LONG, "--run-dir", "run")
    log = run / "telemetry.jsonl"
    wait_until(process, lambda: log.exists() and log.stat().st_size > 0)
    assert len(group_members(process.pid)) >= 3
    os.killpg(process.pid, number)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 75, stderr
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert list((run / "checkpoints").glob("0*"))
    limit = time.monotonic() + 2
    while group_members(process.pid):
        assert time.monotonic() < limit, "a process is left over"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the processes of a group in /proc")
def test_a_signal_to_the_whole_group_while_workers_start_is_an_orderly_stop_too(townlet, small):
    process = start(townlet, *small, *WORKERS, *LONG, "--run-dir", "run")
    wait_until(process, lambda: len(group_members(process.pid)) >= 3)
    os.killpg(process.pid, signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 75, stderr
    limit = time.monotonic() + 2
    while group_members(process.pid):
        assert time.monotonic() < limit, "a process is left over"
        time.sleep(0.02)
