import dataclasses
import gc
import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from datasets import SPACES, make_trajectory, write_dataset
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from townlet_core.errors import DatasetError, MissingInputError, UnavailableError, UsageError
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.minari import export_minari, import_minari
from townlet_core.replay.writer import DatasetWriter


@pytest.fixture(autouse=True)
def storage(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "storage"))
    return tmp_path / "storage"


@pytest.fixture
def tree_map_without_jax(monkeypatch):
    # Minari's collector needs one function of JAX, which is a hundred megabytes.
    def tree_map(function, tree, *others):
        if isinstance(tree, dict):
            return {key: tree_map(function, tree[key], *(other[key] for other in others)) for key in tree}
        return function(tree, *others)

    module = types.ModuleType("jax.tree_util")
    module.tree_map = tree_map
    monkeypatch.setitem(sys.modules, "jax", types.ModuleType("jax"))
    sys.modules["jax"].tree_util = module
    monkeypatch.setitem(sys.modules, "jax.tree_util", module)


@pytest.fixture
def cartpole(tree_map_without_jax):
    environment = minari.DataCollector(gymnasium.make("CartPole-v1", max_episode_steps=15), record_infos=True)
    for seed in (3, 2**64 - 1, None, 5):
        environment.reset(seed=None if seed == 2**64 - 1 else seed)
        for step in range(20):
            *_, terminated, truncated, _ = environment.step(step % 2)
            if terminated or truncated:
                break
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like an author, and forgets temporary directories
        dataset = environment.create_dataset("carts/balanced-v0", algorithm_name="alternating")
        environment.close()
        del environment
        gc.collect()
    return dataset


def written(name, episodes, observation_space, action_space):
    with pytest.warns(UserWarning, match="is set to None|env_spec is None"):
        return minari.create_dataset_from_buffers(
            name,
            [EpisodeBuffer(**episode) for episode in episodes],
            observation_space=observation_space,
            action_space=action_space,
        )


def buffer(observations, actions, **fields):
    count = len(actions)
    flags = np.zeros(count, np.bool_)
    return {
        "observations": observations,
        "actions": actions,
        "rewards": np.arange(count, dtype=np.float64),
        "terminations": flags,
        "truncations": flags,
        **fields,
    }


def simple(count=3, **fields):
    return buffer(np.zeros((count + 1, 2), np.float32), np.zeros(count, np.int64), **fields)


BOX, TWO = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)


def episodes_of(dataset):
    return list(dataset.trajectories())


def assert_same_episodes(one, other):
    for left, right in zip(one.iterate_episodes(), other.iterate_episodes(), strict=True):
        assert left.id == right.id
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert (left.infos or {}).keys() == right.infos.keys()
        for name, value in (left.infos or {}).items():
            np.testing.assert_array_equal(value, right.infos[name])


def assert_same_trajectories(one, other):
    for (entry, left), (other_entry, right) in zip(one.trajectories(), other.trajectories(), strict=True):
        assert entry == other_entry
        assert left.steps.keys() == right.steps.keys()
        assert left.final.keys() == right.final.keys()
        for name, column in (*left.steps.items(), *left.final.items()):
            found = right.steps[name] if name in right.steps else right.final[name]
            assert column.dtype == found.dtype, name
            np.testing.assert_array_equal(column, found, err_msg=name)


