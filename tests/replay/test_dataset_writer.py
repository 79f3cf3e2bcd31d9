import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import SPACES, make_events, make_trajectories, make_trajectory, write_dataset
from gymnasium import spaces

from townlet_core.checkpoint.filesystem import FileSystem
from townlet_core.errors import DatasetError, MissingInputError, StorageError, UsageError
from townlet_core.replay import writer as writer_module
from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.replay.schema import Parent, Source
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DatasetWriter

DIRECTORY_OF_TESTS = Path(__file__).parents[1] / "fixtures"


def assert_same(read, written):
    for part in ("steps", "final"):
        got, expected = getattr(read, part), getattr(written, part)
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            assert got[name].dtype == np.asarray(array).dtype
            np.testing.assert_array_equal(got[name], array)
    names = [name for name in Trajectory.__slots__ if name not in ("steps", "final")]
    assert {name: getattr(read, name) for name in names} == {name: getattr(written, name) for name in names}


def test_what_was_written_is_read_back_with_every_field(tmp_path):
    written = make_trajectories(7)
    written[3] = replace(
        written[3], life=2, start_step=9, split="test", accepted=False, tags=("a", "b"), metadata={"x": [1, None, "y"]}
    )
    dataset = write_dataset(tmp_path / "data", written)
    dataset.require_intact()
    assert dataset.num_episodes == 7
    assert dataset.num_rows == sum(trajectory.num_steps for trajectory in written)
    assert len(dataset.shards) > 1
    for (entry, read), trajectory in zip(dataset.trajectories(), written, strict=True):
        assert_same(read, trajectory)
        assert entry == trajectory.entry()


def test_metadata_may_look_like_json(tmp_path):
    metadata = {"text": 'a},{b \u2028 "', "list": [{"a": 1}, {"b": [{}, {}]}]}
    dataset = write_dataset(tmp_path / "data", [make_trajectory(metadata=metadata), make_trajectory(content=1)])
    assert dataset.shards[0].entries()[0].metadata == metadata


def test_columns_can_be_read_by_name(tmp_path):
    dataset = write_dataset(tmp_path / "data")
    _, read = next(dataset.trajectories(columns={"actions"}))
    assert set(read.steps) == {"actions"}


def test_the_manifest_says_what_it_is_told(tmp_path):
    parent = Parent(path="old", digest="0" * 64, operation="curate", options={"min_length": 3})
    manifest = write_dataset(tmp_path / "data", parents=(parent,)).manifest
    assert manifest.complete
    assert manifest.parents == (parent,)
    assert manifest.sources == SPACES["sources"]
    assert manifest.action_names == SPACES["action_names"]
    assert manifest.feature_names == SPACES["feature_names"]
    assert manifest.observation_spaces == SPACES["observation_spaces"]
    assert manifest.action_space == SPACES["action_space"]


def test_equal_recordings_give_equal_bytes_wherever_they_lie(tmp_path):
    one, other = (write_dataset(tmp_path / name, events=make_events()) for name in ("one", "other"))
    assert one.digest == other.digest
    assert tree(one.path) == tree(other.path)


