"""What a run learns from has only categories that exist: others would be shown to the network as nothing at all."""

import numpy as np
import pytest
from datasets import make_trajectory, write_dataset
from gymnasium import spaces

from townlet_core.errors import DatasetError
from townlet_core.services.run_dataset import open_run_dataset

SPACES = {
    "day": spaces.Discrete(7),
    "mood": spaces.MultiDiscrete([2, 3]),
    "observation": spaces.Box(-1, 1, (1,), np.float32),
}


def written(path, days, moods=((0, 2), (1, 0)), *, accepted=True, final=6):
    """Write episodes of two steps, of which the second has these days and moods."""
    episodes = []
    for number in range(3):
        episode = make_trajectory(2, content=number, accepted=accepted or number != 1)
        steps = {name: column for name, column in episode.steps.items() if not name.startswith("observation.")}
        steps["day"] = np.array(days if number == 1 else [0, 6], np.int64)
        steps["mood"] = np.array(moods if number == 1 else [[0, 0], [1, 2]], np.int64)
        steps["observation"] = np.full((2, 1), 5, np.float32)  # outside of its bounds, and no category
        last = {"day": np.int64(final), "mood": np.zeros(2, np.int64), "observation": np.zeros(1, np.float32)}
        kept = {"bootstrap_values": episode.final["bootstrap_values"]}
        kept |= {f"final.{name}": value for name, value in last.items()}
        episodes.append(type(episode)(steps=steps, final=kept, ending="terminated", accepted=episode.accepted))
    return write_dataset(path, episodes, observation_spaces=SPACES, feature_names={}, shard_bytes=1).path


def test_categories_that_exist_are_taken(tmp_path):
    open_run_dataset(written(tmp_path / "data", [0, 6]), None)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"days": [0, 7]}, r"column 'day', row 1 of shard-000001, in episode 1: it is 7, allowed is 0 to 6"),
        ({"days": [-1, 0]}, r"column 'day', row 0 of .*: it is -1, allowed is 0 to 6"),
        ({"days": [0, 0], "moods": [[0, 2], [1, 3]]}, r"column 'mood', row 1 .*: entry \[1\] is 3, allowed is 0 to 2"),
        ({"days": [0, 0], "final": 9}, r"column 'final\.day', row 0 of shard-000000, in episode 0: it is 9"),
    ],
)
def test_a_category_that_does_not_exist_is_told_of_by_dataset_column_and_row(tmp_path, wrong, told):
    path = written(tmp_path / "data", **wrong)
    with pytest.raises(DatasetError, match=rf"{path}: {told}"):
        open_run_dataset(path, None)


def test_episodes_that_a_curator_has_rejected_are_not_learned_from_and_not_looked_at(tmp_path):
    open_run_dataset(written(tmp_path / "data", [0, 7], accepted=False), None)