def test_a_collected_dataset_is_read_step_by_step(cartpole, tmp_path):
    seen = []
    dataset = import_minari("carts/balanced-v0", tmp_path / "native", on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert dataset.manifest.complete
    assert list(dataset.manifest.observations) == ["observation"]
    assert dataset.manifest.action_space == spaces.Discrete(2)
    seeds = [metadata["seed"] for metadata in cartpole.storage.get_episode_metadata(range(4))]
    for episode, (entry, trajectory), seed in zip(
        cartpole.iterate_episodes(), dataset.trajectories(), seeds, strict=True
    ):
        np.testing.assert_array_equal(trajectory.steps["observation"], episode.observations[:-1])
        np.testing.assert_array_equal(trajectory.final["final.observation"], episode.observations[-1])
        np.testing.assert_array_equal(trajectory.steps["actions"], episode.actions)
        np.testing.assert_array_equal(trajectory.steps["rewards"], episode.rewards)
        np.testing.assert_array_equal(trajectory.steps["terminations"], episode.terminations)
        assert trajectory.steps["truncations"][-1] == episode.truncations[-1]
        assert entry.ending == ("terminated" if episode.terminations[-1] else "truncated")
        assert entry.seed == seed
        assert entry.group == episode.id
        assert not {"log_probs", "values", "action_mask"} & trajectory.steps.keys()
        assert entry.metadata["minari"]["attributes"]["rewards_sum"] == episode.rewards.sum()


def test_the_source_says_where_episodes_are_from(cartpole, tmp_path, storage):
    import_minari(storage / "carts" / "balanced-v0", tmp_path / "native")
    (source,) = Dataset(tmp_path / "native").manifest.sources
    assert (source.kind, source.format) == ("import", "minari")
    assert source.path == str(storage / "carts" / "balanced-v0")
    assert source.environment == "gymnasium:CartPole-v1"
    assert source.policy == "alternating"
    assert len(source.sha256) == 64


def test_minari_to_native_and_back_gives_equal_episodes(cartpole, tmp_path, storage):
    dataset = import_minari("carts/balanced-v0", tmp_path / "native")
    path = export_minari(dataset, storage / "carts" / "again-v3", dataset_id="carts/again-v3")
    again = minari.load_dataset("carts/again-v3")
    assert path == storage / "carts" / "again-v3" / "data"
    assert_same_episodes(cartpole, again)
    assert again.observation_space == cartpole.observation_space
    assert again.action_space == cartpole.action_space
    assert (again.total_episodes, again.total_steps) == (cartpole.total_episodes, cartpole.total_steps)
    for before, after in zip(
        cartpole.storage.get_episode_metadata(range(4)), again.storage.get_episode_metadata(range(4)), strict=True
    ):
        assert before == {name: value for name, value in after.items() if name != "townlet"}


def native(path, trajectories):
    with DatasetWriter(path, **{name: value for name, value in SPACES.items() if name != "event_kinds"}) as writer:
        writer.extend(trajectories)
    return Dataset(path)


def test_native_to_minari_and_back_is_the_same_in_every_field(tmp_path):
    trajectories = [
        make_trajectory(5, content=1, group=4, agent=2, life=1, start_step=7, seed=11, split="test", tags=("good",)),
        make_trajectory(1, content=2, ending="truncated", accepted=False, metadata={"note": ["é", 1.5, None]}),
        make_trajectory(3, content=3, ending="cut", metadata={"long": "x" * 100_000}, seed=2**64 - 1),
    ]
    before = native(tmp_path / "one", trajectories)
    export_minari(before, tmp_path / "out")
    after = import_minari(tmp_path / "out", tmp_path / "two")
    assert_same_trajectories(before, after)
    assert after.manifest.observation_spaces == before.manifest.observation_spaces
    assert after.manifest.action_space == before.manifest.action_space


def test_a_relative_path_is_as_good(tmp_path, monkeypatch):
    before = native(tmp_path / "one", [make_trajectory(5)])
    monkeypatch.chdir(tmp_path)
    assert export_minari(before, Path("new/out-v2")) == Path("new/out-v2/data")
    assert minari.MinariDataset("new/out-v2/data").spec.dataset_id == "out-v2"
    assert import_minari("new/out-v2", Path("again")).num_rows == 5


def test_minari_itself_reads_what_was_written(tmp_path):
    before = native(tmp_path / "one", [make_trajectory(5), make_trajectory(2, content=1)])
    dataset = minari.MinariDataset(export_minari(before, tmp_path / "a town's", description="two lives"))
    assert dataset.spec.dataset_id == "a-town-s-v0"
    assert dataset.total_steps == 7
    first = dataset[0]
    assert first.observations["map"].shape == (6, 2, 3, 3)
    np.testing.assert_array_equal(first.infos["log_probs"][:-1], make_trajectory(5).steps["log_probs"])
    assert first.infos["action_mask"].shape == (6, 4)
    assert first.infos["action_mask"][-1].all()
    assert dataset.storage.metadata["algorithm_name"] == "scripted"
    assert dataset.storage.metadata["description"] == "two lives"


def test_nested_spaces_become_leaves_counted_from_zero(tmp_path, storage):
    observation = spaces.Dict(
        {
            "place": spaces.Tuple([spaces.Discrete(5, start=-2), spaces.MultiDiscrete([3, 4])]),
            "eyes": spaces.Dict({"left": spaces.Box(-np.inf, np.inf, (2, 1), np.float64)}),
            "flags": spaces.MultiBinary(3),
        }
    )
    action = spaces.Box(-1, 1, (2, 2), np.float64)
    rng = np.random.default_rng(0)
    left = rng.normal(size=(4, 2, 1))
    observations = {
        "place": (np.array([-2, 0, 1, 2]), np.array([[0, 1], [2, 3], [1, 1], [0, 0]])),
        "eyes": {"left": left},
        "flags": np.eye(4, 3, dtype=np.int8),
    }
    actions = rng.uniform(-1, 1, (3, 2, 2))
    written("nested-v0", [buffer(observations, actions)], observation, action)
    dataset = import_minari("nested-v0", tmp_path / "native")
    ((entry, trajectory),) = episodes_of(dataset)
    assert trajectory.steps["observation.place.0"].tolist() == [0, 2, 3]
    assert trajectory.final["final.observation.place.0"] == 4
    assert trajectory.steps["observation.place.1"].tolist() == [[0, 1], [2, 3], [1, 1]]
    np.testing.assert_array_equal(trajectory.steps["observation.eyes.left"], left[:3].astype(np.float32))
    assert trajectory.steps["observation.flags"].dtype == np.int8
    np.testing.assert_array_equal(trajectory.steps["actions"], actions.reshape(3, 4).astype(np.float32))
    assert entry.ending == "cut"
    export_minari(dataset, tmp_path / "out")
    assert_same_trajectories(dataset, import_minari(tmp_path / "out", tmp_path / "again"))


def test_a_mask_in_the_infos_of_every_episode_becomes_a_column(tmp_path, storage):
    masks = [np.array([[1, 0], [1, 1], [0, 1], [1, 1]], bool), np.array([[0, 1], [1, 0], [1, 1]], bool)]
    episodes = [simple(3, infos={"action_mask": masks[0]}), simple(3, infos={"action_mask": masks[1]})]
    before = written("masked-v0", episodes, BOX, TWO)
    dataset = import_minari("masked-v0", tmp_path / "native")
    (first, one), (_, other) = episodes_of(dataset)
    np.testing.assert_array_equal(one.steps["action_mask"], masks[0][:3])
    np.testing.assert_array_equal(other.steps["action_mask"], masks[1])
    assert "infos" not in first.metadata["minari"]
    export_minari(dataset, tmp_path / "out")
    after = minari.MinariDataset(tmp_path / "out" / "data")
    np.testing.assert_array_equal(after[0].infos["action_mask"], before[0].infos["action_mask"])


def test_a_mask_that_one_episode_lacks_stays_where_it_was(tmp_path):
    written("half-v0", [simple(2, infos={"action_mask": np.ones((3, 2), bool)}), simple(2)], BOX, TWO)
    dataset = import_minari("half-v0", tmp_path / "native")
    (first, one), (second, _) = episodes_of(dataset)
    assert "action_mask" not in one.steps
    assert first.metadata["minari"]["infos"]["action_mask"] == [[True, True]] * 3
    assert second.metadata == {} or "infos" not in second.metadata["minari"]


def test_infos_are_kept_where_json_can_hold_them_and_the_rest_is_named(tmp_path):
    infos = {
        "speed": np.array([1.5, 2.5, 3.5]),
        "deep": {"word": ["a", "ö", "c"], "bad": np.array([np.nan, 1, 2])},
        "long": np.zeros((3, 20_000)),
    }
    before = written("told-v0", [simple(2, infos=infos)], BOX, TWO)
    dataset = import_minari("told-v0", tmp_path / "native")
    kept = dataset.shards[0].entries()[0].metadata["minari"]
    assert kept["infos"] == {"speed": [1.5, 2.5, 3.5], "deep": {"word": ["a", "ö", "c"]}}
    assert sorted(kept["infos_left_out"]) == ["deep/bad", "long"]
    after = minari.MinariDataset(export_minari(dataset, tmp_path / "out"))
    np.testing.assert_array_equal(after[0].infos["speed"], before[0].infos["speed"])
    assert list(after[0].infos["deep"]["word"]) == list(before[0].infos["deep"]["word"])


def test_pictures_that_lie_as_jpeg_are_unpacked(tmp_path):
    space = spaces.Box(0, 255, (32, 40, 3), np.uint8)
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None] * 6, (32, 40, 3))
    before = written("seen-v0", [buffer(np.stack([ramp] * 3), np.zeros(2, np.int64))], space, TWO)
    dataset = import_minari("seen-v0", tmp_path / "native")
    ((_, trajectory),) = episodes_of(dataset)
    np.testing.assert_array_equal(trajectory.steps["observation"], before[0].observations[:-1])
    export_minari(dataset, tmp_path / "out")
    assert_same_episodes(before, minari.MinariDataset(tmp_path / "out" / "data"))


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (spaces.Text(5), TWO, "observation_space: .*Text"),
        (BOX, spaces.MultiBinary(2), "a MultiBinary action space is not supported"),
        (BOX, spaces.Dict({"move": TWO}), "a Dict action space is not supported"),
    ],
)
def test_a_space_that_policies_cannot_have_is_refused_by_name(tmp_path, storage, observation, action, words):
    minari.dataset.minari_storage.MinariStorage.new(_made(storage / "odd-v0") / "data", observation, action)
    with pytest.raises(DatasetError, match=rf"metadata\.json: {words}"):
        import_minari(storage / "odd-v0", tmp_path / "native")


