"""A dataset that the first release wrote stays readable, and says what it said."""

from pathlib import Path

import numpy as np

from townlet_core.replay.dataset import Dataset
from townlet_core.replay.validate import validate_path

GOLDEN = Path(__file__).parents[1] / "golden" / "dataset_v1"


def test_a_dataset_of_schema_version_1_is_intact_and_has_the_digest_that_it_had():
    assert validate_path(GOLDEN).findings == ()
    assert Dataset(GOLDEN).digest == "3d3e7b47778c002bf9ab818e9d68ec3fa18034a3fe8281c17c1a906c7b7396f5"


def test_its_episodes_are_what_they_were():
    entries, trajectories = zip(*Dataset(GOLDEN).trajectories(), strict=True)
    assert [(e.group, e.seed, e.agent, e.life, e.start_step, e.num_steps, e.ending) for e in entries] == [
        (0, 100, 0, 0, 0, 5, "terminated"),
        (0, 100, 1, 1, 3, 6, "truncated"),
        (1, 101, 0, 0, 0, 7, "cut"),
        (1, 101, 1, 1, 3, 5, "terminated"),
        (2, 102, 0, 0, 0, 6, "truncated"),
        (2, 102, 1, 1, 3, 7, "cut"),
    ]
    assert [e.split for e in entries] == ["train"] * 4 + ["test"] * 2
    assert [e.tags for e in entries] == [(), ("rain",), (), (), (), ()]
    assert [e.accepted for e in entries] == [True, True, True, False, True, True]
    assert entries[0].metadata == {"note": "first", "numbers": [1, 2.5, None]}
    assert entries[5].episode_return == 0.6216116324067116
    last = trajectories[5]
    np.testing.assert_array_equal(last.steps["actions"], [1, 2, 3, 0, 1, 2, 3])
    np.testing.assert_array_equal(
        last.steps["observation.features"][0],
        np.array([0.12489835172891617, -2.0773634910583496, 4.607758045196533], np.float32),
    )
    assert last.steps["observation.map"].shape == (7, 2, 3, 3)
    assert last.steps["observation.map"].sum() == 15203
    assert last.final["bootstrap_values"] == 0.5


def test_its_manifest_is_what_it_was():
    manifest = Dataset(GOLDEN).manifest
    assert (manifest.schema_version, manifest.complete) == (1, True)
    assert manifest.action_names == ("north", "south", "eat", "wait")
    assert manifest.feature_names == {"observation.features": ("hunger", "money", "day")}
    (source,) = manifest.sources
    assert (source.kind, source.environment, source.scenario, source.policy) == ("capture", "town", "quiet", "scripted")
    (parent,) = manifest.parents
    assert (parent.path, parent.operation, parent.options) == ("earlier", "curate", {"min_length": 5})
    (events,) = Dataset(GOLDEN).events()
    assert events["event.group"].tolist() == [0, 1, 2]
    assert events["event.value"].tolist() == [0.5, 0.5, 0.5]
