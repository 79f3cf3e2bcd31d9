"""Summary, validation and curation take the memory of a block or a shard, not that of the dataset."""

import tracemalloc

import numpy as np
import pytest
from datasets import HASTY
from gymnasium import spaces

from townlet_core.replay.curate import curate
from townlet_core.replay.curation_plan import Curation
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.summary import summarise
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.validate import validate
from townlet_core.replay.writer import DatasetWriter

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of 24 MB in 24 shards; what is mapped is no allocation."""
    path = tmp_path_factory.mktemp("memory") / "d"
    rng = np.random.default_rng(0)
    box = spaces.Box(-np.inf, np.inf, (256,), np.float32)
    rows = MEGABYTE // 1024
    flags = np.zeros(rows, np.bool_)
    with DatasetWriter(
        path,
        observation_spaces={"observation": box},
        action_space=spaces.Discrete(4),
        shard_bytes=MEGABYTE,
        filesystem=HASTY,
    ) as writer:
        for group in range(24):
            steps = {
                "observation": rng.standard_normal((rows, 256)).astype(np.float32),
                "actions": rng.integers(0, 4, rows),
                "rewards": rng.standard_normal(rows).astype(np.float32),
                "terminations": flags,
                "truncations": flags,
            }
            writer.add(Trajectory(steps=steps, ending="cut", group=group))
    found = Dataset(path)
    assert (len(found.shards), found.num_bytes // MEGABYTE) == (24, 24)
    return found


def peak(work):
    work()  # what is imported and cached the first time does not count
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("look", [summarise, validate])
def test_looking_at_a_dataset_takes_the_memory_of_a_few_blocks(dataset, look):
    # The sample of a summary is 4 MB here: 4096 rows of 256 features, and once more while it is put together.
    assert peak(lambda: look(Dataset(dataset.path))) < 14 * MEGABYTE


def test_curating_a_dataset_takes_the_memory_of_a_few_shards(dataset, tmp_path):
    places = iter(range(10))

    def work():
        out = tmp_path / str(next(places))
        curate([Dataset(dataset.path)], out, curation=Curation(), shard_bytes=MEGABYTE, filesystem=HASTY)

    assert peak(work) < 10 * MEGABYTE


@pytest.mark.parametrize("look", [summarise, validate, lambda dataset: list(dataset.trajectories())])
def test_no_file_stays_mapped(dataset, look):
    looked_at = Dataset(dataset.path)
    look(looked_at)
    assert not any(shard._maps for shard in looked_at.shards)
