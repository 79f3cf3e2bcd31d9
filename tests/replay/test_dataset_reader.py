import numpy as np
import pytest
from datasets import edit_file, edit_manifest, make_trajectories, write_dataset

from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.column_file import npy_header
from townlet_core.replay.dataset import ENDINGS, Dataset


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data", shard_bytes=600)


def test_files_are_read_by_numpy_alone(dataset):
    read = np.concatenate([np.load(shard.path / "rewards.npy", allow_pickle=False) for shard in dataset.shards])
    np.testing.assert_array_equal(read, np.concatenate([t.steps["rewards"] for t in make_trajectories()]))


@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (12345, 2, 3), (10**9, 7)])
def test_the_header_is_the_one_of_numpy(tmp_path, shape):
    empty = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="<f4", shape=(max(1, shape[0] % 50),))
    assert (tmp_path / "x.npy").read_bytes().startswith(npy_header(empty.shape, empty.dtype))
    header = npy_header(shape, np.dtype("<f4"))
    assert len(header) % 64 == 0
    (tmp_path / "y.npy").write_bytes(header)
    with (tmp_path / "y.npy").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype("<f4"))


def test_columns_are_views_that_cannot_be_written(dataset):
    column = dataset.shards[0].column("rewards")
    assert not column.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1


def test_the_table_of_episodes_agrees_with_the_entries(dataset):
    entries = [entry for entry, _ in dataset.trajectories()]
    table = dataset.episodes
    assert table.num_steps.tolist() == [entry.num_steps for entry in entries]
    assert table.first_row.tolist() == np.cumsum([0, *table.num_steps[:-1]]).tolist()
    assert [ENDINGS[code] for code in table.ending] == [entry.ending for entry in entries]
    assert table.episode_return.tolist() == [entry.episode_return for entry in entries]
    for name in ("group", "agent", "life", "source", "accepted", "split"):
        assert getattr(table, name).tolist() == [getattr(entry, name) for entry in entries]
    firsts = [shard.first_row for shard in dataset.shards]
    assert [firsts[shard] <= row for shard, row in zip(table.shard, table.first_row, strict=True)] == [True] * 6


def test_every_flipped_byte_of_a_column_is_found(dataset):
    path = dataset.shards[1].path / "values.npy"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(DatasetError, match=r"values\.npy is damaged"):
            Dataset(dataset.path).require_intact()
    path.write_bytes(good)
    Dataset(dataset.path).require_intact()


def test_all_damaged_files_are_named_at_once(dataset):
    for shard, name in ((0, "values.npy"), (2, "actions.npy")):
        (dataset.shards[shard].path / name).write_bytes(b"x")
    (dataset.shards[1].path / "rewards.npy").unlink()
    problems = list(Dataset(dataset.path).verify())
    assert [problem.rpartition("shard-")[2][:17] for problem in problems] == [
        "000000/values.npy",
        "000001/rewards.np",
        "000002/actions.np",
    ]


def test_progress_ends_with_all_bytes(dataset):
    seen = []
    dataset.require_intact(lambda done, total: seen.append((done, total)))
    assert seen[-1] == (dataset.num_bytes, dataset.num_bytes)


def test_a_column_of_another_length_is_not_mapped(dataset):
    edited = edit_file(dataset, "rewards.npy", lambda data: data + bytes(4))
    with pytest.raises(DatasetError, match=r"rewards\.npy is damaged: its header"):
        edited.shards[0].column("rewards")


@pytest.mark.parametrize("size", [0, 3, 20_000])
def test_a_column_much_shorter_or_longer_is_not_mapped(dataset, size):
    edited = edit_file(dataset, "rewards.npy", lambda data: bytes(size))
    with pytest.raises(DatasetError, match=rf"rewards\.npy has {size} bytes"):
        edited.shards[0].column("rewards")


def test_a_header_that_lies_is_not_believed(dataset):
    edited = edit_file(dataset, "rewards.npy", lambda data: data.replace(b"'<f4'", b"'<i4'"))
    with pytest.raises(DatasetError, match="header does not say <f4"):
        edited.shards[0].column("rewards")


def test_a_manifest_of_another_shard_is_not_taken(dataset):
    (dataset.shards[0].path / "manifest.json").write_bytes((dataset.shards[1].path / "manifest.json").read_bytes())
    with pytest.raises(DatasetError, match=r"does not match the SHA-256|do not match the SHA-256"):
        Dataset(dataset.path).shards[0].entries()


def test_counts_that_lie_are_found(dataset):
    def lie(document):
        document["shards"][0]["num_rows"] += 1

    edited = edit_manifest(dataset, lie)
    with pytest.raises(DatasetError, match=r"says .* of"):
        edited.shards[0].entries()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["columns"].append(d["columns"][0]), "two columns"),
        (lambda d: d["shards"].append(d["shards"][0]), "two shards"),
        (lambda d: d["columns"][0].update(file="../../x.npy"), "not a plain file name"),
        (lambda d: d["columns"][0].update(dtype="|O"), "dtype"),
        (lambda d: d["shards"][0].update(name="../shard-000000"), "name"),
        (lambda d: d["shards"][0].update(num_rows=-1), "num_rows"),
        (lambda d: d.update(shards=[]), "no shard"),
        (lambda d: d["action"].update(n=0), "action: not a space"),
        (lambda d: d["observations"]["observation.map"].update(shape=[-1]), "observation: not a space"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused_by_field(dataset, change, text):
    with pytest.raises(DatasetError, match=text) as error:
        _ = edit_manifest(dataset, change).manifest.action_space
    assert str(dataset.path) in str(error.value)


def test_a_directory_without_a_dataset_says_so(tmp_path):
    with pytest.raises(MissingInputError, match=r"has no dataset\.json"):
        Dataset(tmp_path)
    with pytest.raises(MissingInputError, match="does not exist"):
        Dataset(tmp_path / "nowhere")


def test_what_is_forgotten_or_unmapped_can_still_be_read(dataset):
    shard = dataset.shards[0]
    column = shard.column("observation.features")
    before = column.copy()
    shard.forget("observation.features")
    shard.announce("observation.features", 0, 2)
    np.testing.assert_array_equal(column, before)
    dataset.unmap()
    np.testing.assert_array_equal(column, before)
    np.testing.assert_array_equal(shard.column("observation.features"), before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(complet=True), "unknown field 'complet'; did you mean 'complete'?"),
        (lambda document: document["sources"][0].update(colour=1), "sources.0: unknown field 'colour'"),
        (lambda document: document.pop("columns"), "the field 'columns' is missing"),
        (lambda document: document.update(complete=3), "complete: Input should be a valid boolean"),
    ],
)
def test_a_field_that_is_wrong_is_named_in_plain_words(tmp_path, change, said):
    dataset = write_dataset(tmp_path / "d")
    with pytest.raises(DatasetError) as error:
        edit_manifest(dataset, change)
    assert f"dataset.json: {said}" in str(error.value)