def tree(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_another_number_gives_another_digest(tmp_path):
    trajectories = make_trajectories()
    one = write_dataset(tmp_path / "one", trajectories)
    trajectories[-1].steps["values"][-1] += 1
    assert write_dataset(tmp_path / "other", trajectories).digest != one.digest


@pytest.mark.parametrize("shard_bytes", [1, 700, 10**9])
def test_the_episodes_do_not_depend_on_the_size_of_shards(tmp_path, shard_bytes):
    dataset = write_dataset(tmp_path / "data", shard_bytes=shard_bytes)
    assert [entry for entry, _ in dataset.trajectories()] == [t.entry() for t in make_trajectories()]


def test_appending_goes_on_where_the_writer_stopped(tmp_path):
    trajectories = make_trajectories(9)
    write_dataset(tmp_path / "data", trajectories[:4])
    with DatasetWriter.append(tmp_path / "data", shard_bytes=1000) as writer:
        assert writer.num_episodes == 4
        writer.extend(trajectories[4:])
    dataset = Dataset(tmp_path / "data")
    dataset.require_intact()
    assert [entry for entry, _ in dataset.trajectories()] == [t.entry() for t in trajectories]
    assert dataset.manifest.complete


def test_appending_deletes_what_a_killed_writer_left(tmp_path):
    dataset = write_dataset(tmp_path / "data")
    for name in ("shard-000077", ".shard-000078.123-0.tmp"):
        (dataset.path / name).mkdir()
        (dataset.path / name / "actions.npy").write_bytes(b"half")
    DatasetWriter.append(dataset.path).close()
    assert {child.name for child in dataset.path.iterdir()} == {
        "dataset.json",
        *(shard.entry.name for shard in dataset.shards),
    }


def test_appending_to_nothing_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"no dataset\.json"):
        DatasetWriter.append(tmp_path)


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        DatasetWriter(tmp_path, **SPACES)


def test_without_an_episode_there_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="no episode"), DatasetWriter(tmp_path / "data", **SPACES):
        pass


def test_after_an_error_what_was_finished_is_a_dataset(tmp_path):
    def five_and_a_fault():
        yield from make_trajectories(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), DatasetWriter(tmp_path / "data", **SPACES) as writer:
        writer.extend(five_and_a_fault())
    dataset = Dataset(tmp_path / "data")
    dataset.require_intact()
    assert dataset.num_episodes == 5
    assert not dataset.manifest.complete


def test_an_error_before_the_first_episode_leaves_no_dataset(tmp_path):
    with pytest.raises(ZeroDivisionError), DatasetWriter(tmp_path / "data", **SPACES):
        raise ZeroDivisionError
    assert not is_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"log_probs": None}, "lacks the column 'log_probs'"),
        ({"extra": np.zeros(5)}, "has the column 'extra'"),
        ({"rewards": np.zeros(5, np.float64)}, r"'rewards' is <f8\(\) here, and <f4\(\) before"),
        ({"observation.features": np.zeros((5, 4), np.float32)}, r"<f4\(4,\) here"),
        ({"rewards": np.zeros(3, np.float32)}, "'rewards' has 3 rows, and 'actions' has 5"),
        ({"values": np.zeros(5, object)}, "booleans, integers, float32 and float64"),
    ],
)
def test_an_episode_of_other_columns_is_refused_by_name(tmp_path, change, text):
    writer = DatasetWriter(tmp_path / "data", **SPACES)
    writer.add(make_trajectory())
    trajectory = make_trajectory()
    for name, array in change.items():
        trajectory.steps.pop(name, None)
        if array is not None:
            trajectory.steps[name] = array
    with pytest.raises(DatasetError, match=text):
        writer.add(trajectory)
    assert writer.num_episodes == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"observation_spaces": {"observation.features": spaces.Box(0, 1, (5,), np.float32)}}, r"shape \(3,\)"),
        ({"observation_spaces": {"observation.nose": spaces.Discrete(3)}}, r"no column 'observation\.nose'"),
        ({"action_names": ("one", "two")}, "2 action_names"),
        ({"feature_names": {"observation.features": ("one",)}}, "1 feature_names"),
        ({"action_space": spaces.Box(0, 1, (2,), np.float32), "action_names": ()}, r"'actions' has rows of shape \(\)"),
    ],
)
def test_columns_that_contradict_the_spaces_are_refused_at_once(tmp_path, given, text):
    writer = DatasetWriter(tmp_path / "data", **{**SPACES, **given})
    with pytest.raises(DatasetError, match=text):
        writer.add(make_trajectory())


