import json
import subprocess
import sys

import hostile_legacy
import hostile_native
import pytest

# Reads every hostile file in one process, which says how much memory that took and what ended otherwise. The files are
# written by another one, whose memory does not count.
MOST_MEGABYTES = 32
READER = """
import json, sys
from pathlib import Path

import hostile_legacy, hostile_native
from townlet_core.errors import DatasetError, MissingInputError


def megabytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(field))


grown, otherwise = {}, []
for name, room, path in json.load(sys.stdin):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = megabytes("VmRSS")
    try:
        {"native": hostile_native, "legacy": hostile_legacy}[room].read_all(Path(path))
        otherwise.append([name, "nothing raised"])
    except (DatasetError, MissingInputError) as error:
        if "MemoryError" in str(error):
            otherwise.append([name, str(error)])
    except BaseException as error:
        otherwise.append([name, repr(error)])
    grown[name] = megabytes("VmHWM") - before
print(json.dumps({"otherwise": otherwise, "grown": grown}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_no_hostile_file_takes_much_memory(tmp_path):
    files = []
    for room, corpus in (("native", hostile_native), ("legacy", hostile_legacy)):
        for name, case in corpus.CORPUS.items():
            root = tmp_path / str(len(files)) / "root"
            root.mkdir(parents=True)
            files.append((f"{room}: {name}", room, str(case.write(root))))
    assert len(files) >= 300
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{READER}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=json.dumps(files), capture_output=True, text=True, check=True, timeout=100)
    told = json.loads(done.stdout)
    assert told["otherwise"] == []
    assert {name: grown for name, grown in told["grown"].items() if grown > MOST_MEGABYTES} == {}
