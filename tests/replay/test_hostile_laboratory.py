"""Whatever a dataset is, validating it ends in findings or one error, and looking at it in one error or a summary."""

import sys

import numpy as np
import pytest
from datasets import edit_episodes, make_trajectory, put, write_dataset
from gymnasium import spaces
from hostile_native import CORPUS

from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.summary import summarise
from townlet_core.replay.validate import validate_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes, devices and links of POSIX")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_dataset_has_an_error_and_crashes_nothing(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    path = CORPUS[name].write(root)
    if CORPUS[name].is_absent:
        with pytest.raises(MissingInputError):
            validate_path(path)
        return
    report = validate_path(path)
    assert report.errors >= 1
    assert all(len(place.detail) < 2000 for finding in report.findings for place in finding.places)
    try:
        summarise(Dataset(path))
    except DatasetError:
        return  # not every damage is seen without comparing digests


HUGE = np.finfo(np.float64).max


def test_numbers_whose_sums_overflow_crash_nothing(tmp_path):
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    big = np.finfo(np.float32).max
    rows = {
        "actions": np.array([[big, -big], [-big, big], [big, big]], np.float32),
        "action_mask": None,
        "rewards": np.array([HUGE, -HUGE, HUGE]),
        "values": np.array([HUGE, HUGE, HUGE]),
    }
    dataset = write_dataset(
        tmp_path / "d",
        [make_trajectory(3, content=content, group=content, rows=rows) for content in range(2)],
        action_space=box,
        action_names=(),
    )
    summary = summarise(dataset)
    assert (summary.rewards.max, summary.rewards.std) == (HUGE, None)
    assert summary.values.mean is None
    assert validate_path(tmp_path / "d").errors == 0


def test_returns_whose_range_overflows_crash_nothing(tmp_path):
    def change(entries):
        entries[0]["episode_return"], entries[1]["episode_return"] = HUGE, -HUGE

    dataset = edit_episodes(write_dataset(tmp_path / "d"), change)
    summary = summarise(dataset)
    assert (summary.returns.min, summary.returns.max) == (-HUGE, HUGE)
    assert {finding.code for finding in validate_path(tmp_path / "d").findings} == {"D303"}


def test_numbers_that_are_not_finite_in_every_column_crash_nothing(tmp_path):
    rows = {name: put(slice(None), np.nan) for name in ("observation.features", "log_probs", "values")}
    rows |= {"final.observation.features": put(slice(None), np.inf), "bootstrap_values": np.float32(np.nan)}
    dataset = write_dataset(tmp_path / "d", [make_trajectory(3, rows=rows, ending="cut")])
    summary = summarise(dataset)
    assert (summary.values.count, summary.values.non_finite, summary.values.histogram) == (0, 3, None)
    assert summary.features[0].mean is None
    assert {"D101", "D201", "D205"} <= {finding.code for finding in validate_path(tmp_path / "d").findings}


@pytest.mark.parametrize("dtype", ["<u8", "<i2", "|u1", "<i4"])
def test_whole_numbers_of_any_type_are_choices(tmp_path, dtype):
    trajectories = [
        make_trajectory(5, content=content, group=content, rows={"actions": lambda actions: actions.astype(dtype)})
        for content in range(2)
    ]
    dataset = write_dataset(tmp_path / "d", trajectories)
    assert validate_path(tmp_path / "d").findings == ()
    assert [share.count for share in summarise(dataset).actions] == [3, 3, 2, 2]


def test_choices_that_are_no_whole_numbers_are_an_error_in_words(tmp_path):
    rows = {"actions": lambda actions: actions.astype(np.float32)}
    dataset = write_dataset(tmp_path / "d", [make_trajectory(5, rows=rows)])
    with pytest.raises(DatasetError, match="'actions' is <f4, and choices are whole numbers"):
        summarise(dataset)
    assert {finding.code for finding in validate_path(tmp_path / "d").findings} == {"D010"}
