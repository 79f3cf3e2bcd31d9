"""What the kernel is asked for, not only what our own file layer says it asked for."""

import re
import subprocess
import sys

import pytest

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
