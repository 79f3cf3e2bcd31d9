"""The page that describes the format leaves nothing out, and its example reads a dataset without Townlet."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import make_trajectory, write_dataset

from townlet_core.checkpoint.manifest import MANIFEST_NAME
from townlet_core.replay.columns import EVENT_COLUMNS
from townlet_core.replay.dataset import ENDINGS, Dataset
from townlet_core.replay.schema import DatasetManifest, EpisodeEntry, Parent, ShardEntry, Source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "dataset-format.md").read_text(encoding="utf-8")
GOLDEN = ROOT / "tests" / "golden" / "dataset_v1"


@pytest.mark.parametrize("record", [DatasetManifest, EpisodeEntry, Parent, ShardEntry, Source])
def test_every_field_is_described(record):
    for name in record.model_fields:
        assert f"`{name}`" in PAGE, name


def test_every_column_is_described():
    trajectory = make_trajectory(1)
    names = [*trajectory.steps, *EVENT_COLUMNS, "bootstrap_values", "final.<observation>"]
    for name in names:
        assert f"`{name}`" in PAGE or name.startswith("observation."), name
    for ending in ENDINGS:
        assert f"`{ending}`" in PAGE


@pytest.mark.parametrize("name", ["golden", "written"])
def test_the_example_reads_a_dataset_without_townlet(tmp_path, name):
    if name == "golden":
        shutil.copytree(GOLDEN, tmp_path / "demonstrations")
    else:
        write_dataset(tmp_path / "demonstrations")
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert "townlet" not in example
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True
    )
    returns = Dataset(tmp_path / "demonstrations").episodes.episode_return
    assert done.stdout == f"{len(returns)} episodes, mean return {returns.mean():.3f}\n"


def test_a_column_file_begins_as_the_page_says():
    dataset = Dataset(GOLDEN)
    for shard in dataset.shards:
        rows = shard.entry.num_rows
        data = (shard.path / "observation.features.npy").read_bytes()
        assert data[:8] == bytes.fromhex("93 4e 55 4d 50 59 01 00")
        length = int.from_bytes(data[8:10], "little")
        text = data[10 : 10 + length].decode()
        assert text.rstrip() == f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 3), }}"
        assert (10 + length) % 64 == 0
        assert text.endswith("\n")
        assert len(data) == 10 + length + rows * 3 * 4
        assert (shard.path / MANIFEST_NAME).is_file()
