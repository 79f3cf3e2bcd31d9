"""When the system refuses to write, one error names the path and the cause, and the old contents stay."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import storage_error
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import ExitCode, StorageError
from townlet_core.tracking.jsonl import TelemetryLog

LIMITED = """
import json, resource, sys
from pathlib import Path
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import StorageError
from townlet_core.tracking.jsonl import TelemetryLog
root = Path(sys.argv[1])
store, log = CheckpointStore(root / "checkpoints"), TelemetryLog(root / "telemetry.jsonl")
store.save(1, {"weights": b"x" * 1000})
log.log({"epoch": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
said = []
for attempt in (lambda: store.save(2, {"weights": b"x" * 100000}), lambda: log.log({"epoch": 2, "text": "x" * 30000})):
    try:
        attempt()
    except StorageError as error:
        said.append([str(error), error.exit_code])
log.log({"epoch": 3})
store.save(3, {"weights": b"x" * 2000})
print(json.dumps(said))
"""


def test_a_file_size_limit_stops_the_save_and_the_line_and_nothing_else(tmp_path):
    """Real EFBIG, after a short write, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, check=True, timeout=60)
    (saved, save_code), (logged, log_code) = json.loads(done.stdout)
    assert str(tmp_path / "checkpoints" / "000000000002") in saved
    assert str(tmp_path / "telemetry.jsonl") in logged
    assert "EFBIG" in saved
    assert "EFBIG" in logged
    assert save_code == log_code == ExitCode.IO
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "000000000001",
        "000000000003",
        "newest",
    ]
    assert CheckpointStore(tmp_path / "checkpoints").load_newest().step == 3
    assert [json.loads(line) for line in (tmp_path / "telemetry.jsonl").read_text().splitlines()] == [
        {"epoch": 1},
        {"epoch": 3},
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_with_what_helps(recorder, monkeypatch):
    """Real ENOSPC: the file that is written to is /dev/full."""
    write_file(recorder.root / "run.json", b"old")

    def create_full(self, path):
        descriptor = os.open("/dev/full", os.O_WRONLY)
        self.paths[descriptor] = "full"
        return descriptor

    monkeypatch.setattr(type(recorder), "create", create_full)
    with pytest.raises(
        StorageError, match=r"cannot write .*run.json: No space left on device \[ENOSPC\] \(.*free some space"
    ):
        write_file(recorder.root / "run.json", b"new", filesystem=recorder)
    assert (recorder.root / "run.json").read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["make_directory", "create", "write", "sync", "rename", "sync_directory"])
def test_whatever_is_refused_the_old_checkpoint_is_found_and_no_temporary_is_left(recorder, call, code):
    root = recorder.root / "checkpoints"
    CheckpointStore(root).save(1, {"a": b"1"})
    for number in range(recorder_calls_of_a_save(root, call)):
        recorder.refuse, recorder.counts = {(call, number): code}, {}
        with pytest.raises(StorageError, match=errno.errorcode[code]) as error:
            CheckpointStore(root, filesystem=recorder).save(2, {"a": b"2"})
        assert str(root) in str(error.value)
        loaded = CheckpointStore(root).load_newest()
        assert loaded.files == {"a": b"%d" % loaded.step}
        assert loaded.skipped == ()
        assert not list(root.glob(".*"))
        shutil.rmtree(root / "000000000002", ignore_errors=True)
    recorder.refuse = {}
    CheckpointStore(root, filesystem=recorder).save(2, {"a": b"2"})
    assert CheckpointStore(root).load_newest().step == 2


def recorder_calls_of_a_save(root, call):
    return {"make_directory": 1, "create": 3, "write": 3, "sync": 3, "rename": 2, "sync_directory": 3}[call]


AS_NOBODY = """
import os, sys
from pathlib import Path
from townlet_core.checkpoint.atomic import write_file
from townlet_core.errors import StorageError
if os.geteuid() == 0:  # root may write anywhere
    os.setuid(65534)
try:
    write_file(Path(sys.argv[1]) / "file", b"")
except StorageError as error:
    print(error)
"""


def test_a_directory_without_write_permission_is_named():
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        command = [sys.executable, "-c", AS_NOBODY, directory]
        said = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    assert said.startswith(f"cannot write {directory}/file: Permission denied [EACCES] (check the owner")


def test_a_run_directory_that_is_deleted_stays_deleted(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    store, log = CheckpointStore(run / "checkpoints"), TelemetryLog(run / "telemetry.jsonl")
    store.save(1, {})
    log.log({"epoch": 1})
    shutil.rmtree(run)
    for attempt in (
        lambda: store.save(2, {}),
        lambda: log.log({"epoch": 2}),
        log.sync,
        lambda: write_file(run / "run.json", b""),
        lambda: CheckpointStore(run / "checkpoints").save(3, {}),
        lambda: TelemetryLog(run / "telemetry.jsonl"),
    ):
        with pytest.raises(StorageError, match=r"ENOENT.*does not exist, and is not made here"):
            attempt()
    assert not run.exists()


def test_a_file_that_is_missing_in_a_directory_that_is_there_is_not_blamed_on_the_directory(tmp_path):
    said = [
        str(storage_error("read", path, FileNotFoundError(errno.ENOENT, "No such file")))
        for path in (tmp_path / "file", tmp_path / "none" / "file", "file")
    ]
    assert ["directory" in text for text in said] == [False, True, False]


def test_a_checkpoints_directory_that_is_deleted_while_the_run_goes_on_stays_deleted(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {})
    shutil.rmtree(store.root)
    with pytest.raises(StorageError, match="ENOENT"):
        store.save(2, {})
    assert not store.root.exists()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "outside").write_bytes(b"theirs")
    (tmp_path / "run.json").symlink_to(tmp_path / "outside")
    write_file(tmp_path / "run.json", b"ours")
    assert (tmp_path / "outside").read_bytes() == b"theirs"
    assert (tmp_path / "run.json").read_bytes() == b"ours"


def test_nothing_that_is_kept_is_refused_by_a_step_out_of_range(tmp_path):
    for step in (-1, 10**12):
        with pytest.raises(ValueError, match="step is"):
            CheckpointStore(tmp_path / "checkpoints").save(step, {})
    with pytest.raises(ValueError, match="keep_last is 0"):
        CheckpointStore(tmp_path / "checkpoints", keep_last=0)
