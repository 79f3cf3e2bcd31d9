"""One writer for each run, by real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from townlet_core.errors import ExitCode, RunLockedError, StorageError
from townlet_core.runs import lock as lock_module
from townlet_core.runs.lock import RunLock, is_locked

HOLDER = """
import subprocess, sys
from pathlib import Path
from townlet_core.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]), clock=lambda: 1795415268.0)
lock.acquire()
child = 0
{more}
print("held", child, flush=True)
sys.stdin.readline()
"""

LOOKER = """
import sys
from pathlib import Path
from townlet_core.runs.lock import is_locked
print("looking", flush=True)
while True:
    is_locked(Path(sys.argv[1]))
"""


@pytest.fixture
def hold(tmp_path):
    """Start processes that hold the lock of `tmp_path`; `more` is code that they run then."""
    started = []

    def start(more=""):
        command = [sys.executable, "-c", HOLDER.format(more=more), str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        held, child = process.stdout.readline().split()
        assert held == "held"
        process.child = int(child)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def make_lock(path):
    return RunLock(path, clock=lambda: 0.0)


def test_a_second_process_is_told_who_holds_the_run_where_and_since_when(tmp_path, hold):
    process = hold()
    with pytest.raises(RunLockedError) as error:
        make_lock(tmp_path).acquire()
    expected = f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}, since 2026-11-23T06:27:48Z"
    assert str(error.value) == expected
    assert error.value.exit_code == ExitCode.LOCKED == 73
    assert is_locked(tmp_path)


def test_kill_9_frees_the_lock(tmp_path, hold):
    process = hold()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert not is_locked(tmp_path)
    with make_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "make_child",
    [
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False).pid",
        "import os, time\nchild = os.fork()\nif child == 0:\n    time.sleep(60)\n    os._exit(0)",
    ],
    ids=["started", "forked"],
)
def test_a_child_does_not_keep_the_lock_of_a_parent_that_was_killed(tmp_path, hold, make_child):
    process = hold(make_child)
    try:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        with make_lock(tmp_path):
            os.kill(process.child, 0)  # still there
    finally:
        os.kill(process.child, signal.SIGKILL)


def test_a_forked_child_that_ends_does_not_free_the_lock_of_its_parent(tmp_path, hold):
    releases = "if child == 0:\n    lock.release()\n    os._exit(0)"
    hold(f"import os\nchild = os.fork()\n{releases}\nos.waitpid(child, 0)")
    assert is_locked(tmp_path)


def test_the_lock_is_free_after_the_block_and_its_file_stays(tmp_path):
    lock = make_lock(tmp_path)
    for _ in range(2):
        with lock:
            assert is_locked(tmp_path)
            with pytest.raises(RunLockedError):
                make_lock(tmp_path).acquire()
            with pytest.raises(RunLockedError):
                lock.acquire()
        assert not is_locked(tmp_path)
    assert (tmp_path / ".lock").exists()
    lock.release()


def test_looking_whether_a_run_is_locked_creates_nothing_and_stops_no_writer(tmp_path):
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    looker = subprocess.Popen([sys.executable, "-c", LOOKER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert looker.stdout.readline() == "looking\n"
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            with make_lock(tmp_path):
                pass
    finally:
        looker.kill()
        looker.communicate(timeout=30)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\xff", "[" * 4096])
def test_an_unreadable_holder_is_still_a_locked_run(tmp_path, text):
    with make_lock(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(RunLockedError, match="in use by another process"):
            make_lock(tmp_path).acquire()


def test_check_notices_that_the_run_directory_was_deleted_or_replaced(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    lock = make_lock(run)
    with pytest.raises(StorageError, match="not locked"):
        lock.check()
    with lock:
        lock.check()
        run.rename(tmp_path / "moved")
        with pytest.raises(StorageError, match="deleted or moved"):
            lock.check()
        run.mkdir()
        (run / ".lock").write_text("")
        with pytest.raises(StorageError, match="replaced"):
            lock.check()
        shutil.rmtree(run)


def test_a_lock_that_is_a_link_or_in_no_directory_is_refused(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="ELOOP"):
        make_lock(tmp_path).acquire()
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(StorageError, match="ENOENT"):
        make_lock(tmp_path / "nowhere").acquire()
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_whose_directory_was_withdrawn_before_it_was_taken_is_refused(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    take = lock_module._locked_after_a_while

    def withdrawn_first(descriptor):
        shutil.rmtree(run)
        run.mkdir()
        (run / ".lock").write_text("")
        return take(descriptor)

    monkeypatch.setattr(lock_module, "_locked_after_a_while", withdrawn_first)
    with pytest.raises(StorageError, match="replaced"):
        make_lock(run).acquire()
    monkeypatch.undo()
    with make_lock(run):
        pass
