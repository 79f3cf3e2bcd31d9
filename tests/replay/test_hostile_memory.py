import json
import subprocess
import sys

import hostile_legacy
import hostile_native
import pytest

# Reads every hostile file in one process, which says how much memory that took and what ended otherwise. The files are
# written by another one, whose memory does not count.
READER = """
import json, resource, sys
from pathlib import Path

import hostile_legacy, hostile_native
from townlet_core.errors import DatasetError, MissingInputError


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


grown, otherwise = {}, []
for name, room, path in json.load(sys.stdin):
    before = peak()
    try:
        {"native": hostile_native, "legacy": hostile_legacy}[room].read_all(Path(path))
        otherwise.append([name, "nothing raised"])
    except (DatasetError, MissingInputError) as error:
        if "MemoryError" in str(error):
            otherwise.append([name, str(error)])
    except BaseException as error:
        otherwise.append([name, repr(error)])
    grown[name] = peak() - before
worst = max(grown, key=grown.get)
print(json.dumps({"otherwise": otherwise, "worst": worst, "megabytes": grown[worst], "all": sum(grown.values())}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes, devices and links of POSIX")
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
    assert told["megabytes"] < 64, told["worst"]
    assert told["all"] < 256
