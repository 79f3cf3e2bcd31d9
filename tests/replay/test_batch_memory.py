"""Reading a dataset in shuffled order takes the memory of a window, however large the dataset is."""

import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DatasetWriter

MEGABYTE = 1 << 20
NUM_EPISODES = 320

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

READ = """
import json, resource, sys
from pathlib import Path
import townlet_core.replay.dataset as dataset_file
from townlet_core.replay.batches import BatchReader

def status():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}

path, how = Path(sys.argv[1]), sys.argv[2]
if how == "keep pages":
    dataset_file.Shard.forget = lambda *arguments: None
dataset = dataset_file.Dataset(path)
before = status()
limit = before["VmData"] + 64 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if how == "load":
    import numpy
    numpy.concatenate([shard.column("observation") for shard in dataset.shards])
reader = BatchReader(dataset, columns=["observation", "actions"], batch_size=256, window_bytes=16 * 2**20)
rows = sum(len(batch["actions"]) for batch in reader.epoch(0))
grown = {name: size - before[name] for name, size in status().items()}
print(json.dumps({"rows": rows, "peak": grown["VmHWM"], "anon": grown["RssAnon"]}))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A dataset of 320 MB."""
    path = tmp_path_factory.mktemp("large") / "data"
    rng = np.random.default_rng(0)
    rows = MEGABYTE // (64 * 4)
    flags = np.zeros(rows, np.bool_)
    steps = {
        "observation": rng.standard_normal((rows, 64)).astype(np.float32),
        "actions": rng.integers(0, 8, rows),
        "rewards": np.zeros(rows, np.float32),
        "terminations": flags,
        "truncations": flags,
    }
    observation = spaces.Box(-np.inf, np.inf, (64,), np.float32)
    with DatasetWriter(
        path, observation_spaces={"observation": observation}, action_space=spaces.Discrete(8)
    ) as writer:
        for group in range(NUM_EPISODES):
            writer.add(Trajectory(steps=steps, ending="cut", group=group))
    return path


def read(path, how):
    return subprocess.run([sys.executable, "-c", READ, str(path), how], capture_output=True, text=True, check=False)


def test_a_dataset_larger_than_the_memory_that_is_allowed_is_read_whole(large):
    figures = json.loads(read(large, "as it is").stdout)
    assert figures["rows"] == NUM_EPISODES * MEGABYTE // 256
    assert figures["anon"] < 32 * MEGABYTE
    assert figures["peak"] < 48 * MEGABYTE


def test_the_limit_would_not_let_it_be_loaded(large):
    done = read(large, "load")
    assert done.returncode != 0
    assert "MemoryError" in done.stderr


def test_without_the_advice_the_files_stay_resident(large):
    assert json.loads(read(large, "keep pages").stdout)["peak"] > 200 * MEGABYTE