def _made(path):
    path.mkdir(parents=True)
    return path


def test_no_environment_is_built_for_a_dataset_without_spaces(tmp_path, storage):
    written("bare-v0", [simple()], BOX, TWO)
    path = storage / "bare-v0" / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["action_space"]
    metadata["env_spec"] = json.dumps({"id": "Evil-v0", "entry_point": "antigravity:Environment"})
    path.write_text(json.dumps(metadata))
    with pytest.raises(DatasetError, match=r"action_space: .*none is built here"):
        import_minari("bare-v0", tmp_path / "native")
    assert "antigravity" not in sys.modules


def test_a_missing_dataset_is_missing_input(tmp_path):
    for source in (tmp_path / "nowhere", "no/such-v0", str(tmp_path)):
        with pytest.raises(MissingInputError, match="is not a Minari dataset"):
            import_minari(source, tmp_path / "native")


def test_a_dataset_without_final_observations_cannot_be_exported(tmp_path):
    before = native(tmp_path / "one", [dataclasses.replace(make_trajectory(3), final={})])
    with pytest.raises(DatasetError, match=r"one has no column 'final\.observation\.features'"):
        export_minari(before, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path):
    before = native(tmp_path / "one", [make_trajectory(3)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(UsageError, match="out is not empty"):
        export_minari(before, tmp_path / "out")
    with pytest.raises(UsageError, match="'no id' is not the id"):
        export_minari(before, tmp_path / "new", dataset_id="no id")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "out"]


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    before = native(tmp_path / "one", [make_trajectory(3)])
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(UnavailableError, match=r'pip install "townlet-core\[minari\]"'):
        export_minari(before, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "townlet_core.replay.minari.hdf5")
    spec = importlib.util.find_spec("townlet_core.replay.minari.hdf5")
    with pytest.raises(UnavailableError, match=r'pip install "townlet-core\[minari\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def damaged(storage, change):
    written("hurt-v0", [simple(infos={"speed": np.zeros(4)})], BOX, TWO)
    with h5py.File(storage / "hurt-v0" / "data" / "main_data.hdf5", "r+") as file:
        change(file["episode_0"])


def _replace(name, **made):
    def change(episode):
        del episode[name]
        episode.create_dataset(name, **made)

    return change


def _link(name, link):
    def change(episode):
        del episode[name]
        episode[name] = link

    return change


def _virtual(episode):
    del episode["rewards"]
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "secret", (3,))
    episode.create_virtual_dataset("rewards", layout)


def _itself_often(episode):
    for number in range(20):
        episode["infos"][f"again{number}"] = episode["infos"]


def _itself(episode):
    episode["infos"]["again"] = episode["infos"]


DAMAGE = {
    "external link": (_link("rewards", h5py.ExternalLink("/etc/passwd", "/x")), "episode_0/rewards is a link"),
    "soft link": (_link("observations", h5py.SoftLink("/elsewhere")), "episode_0/observations is a link"),
    "values in another file": (
        _replace("rewards", shape=(3,), dtype="u1", external=[("/etc/passwd", 0, 3)]),
        "episode_0/rewards keeps its values in another file",
    ),
    "virtual dataset": (_virtual, "episode_0/rewards keeps its values in another file"),
    "nothing stored": (
        _replace("observations", shape=(4, 10_000_000), dtype="f4", chunks=(1, 1000)),
        "observations claims 160000000 bytes",
    ),
    "more than memory": (
        _replace("observations", shape=(4, 2**40), dtype="f8", chunks=(1, 1000)),
        "has more than 1073741824 bytes",
    ),
    "great pieces": (
        _replace("rewards", shape=(3,), maxshape=(None,), dtype="f8", chunks=(2**28,)),
        "rewards lies in pieces of 2147483648 bytes",
    ),
    "text for numbers": (_replace("rewards", data=["a", "b", "c"]), "rewards is of type object"),
    "records": (_replace("rewards", data=np.zeros(3, [("a", "f4")])), "rewards is of type"),
    "no steps": (_replace("rewards", data=np.zeros(0)), r"rewards has the shape \(0,\)"),
    "other shape": (_replace("observations", data=np.zeros((4, 3), "f4")), r"the shape \(4, 3\)"),
    "no final observation": (_replace("observations", data=np.zeros((3, 2), "f4")), r"the shape \(3, 2\)"),
    "fractions as actions": (_replace("actions", data=np.zeros(3)), "actions is of type float64, and int64"),
    "group for an array": (
        lambda episode: (
            _replace("actions", data=[0])(episode),
            episode.pop("actions"),
            episode.create_group("actions"),
        ),
        "actions is a group",
    ),
    "missing part": (lambda episode: episode.pop("truncations"), "episode_0/truncations is missing"),
    "episode that is none": (lambda episode: episode.parent.pop("episode_0"), "episode_0 is missing"),
    "not ours": (lambda episode: episode.attrs.update({"townlet": "{}"}), "attribute 'townlet'"),
    "contains itself": (_itself, None),
    "contains itself often": (_itself_often, "more than 10000 members"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_hostile_file_gives_one_error_that_names_it(tmp_path, storage, kind):
    change, words = DAMAGE[kind]
    damaged(storage, change)
    if words is None:
        import_minari("hurt-v0", tmp_path / "native")
        return
    with pytest.raises(DatasetError, match=words) as caught:
        import_minari("hurt-v0", tmp_path / "native")
    assert "main_data.hdf5" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path, storage, data):
    written("hurt-v0", [simple()], BOX, TWO)
    (storage / "hurt-v0" / "data" / "main_data.hdf5").write_bytes(data)
    with pytest.raises(DatasetError, match=r"main_data\.hdf5 cannot be read"):
        import_minari("hurt-v0", tmp_path / "native")


def test_any_truncation_of_a_file_is_an_error_or_changes_nothing(tmp_path, storage):
    written("hurt-v0", [simple()], BOX, TWO)
    path = storage / "hurt-v0" / "data" / "main_data.hdf5"
    whole = path.read_bytes()
    before = import_minari("hurt-v0", tmp_path / "whole")
    for number, size in enumerate(range(0, len(whole), len(whole) // 25)):
        path.write_bytes(whole[:size])
        try:
            after = import_minari("hurt-v0", tmp_path / f"{number}")
        except DatasetError:
            continue
        assert_same_trajectories(before, after)


@pytest.mark.parametrize("names", [("a",), tuple("abcde")])
def test_a_wrong_number_of_action_names_is_refused_before_anything_is_made(tmp_path, names):
    export_minari(write_dataset(tmp_path / "d"), tmp_path / "minari")
    with pytest.raises(UsageError, match=rf"--action-names .* gives {len(names)} names for 4 actions"):
        import_minari(tmp_path / "minari", tmp_path / "out", action_names=names)
    assert not (tmp_path / "out").exists()


def test_actions_that_are_no_choices_have_no_names(tmp_path):
    box = spaces.Box(-1, 1, (2,), np.float32)
    rows = {"actions": np.zeros((5, 2), np.float32), "action_mask": None}
    dataset = write_dataset(tmp_path / "d", [make_trajectory(rows=rows)], action_space=box, action_names=())
    export_minari(dataset, tmp_path / "minari")
    with pytest.raises(UsageError, match="which have no names"):
        import_minari(tmp_path / "minari", tmp_path / "out", action_names=["a", "b"])
    assert not (tmp_path / "out").exists()


def test_metadata_that_is_no_json_is_said_in_plain_words(tmp_path):
    export_minari(write_dataset(tmp_path / "d"), tmp_path / "minari")
    path = tmp_path / "minari" / "data" / "metadata.json"
    path.write_text("{")
    with pytest.raises(DatasetError, match=r"metadata\.json: Invalid JSON"):
        import_minari(tmp_path / "minari", tmp_path / "out")
