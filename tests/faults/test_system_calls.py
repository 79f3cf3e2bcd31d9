"""What the kernel is asked for, not only what our own file layer says it asked for."""

import re
import shutil
import subprocess
import sys

import pytest

from townlet_core.checkpoint.store import CheckpointStore

SAVE = """
from pathlib import Path
import sys
from townlet_core.checkpoint.store import CheckpointStore
CheckpointStore(Path(sys.argv[1])).save(7, {"weights": b"bytes"})
"""


@pytest.mark.system("strace")
def test_the_kernel_sees_the_data_synced_before_the_rename_and_the_directory_after_it(tmp_path):
    log, root = tmp_path / "log", tmp_path / "checkpoints"
    strace = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-y",
        "-o",
        str(log),
        "-e",
        "trace=fsync,fdatasync,rename,renameat,renameat2",
    ]
    done = subprocess.run(
        [*strace, sys.executable, "-c", SAVE, str(root)], capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    calls = [line for line in log.read_text().splitlines() if str(root) in line]

    weights = first(calls, r"f(data)?sync\(\d+<.*/weights>\) += 0")
    manifest = first(calls, r"f(data)?sync\(\d+<.*/manifest\.json>\) += 0")
    renamed = first(calls, r'rename.*"[^"]*/0*7"')
    parent = renamed + first(calls[renamed:], rf"fsync\(\d+<{re.escape(str(root))}>\) += 0")
    pointer = first(calls, r'rename.*"[^"]*/newest"')
    assert max(weights, manifest) < renamed < parent < pointer


def first(calls: list[str], pattern: str) -> int:
    return next(index for index, line in enumerate(calls) if re.search(pattern, line))


# Names of the same call on different processors; a name that the processor lacks is none of its calls.
# With each, how many of them a save makes at least.
WRITE_CALLS = [
    ("?mkdir,?mkdirat", 1),
    ("write", 3),
    ("fsync", 6),
    ("?rename,?renameat,?renameat2", 3),
    ("?unlink,?unlinkat", 2),
    ("?rmdir", 1),
]
AGAIN = """
from pathlib import Path
import sys
from townlet_core.checkpoint.store import CheckpointStore
step = int(sys.argv[2])
CheckpointStore(Path(sys.argv[1]), keep_last=1).save(step, {"a": b"%d" % step})
"""


@pytest.mark.system("strace")
@pytest.mark.parametrize(("calls", "least"), WRITE_CALLS)
def test_a_kill_at_every_system_call_that_writes_is_recovered_from(tmp_path, calls, least):
    """The kernel kills the process when it makes the n-th of these calls, n = 1, 2, ... until it makes fewer."""
    root, step, kills = tmp_path / "checkpoints", 1, 0
    CheckpointStore(root, keep_last=1).save(step, {"a": b"1"})
    while True:
        inject = f"inject={calls}:signal=KILL:when={kills + 1}"
        strace = ["strace", "-qq", "-o", tmp_path / "log", "-e", f"trace={calls}", "-e", inject]
        done = subprocess.run(
            [*strace, sys.executable, "-c", AGAIN, root, str(step + 1)], capture_output=True, check=False, timeout=60
        )
        loaded = CheckpointStore(root).load_newest()
        assert loaded.step in (step, step + 1)
        assert loaded.files == {"a": b"%d" % loaded.step}
        assert loaded.skipped == ()
        step = loaded.step
        if done.returncode == 0:
            break
        kills += 1
        assert done.returncode in (-9, 137), done.stderr
        assert kills < 30
    assert kills >= least
    assert sorted(path.name for path in root.iterdir()) == [f"{step:012d}", "newest"]


@pytest.mark.system("strace")
def test_a_kill_at_every_system_call_that_makes_a_file_is_recovered_from(tmp_path):
    """Python opens many files before: which calls make ours is found in the trace of a save that nobody kills."""
    root, log = tmp_path / "checkpoints", tmp_path / "log"
    CheckpointStore(root, keep_last=1).save(1, {"a": b"1"})
    trace = ["strace", "-qq", "-o", log, "-e", "trace=?open,?openat"]
    again = [sys.executable, "-c", AGAIN, root]
    shutil.copytree(root, tmp_path / "kept")
    subprocess.run([*trace, *again, "2"], check=True, capture_output=True, timeout=60)
    numbers = [number for number, line in enumerate(log.read_text().splitlines(), start=1) if "O_CREAT" in line]
    assert len(numbers) == 3, "a file, its manifest and the pointer"
    for number in numbers:
        inject = ["-e", f"inject=?open,?openat:signal=KILL:when={number}"]
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "kept", root)
        done = subprocess.run([*trace, *inject, *again, "2"], capture_output=True, check=False, timeout=60)
        assert done.returncode in (-9, 137), done.stderr
        assert "O_CREAT" in log.read_text().splitlines()[-2], "the kill came with that call"
        loaded = CheckpointStore(root).load_newest()
        assert loaded.step == (1 if number < numbers[-1] else 2)
        assert loaded.files == {"a": b"%d" % loaded.step}
        assert loaded.skipped == ()