def test_a_source_that_is_not_there_is_refused(tmp_path):
    writer = DatasetWriter(tmp_path / "data", **SPACES)
    assert writer.add_source(SPACES["sources"][0]) == 0
    assert writer.add_source(Source(kind="import")) == 1
    with pytest.raises(DatasetError, match="source 2"):
        writer.add(make_trajectory(source=2))


def test_names_that_no_file_can_have_get_files_of_their_own(tmp_path):
    keys = ("observation.a/b", "observation.A", "observation.a", "observation.con fuse", "observation.é")
    space = spaces.Box(0, 1, (2,), np.float32)
    trajectory = make_trajectory(rows={"observation.map": None, "final.observation.map": None})
    for number, key in enumerate(keys):
        trajectory.steps[key] = np.full((5, 2), number, np.float32)
    observation_spaces = {"observation.features": SPACES["observation_spaces"]["observation.features"]}
    dataset = write_dataset(
        tmp_path / "data", [trajectory], observation_spaces=observation_spaces | dict.fromkeys(keys, space)
    )
    _, read = next(dataset.trajectories())
    for number, key in enumerate(keys):
        assert read.steps[key][0, 0] == number


def test_events_are_written_with_the_shard_that_follows(tmp_path):
    events = make_events()
    dataset = write_dataset(tmp_path / "data", events=events)
    (read,) = dataset.events()
    for name, column in events.items():
        np.testing.assert_array_equal(read[name], column)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "data")
    before = tree(dataset.path)
    writer = DatasetWriter.append(dataset.path)
    writer.add(make_trajectory(content=50))

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        writer.flush()
    monkeypatch.undo()
    assert tree(dataset.path) == before


class Refusing(FileSystem):
    """Raises `error` the first time that `call` is made of a path that contains `part`."""

    def __init__(self, call, part, error):
        self.call, self.part, self.error = call, part, error

    def _meet(self, call, path):
        if call == self.call and self.part in str(path) and self.error is not None:
            error, self.error = self.error, None
            raise error

    def create(self, path):
        self._meet("create", path)
        return super().create(path)

    def sync_directory(self, path):
        super().sync_directory(path)
        if any(self.part in child.name for child in path.iterdir()):
            self._meet("sync", f"{path}/{self.part}")


def write_two(writer):
    writer.extend([make_trajectory(content=1), make_trajectory(content=2)])
    writer.flush()


