import numpy as np
import pytest
from datasets import edit_manifest, make_trajectories, make_trajectory, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.errors import DatasetError
from townlet_core.replay.batches import BatchReader

NUM_EPISODES = 40
WINDOWS = [300, 5000, 10**6]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Rows are numbered: row r has the first feature r and the reward -r."""
    trajectories, row = [], 0
    for number in range(NUM_EPISODES):
        trajectory = make_trajectory(1 + number * 7 % 23, content=number, group=number)
        rows = np.arange(row, row + trajectory.num_steps)
        trajectory.steps["observation.features"][:, 0] = rows
        trajectory.steps["rewards"][:] = -rows
        row += trajectory.num_steps
        trajectories.append(trajectory)
    return write_dataset(tmp_path_factory.mktemp("batches") / "data", trajectories, shard_bytes=6000)


def reader(dataset, **options):
    return BatchReader(dataset, **{"columns": ["observation.features", "rewards"], "batch_size": 16, **options})


def rows_of(batches):
    rows = []
    for batch in batches:
        numbers = batch["observation.features"][:, 0].copy()
        np.testing.assert_array_equal(batch["rewards"], -numbers)
        rows.append(numbers.astype(int).tolist())
    return rows


@pytest.mark.parametrize("window_bytes", WINDOWS)
@pytest.mark.parametrize("batch_size", [1, 16, 100])
def test_every_row_comes_once_in_an_epoch(dataset, window_bytes, batch_size):
    batches = rows_of(reader(dataset, window_bytes=window_bytes, batch_size=batch_size, drop_last=False).epoch(3))
    assert sorted(row for batch in batches for row in batch) == list(range(dataset.num_rows))
    assert {len(batch) for batch in batches[:-1]} == {batch_size}


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_without_shuffling_rows_come_as_they_lie(dataset, window_bytes):
    batches = rows_of(reader(dataset, shuffle=False, window_bytes=window_bytes, drop_last=False).epoch(0))
    assert [row for batch in batches for row in batch] == list(range(dataset.num_rows))


@settings(max_examples=30, deadline=None)
@given(wanted=st.lists(st.booleans(), min_size=NUM_EPISODES, max_size=NUM_EPISODES), window=st.sampled_from(WINDOWS))
def test_only_rows_of_wanted_episodes_come(dataset, wanted, window):
    mask = np.array(wanted)
    expected = np.flatnonzero(np.repeat(mask, dataset.episodes.num_steps)).tolist()
    if not expected:
        with pytest.raises(DatasetError, match="0 rows"):
            reader(dataset, episodes=mask, window_bytes=window)
        return
    chosen = reader(dataset, episodes=mask, window_bytes=window, drop_last=False)
    assert sorted(row for batch in rows_of(chosen.epoch(0)) for row in batch) == expected
    assert chosen.num_rows == len(expected)


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_an_epoch_may_begin_at_any_batch(dataset, window_bytes):
    whole = rows_of(reader(dataset, window_bytes=window_bytes).epoch(1))
    assert len(whole) == reader(dataset, window_bytes=window_bytes).num_batches == dataset.num_rows // 16
    for first in range(len(whole) + 1):
        assert rows_of(reader(dataset, window_bytes=window_bytes).epoch(1, first_batch=first)) == whole[first:]


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_epochs_and_seeds_differ_and_are_repeated_exactly(dataset, window_bytes):
    first = reader(dataset, seed=5, window_bytes=window_bytes)
    epochs = [rows_of(first.epoch(number)) for number in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert rows_of(reader(dataset, seed=5, window_bytes=window_bytes).epoch(1)) == epochs[1]
    assert rows_of(reader(dataset, seed=6, window_bytes=window_bytes).epoch(1)) != epochs[1]


def test_small_windows_still_take_blocks_from_everywhere(dataset):
    first = rows_of(reader(dataset, window_bytes=2000, batch_size=32).epoch(0))[0]
    thirds = {3 * row // dataset.num_rows for row in first}
    assert thirds == {0, 1, 2}


def test_a_shuffle_of_one_window_is_uniform(dataset):
    shuffled = reader(dataset, drop_last=False, batch_size=10)
    places = np.zeros(dataset.num_rows)
    epochs = 200
    for number in range(epochs):
        places += np.argsort([row for batch in rows_of(shuffled.epoch(number)) for row in batch])
    middle, spread = (dataset.num_rows - 1) / 2, dataset.num_rows / np.sqrt(12 * epochs)
    assert np.abs(places / epochs - middle).max() < 5 * spread


def test_arrays_are_used_again(dataset):
    seen = {id(batch["rewards"]) for batch in reader(dataset).epoch(0)}
    assert len(seen) == 1


@pytest.mark.parametrize("window_bytes", [300, 1 << 20])
def test_two_epochs_may_be_read_by_turns(dataset, window_bytes):
    both = reader(dataset, batch_size=7, window_bytes=window_bytes)
    alone = [[batch["rewards"].copy() for batch in both.epoch(number)] for number in (0, 1)]
    epochs = both.epoch(0), both.epoch(1)
    for wanted in zip(*alone, strict=True):
        for epoch, rows in zip(epochs, wanted, strict=True):
            np.testing.assert_array_equal(next(epoch)["rewards"], rows)


def test_extra_columns_come_with_their_rows(dataset):
    extra = {"twice": [2.0 * (shard.first_row + np.arange(shard.entry.num_rows)) for shard in dataset.shards]}
    for batch in reader(dataset, extra=extra, window_bytes=3000).epoch(0):
        np.testing.assert_array_equal(batch["twice"], 2 * batch["observation.features"][:, 0])


def test_a_dataset_of_very_many_files_is_not_kept_mapped(dataset, monkeypatch):
    monkeypatch.setattr("townlet_core.replay.batches._MOST_MAPPED", 3)
    assert rows_of(reader(dataset, window_bytes=3000).epoch(0)) == rows_of(reader(dataset, window_bytes=3000).epoch(0))


def test_a_dataset_of_more_files_than_may_be_open_is_read(tmp_path):
    resource = pytest.importorskip("resource")
    many = write_dataset(tmp_path / "d", make_trajectories(30), shard_bytes=1)
    names = list(many.manifest.along("step"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        assert len(many.shards) * len(names) > 128
        batches = BatchReader(many, columns=names, batch_size=10, drop_last=False, window_bytes=3000)
        assert sum(len(batch["actions"]) for batch in batches.epoch(0)) == many.num_rows
        assert sum(trajectory.num_steps for _, trajectory in many.trajectories()) == many.num_rows
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_read_is_said_at_once(dataset):
    with pytest.raises(DatasetError, match=r"no column 'wings'; it has action_mask, actions"):
        reader(dataset, columns=["wings"])
    with pytest.raises(DatasetError, match="fewer than the batch size 5,000"):
        reader(dataset, batch_size=5000)


def _wide(top):
    next(column for column in top["columns"] if column["name"] == "action_mask")["shape"] = [2**31] * 3


@pytest.mark.parametrize("change", [lambda top: top["shards"][0].update(num_rows=2**53), _wide])
def test_no_memory_is_taken_for_rows_that_are_not_there(tmp_path, change):
    dataset = edit_manifest(write_dataset(tmp_path / "data"), change)
    with pytest.raises(DatasetError, match="bytes in all are expected"):
        BatchReader(dataset, columns=["actions", "action_mask"], batch_size=2)
