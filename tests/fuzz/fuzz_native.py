"""Fuzzes what reads native datasets: `Dataset`, `validate`, `summary`, batches; mostly with right digests and shapes.

Anything raised but `DatasetError` and `MissingInputError` is a finding, warnings included.
"""

import hashlib
import json
import math
import sys
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "fixtures")]

with atheris.instrument_imports(include=["townlet_core.replay", "townlet_core.spaces", "townlet_core.checkpoint"]):
    from datasets import make_events, make_trajectories, write_dataset
    from fuzzing import Files, fuzz, strictly
    from hostile_native import read_all

    from townlet_core.checkpoint.manifest import MANIFEST_NAME, build_manifest
    from townlet_core.errors import DatasetError, MissingInputError
    from townlet_core.replay import schema
    from townlet_core.replay.batches import BatchReader
    from townlet_core.replay.column_file import npy_header
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.summary import summarise
    from townlet_core.replay.validate import validate_path


def write(root):
    return write_dataset(root / "data", make_trajectories(2, num_steps=2), events=make_events((0,))).path


FILES = Files(write)
PATH = FILES.made
SHARD = PATH / "shard-000000"
TOP, INNER = PATH / "dataset.json", SHARD / MANIFEST_NAME
DTYPES = {name: name for name in schema.DTYPES}
ROWS = {"step": "num_rows", "episode": "num_episodes", "event": "num_events"}
MOST_VALUES = 10_000


def read_batches(path):
    dataset = Dataset(path)
    reader = BatchReader(dataset, columns=sorted(dataset.manifest.along("step")), batch_size=2)
    for batch in reader.epoch(0):
        assert len(batch["actions"]) == 2


READERS = (read_all, validate_path, lambda path: summarise(Dataset(path)), read_batches)
NUM_REPAIRS = 3
NUM_MODES = NUM_REPAIRS * len(READERS)


def one_input(data):
    """Read a dataset some of whose files are the input's; the first byte says how, and what is made right before."""
    reader, repair = divmod(data[0] % NUM_MODES if data else 0, NUM_REPAIRS)
    FILES.put(data[1:])
    if repair == 2:
        make_columns_fit()
    if repair >= 1:
        make_digests_right()
    with suppress(DatasetError, MissingInputError):
        READERS[reader](PATH)


def make_columns_fit():
    """Write the columns anew, as `dataset.json` says that they are, unless the input has them or that is too much."""
    with suppress(ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        document = json.loads(TOP.read_bytes())
        shard = document["shards"][0]
        for column in document["columns"]:
            path, kind = SHARD / column["file"], np.dtype(DTYPES[column["dtype"]])
            shape = (shard[ROWS[column["axis"]]], *column["shape"])
            if path in FILES.paths and path not in FILES.named and 0 <= math.prod(shape) < MOST_VALUES:
                FILES.write(path, npy_header(shape, kind) + bytes(math.prod(shape) * kind.itemsize))


def make_digests_right():
    """Write the shard's manifest anew, unless the input has one, and name it in `dataset.json` where that can be."""
    if INNER not in FILES.named:
        names = [path for path in FILES.paths if path.parent == SHARD and path != INNER]
        FILES.write(INNER, build_manifest({path.name: path.read_bytes() for path in names}))
    inner = INNER.read_bytes()
    with suppress(ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        document = json.loads(TOP.read_bytes())
        document["shards"][0]["sha256"] = hashlib.sha256(inner).hexdigest()
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            document["shards"][0]["num_bytes"] = sum(entry["bytes"] for entry in json.loads(inner)["files"])
        FILES.write(TOP, json.dumps(document).encode())


if __name__ == "__main__":
    strictly()
    fuzz(atheris, "native", FILES, NUM_MODES, one_input)