@pytest.mark.parametrize(
    ("call", "part", "error", "seen"),
    [
        ("create", ".dataset.json", OSError(errno.ENOSPC, "full"), StorageError),
        ("sync", "dataset.json", OSError(errno.EIO, "broken"), StorageError),
        ("sync", "shard-000000", OSError(errno.EIO, "broken"), StorageError),
        ("sync", "shard-000000", KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_was_refused_once_is_neither_lost_nor_written_twice(tmp_path, call, part, error, seen):
    filesystem = Refusing(call, part, error)
    with pytest.raises(seen), DatasetWriter(tmp_path / "data", **SPACES, filesystem=filesystem) as writer:
        write_two(writer)
    dataset = Dataset(tmp_path / "data")
    dataset.require_intact()
    contents = [entry.content for entry, _ in dataset.trajectories()]
    assert contents == [make_trajectory(content=number).entry().content for number in (1, 2)]


def test_of_two_writers_of_one_dataset_the_second_is_refused_and_nothing_is_damaged(tmp_path):
    path = write_dataset(tmp_path / "data", [make_trajectory(content=0)]).path
    first, second = DatasetWriter.append(path), DatasetWriter.append(path)
    first.add(make_trajectory(content=1))
    first.flush()
    second.add(make_trajectory(content=2))
    with pytest.raises(DatasetError, match="changed by another program meanwhile"):
        second.flush()
    first.add(make_trajectory(content=3))
    first.close()
    Dataset(path).require_intact()
    assert Dataset(path).num_episodes == 3


def test_a_shard_never_takes_the_name_of_another(tmp_path):
    dataset = write_dataset(tmp_path / "data", make_trajectories(3), shard_bytes=1)
    document = json.loads((dataset.path / "dataset.json").read_text())
    del document["shards"][1]
    (dataset.path / "dataset.json").write_text(json.dumps(document))
    with DatasetWriter.append(dataset.path) as writer:
        writer.add(make_trajectory(content=9))
    dataset = Dataset(dataset.path)
    assert [shard.entry.name for shard in dataset.shards] == ["shard-000000", "shard-000002", "shard-000003"]
    dataset.require_intact()


def test_what_is_said_of_episodes_never_grows_past_what_readers_take(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "_ENTRY_BYTES", 10_000)
    told = [make_trajectory(content=number, metadata={"text": "x" * 4000}) for number in range(7)]
    dataset = write_dataset(tmp_path / "data", told, shard_bytes=1 << 30)
    assert [shard.entry.num_episodes for shard in dataset.shards] == [3, 3, 1]


KILLED = """
import os, signal, sys
from pathlib import Path
from datasets import SPACES, make_trajectory
from townlet_core.checkpoint.filesystem import FileSystem
from townlet_core.replay.writer import DatasetWriter

class Deadly(FileSystem):
    left = int(sys.argv[2])
    def _count(self):
        Deadly.left -= 1
        if Deadly.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def create(self, path):
        self._count()
        return super().create(path)
    def write(self, descriptor, data):
        self._count()
        return super().write(descriptor, data)
    def rename(self, source, target):
        self._count()
        return super().rename(source, target)

with DatasetWriter(Path(sys.argv[1]), **SPACES, shard_bytes=1, filesystem=Deadly()) as writer:
    for number in range(3):
        writer.add(make_trajectory(content=number))
        print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("calls", [0, 5, 27, 28, 29, 30, 31, 40, 57, 59, 61, 80, 88, 91])
def test_killed_at_any_call_what_was_finished_is_a_dataset(tmp_path, calls):
    environ = os.environ | {"PYTHONPATH": str(DIRECTORY_OF_TESTS)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(calls)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    finished = len(done.stdout.split())
    if done.returncode == 0 or finished == 0:
        assert done.returncode == -9
        if is_dataset(tmp_path / "data"):
            Dataset(tmp_path / "data").require_intact()
        return
    dataset = Dataset(tmp_path / "data")
    dataset.require_intact()
    assert finished <= dataset.num_episodes <= finished + 1
    with DatasetWriter.append(tmp_path / "data") as writer:
        writer.add(make_trajectory(content=9))
    Dataset(tmp_path / "data").require_intact()


def test_a_shard_ends_where_a_world_episode_ends(tmp_path):
    dataset = write_dataset(tmp_path / "data", make_trajectories(10), shard_bytes=300)
    assert len(dataset.shards) == 5
    shards = [{entry.group for entry in shard.entries()} for shard in dataset.shards]
    assert sum(map(len, shards)) == len(set.union(*shards)), "none is in two of them"


def test_a_world_episode_that_is_larger_than_memory_is_written_in_parts(tmp_path):
    writer = DatasetWriter(tmp_path / "data", **SPACES, shard_bytes=300)
    for number in range(11):
        writer.add(make_trajectory(content=number))
        assert writer.num_episodes - sum(s.num_episodes for s in writer._shards) <= 5
    assert len(writer._shards) > 1


def test_events_are_written_with_their_own_world_episode(tmp_path):
    with DatasetWriter(tmp_path / "data", **SPACES, shard_bytes=300) as writer:
        for group in range(4):
            writer.add_events(make_events((group,)))
            writer.extend(make_trajectories(2, group=group))
    dataset = Dataset(tmp_path / "data")
    for shard, events in zip(dataset.shards, dataset.events(), strict=True):
        assert set(events["event.group"].tolist()) == {entry.group for entry in shard.entries()}
