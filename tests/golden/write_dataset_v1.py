"""Wrote `dataset_v1`: a dataset of schema version 1 as the first release wrote it. Not to be run again.

When the schema changes, a script and a directory of their own are added for the new version, and this one stays: what
was recorded once has to stay readable.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from datasets import SCRIPT, SPACES, make_events, make_trajectories

from townlet_core.replay.schema import Parent
from townlet_core.replay.writer import DatasetWriter

PARENT = Parent(path="earlier", digest="0123456789abcdef" * 4, operation="curate", options={"min_length": 5})


def write(path: Path) -> None:
    """Write the dataset: six episodes in two shards, with everything that the schema has."""
    source = SCRIPT.model_copy(
        update={
            "environment_config": {"name": "town", "scenario": "quiet"},
            "scenario_digest": "ab" * 32,
            "deterministic": True,
        }
    )
    with DatasetWriter(path, **{**SPACES, "sources": [source]}, parents=[PARENT], shard_bytes=1000) as writer:
        writer.add_events(make_events())
        for index, trajectory in enumerate(make_trajectories()):
            fields = {
                "tags": ("rain",) if index == 1 else (),
                "split": "test" if trajectory.group == 2 else "train",
                "accepted": index != 3,
                "metadata": {"note": "first", "numbers": [1, 2.5, None]} if index == 0 else {},
                "life": index % 2,
                "start_step": 3 * (index % 2),
            }
            writer.add(type(trajectory)(**{name: getattr(trajectory, name) for name in trajectory.__slots__} | fields))


if __name__ == "__main__":
    np.seterr(all="raise")
    write(Path(__file__).parent / "dataset_v1")
