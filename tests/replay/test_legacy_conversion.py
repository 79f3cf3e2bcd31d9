import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import make_trajectory, write_dataset
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_files import (
    ACTIONS,
    CHAT,
    MOVE,
    RIVALRY,
    WAIT,
    feature_names,
    make_arrays,
    make_metadata,
    write_capture,
    write_catalogue,
    write_json,
    write_sample,
)

from townlet_core.errors import DatasetError, TownletWarning, UsageError
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.legacy import export_legacy, import_legacy, open_legacy, rewrite_legacy
from townlet_core.replay.legacy.actions import TOWN_ACTIONS
from townlet_core.replay.legacy.sample import LegacySample
from townlet_core.replay.validate import validate
from townlet_core.simulation.tick import Action

FEATURES, MAP = "observation.features", "observation.map"


def imported(directory: Path, entries: Any, out: str = "native", **options: Any) -> Dataset:
    path = write_json(directory / "m.json", entries)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "all . samples are from one world-episode")  # those of the builder are
        return import_legacy(path, directory / out, working_dir=directory, **options)


def written_like(native: Dataset, path: Path, trajectories: Any) -> Dataset:
    """Write other episodes with the spaces and names of a dataset."""
    manifest = native.manifest
    return write_dataset(
        path,
        trajectories,
        observation_spaces=manifest.observation_spaces,
        action_space=manifest.action_space,
        action_names=manifest.action_names,
        feature_names=manifest.feature_names,
        event_kinds=(),
        sources=manifest.sources,
    )


def assert_equal_samples(one: LegacySample, other: LegacySample) -> None:
    assert dict(one.metadata) == dict(other.metadata)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape), name
        assert array.tobytes() == other.arrays[name].tobytes(), name


def test_a_sample_becomes_an_episode_with_its_columns(tmp_path: Path) -> None:
    arrays = make_arrays(5)
    write_sample(tmp_path, arrays=arrays)

    dataset = imported(tmp_path, ["x.npz"])
    [(entry, trajectory)] = dataset.trajectories()

    manifest = dataset.manifest
    assert manifest.action_names == tuple(sorted(ACTIONS))
    assert manifest.action_space == spaces.Discrete(4)
    assert manifest.feature_names == {FEATURES: tuple(feature_names(24))}
    assert manifest.observation_spaces[MAP] == spaces.Box(-np.inf, np.inf, (4, 5, 5), np.float32)
    assert (entry.num_steps, entry.ending, entry.seed, entry.tags) == (5, "terminated", 7, ("baseline",))
    source = manifest.sources[entry.source]
    assert (source.kind, source.format, source.scenario) == ("import", "legacy", "queue_conflict")
    assert source.policy_digest == "ab" * 32
    assert len(source.sha256) == 64
    steps = trajectory.steps
    np.testing.assert_array_equal(steps[FEATURES], arrays["features"])
    np.testing.assert_array_equal(steps[MAP], arrays["map"])
    assert [manifest.action_names[i] for i in steps["actions"]] == [ACTIONS[i] for i in arrays["actions"]]
    np.testing.assert_array_equal(steps["rewards"], arrays["rewards"])
    np.testing.assert_array_equal(steps["log_probs"], arrays["old_log_probs"])
    np.testing.assert_array_equal(steps["values"], arrays["value_preds"][:5])
    np.testing.assert_array_equal(steps["terminations"], arrays["dones"])
    assert not steps["truncations"].any()
    assert trajectory.final["bootstrap_values"] == 0  # the process ended
    assert list(dataset.verify()) == []


def test_an_episode_ends_at_a_done_and_the_last_one_may_be_cut(tmp_path: Path) -> None:
    arrays = make_arrays(6, dones=(1, 2))
    write_sample(tmp_path, arrays=arrays)

    episodes = list(imported(tmp_path, ["x.npz"]).trajectories())

    assert [(e.num_steps, e.ending, e.start_step, e.life) for e, _ in episodes] == [
        (2, "terminated", 0, 0),
        (1, "terminated", 2, 1),
        (3, "cut", 3, 2),
    ]
    assert {e.group for e, _ in episodes} == {0}
    assert [float(t.final["bootstrap_values"]) for _, t in episodes] == [0, 0, float(arrays["value_preds"][6])]
    np.testing.assert_array_equal(np.concatenate([t.steps["rewards"] for _, t in episodes]), arrays["rewards"])


@pytest.mark.parametrize(("dones", "is_known"), [((-1,), True), ((1,), False)])
def test_without_the_value_after_a_cut_there_is_no_column_of_it(dones: Any, is_known: bool, tmp_path: Path) -> None:
    write_sample(tmp_path, "x", make_arrays(4, dones=(0,)))
    write_sample(tmp_path, "y", make_arrays(4, dones=dones, bootstrap=False))

    dataset = imported(tmp_path, ["x.npz", "y.npz"])

    assert ("bootstrap_values" in dataset.manifest.along("episode")) is is_known


def test_rejected_samples_are_kept_as_rejected(tmp_path: Path) -> None:
    write_sample(tmp_path, "x")
    write_sample(tmp_path, "y")

    dataset = imported(tmp_path, [{"sample": "x.npz", "accepted": False}, {"sample": "y.npz", "accepted": True}])

    assert dataset.episodes.accepted.tolist() == [False, True]


def test_agents_are_numbered_by_name_and_their_episodes_counted(tmp_path: Path) -> None:
    for name, agent in (("x", "agent_10"), ("y", "agent_9"), ("z", "agent_10")):
        write_sample(tmp_path, name, make_arrays(3, dones=(0,)), agent_id=agent, capture_metadata={"seed": 1})
    write_sample(tmp_path, "other", agent_id="bob", capture_metadata={"seed": 2})

    dataset = imported(tmp_path, ["x.npz", "y.npz", "z.npz", "other.npz"])
    episodes = dataset.episodes

    assert episodes.agent.tolist() == [1, 1, 0, 0, 1, 1, 2]
    assert episodes.life.tolist() == [0, 1, 0, 1, 2, 3, 0]
    assert [entry.start_step for entry, _ in dataset.trajectories()] == [0, 1, 0, 1, 3, 4, 0]
    assert not [finding for finding in validate(dataset).findings if finding.code == "D307"]


def test_samples_of_one_world_episode_are_one_group(tmp_path: Path) -> None:
    captures = [{"seed": 1}, {"seed": 2}, {"seed": 1}, {"seed": 1, "scenario_name": "storm"}, {}, {"seed": -1}]
    for number, capture in enumerate(captures):
        write_sample(tmp_path, f"s{number}", capture_metadata=capture)

    with pytest.warns(TownletWarning, match="s4.npz 2 times"):
        dataset = imported(tmp_path, [*(f"s{number}.npz" for number in range(6)), "s4.npz"])

    assert dataset.episodes.group.tolist() == [0, 1, 0, 2, 3, 4, 3]


def test_samples_of_a_single_world_are_groups_of_their_own_which_is_said(tmp_path: Path) -> None:
    write_sample(tmp_path, "x")
    write_sample(tmp_path, "y")

    with pytest.warns(TownletWarning, match="all 2 samples are from one world-episode"):
        dataset = import_legacy(write_json(tmp_path / "m.json", ["x.npz", "y.npz"]), tmp_path / "native")
    assert dataset.episodes.group.tolist() == [0, 1]
    assert imported(tmp_path, ["x.npz"], "one").episodes.group.tolist() == [0]


def test_one_vocabulary_joins_files_whose_ids_are_their_own(tmp_path: Path) -> None:
    x, y = make_arrays(3), make_arrays(3)
    x["actions"][:], y["actions"][:] = [0, 1, 0], [0, 1, 9]
    write_sample(tmp_path, "x", x, actions=(WAIT, MOVE))
    write_sample(tmp_path, "y", y, actions=(MOVE, WAIT), is_inverse=True)

    with pytest.warns(TownletWarning, match=r"1 action ids are named by no table.*y\.npz \(9\)"):
        dataset = imported(tmp_path, ["x.npz", "y.npz"])

    names = dataset.manifest.action_names
    meant = [[names[i] for i in trajectory.steps["actions"]] for _, trajectory in dataset.trajectories()]
    assert meant == [[WAIT, MOVE, WAIT], [MOVE, WAIT, "unlisted:y:9"]]


def test_features_are_matched_by_name_over_files_of_different_width(tmp_path: Path) -> None:
    widths = (24, 36, 41, 68, 81, 89)
    arrays = {}
    for width in widths:
        arrays[width] = make_arrays(3, features=width, seed=width)
        names = feature_names(width)[::-1]  # the columns lie elsewhere in each
        write_sample(tmp_path, f"f{width}", arrays[width], feature_names=names)
    entries = [f"f{width}.npz" for width in widths]

    with pytest.warns(TownletWarning, match="24 features are kept; 65 are left out: feature_21"):
        dataset = imported(tmp_path, entries)

    kept = dataset.manifest.feature_names[FEATURES]
    assert kept == tuple(feature_names(24)[::-1])
    for (_, trajectory), width in zip(dataset.trajectories(), widths, strict=True):
        for column, name in enumerate(kept):
            where = feature_names(width)[::-1].index(name)
            np.testing.assert_array_equal(trajectory.steps[FEATURES][:, column], arrays[width]["features"][:, where])
    assert [len(group) for group in open_legacy(tmp_path / "m.json").shapes().values()] == [1] * 6


def test_samples_of_one_shape_are_in_one_group_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    write_sample(tmp_path, "x")
    write_sample(tmp_path, "y", feature_names=feature_names(24)[::-1])
    write_sample(tmp_path, "z", make_arrays(3, window=7))
    path = write_json(tmp_path / "m.json", ["x.npz", "z.npz", "y.npz"])

    shapes = open_legacy(path).shapes()

    assert [(shape.map_shape, group) for shape, group in shapes.items()] == [((4, 5, 5), [0, 2]), ((4, 7, 7), [1])]


def test_features_can_be_chosen_and_a_missing_one_is_named_with_its_file(tmp_path: Path) -> None:
    write_sample(tmp_path, "x", make_arrays(3, features=36))
    write_sample(tmp_path, "y", make_arrays(3, features=24))

    dataset = imported(tmp_path, ["x.npz", "y.npz"], features=["feature_03", "rivalry_max"])
    assert dataset.manifest.feature_names == {FEATURES: ("feature_03", "rivalry_max")}

    with pytest.raises(DatasetError, match=r"y\.npz has no feature 'feature_30'"):
        imported(tmp_path, ["x.npz", "y.npz"], "other", features=["feature_30"])
    for wrong in ([], "feature_03", ["rivalry_max", "rivalry_max"]):
        with pytest.raises(UsageError, match="feature"):
            imported(tmp_path, ["x.npz"], "other", features=wrong)


def test_maps_of_different_shapes_do_not_go_together(tmp_path: Path) -> None:
    write_sample(tmp_path, "x")
    write_sample(tmp_path, "y", make_arrays(3, window=7))

    with pytest.raises(DatasetError, match=r"a map of \(4, 5, 5\) in x.npz and a map of \(4, 7, 7\) in y.npz"):
        imported(tmp_path, ["x.npz", "y.npz"])


def test_a_map_without_cells_is_no_observation(tmp_path: Path) -> None:
    write_sample(tmp_path, "x", make_arrays(3) | {"map": np.zeros((3, 0, 11, 11), np.float32)})

    assert list(imported(tmp_path, ["x.npz"]).manifest.observations) == [FEATURES]


def test_observations_alone_are_not_imported(tmp_path: Path) -> None:
    arrays = {name: make_arrays(1)[name] for name in ("map", "features")}
    write_sample(tmp_path, "x", arrays)

    with pytest.raises(DatasetError, match=r"x\.npz has observations only: it can be inspected, not trained on"):
        imported(tmp_path, ["x.npz"])


def test_arrays_that_are_no_part_of_the_format_are_named(tmp_path: Path) -> None:
    write_sample(tmp_path, "x", make_arrays(3) | {"extra": np.zeros(2)})

    with pytest.warns(TownletWarning, match="no part of the format are left out: extra"):
        imported(tmp_path, ["x.npz"])


def test_equal_files_give_equal_datasets_and_a_catalogue_is_one_way_to_them(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)

    first = import_legacy(path, tmp_path / "one", working_dir=tmp_path)
    second = import_legacy(path, tmp_path / "two", working_dir=tmp_path, shard_bytes=1)

    assert len(second.shards) > len(first.shards)
    for (one, a), (two, b) in zip(first.trajectories(), second.trajectories(), strict=True):
        assert one == two
        assert all(np.array_equal(a.steps[name], b.steps[name]) for name in a.steps)
    assert import_legacy(path, tmp_path / "three", working_dir=tmp_path).digest == first.digest


def test_a_file_that_changes_between_the_two_readings_is_refused(tmp_path: Path) -> None:
    path = write_sample(tmp_path)
    manifest = write_json(tmp_path / "m.json", ["x.npz"])

    def change(done: int, total: int) -> None:
        assert (done, total) in ((1, 2), (2, 2))
        write_sample(tmp_path, arrays=make_arrays(5, seed=9))

    with pytest.raises(DatasetError, match=rf"{path} has changed"):
        import_legacy(manifest, tmp_path / "out", on_progress=change)


def test_hostile_metadata_ends_in_one_error(tmp_path: Path) -> None:
    write_sample(tmp_path, tags=["x" * 300, 7, "fine"], capture_metadata=["odd"], scenario=[1], agent_id={"a": 1})
    dataset = imported(tmp_path, ["x.npz"])
    [(entry, _)] = dataset.trajectories()
    assert (entry.tags, entry.seed, dataset.manifest.sources[0].scenario) == (("fine",), None, "")

    write_sample(tmp_path, capture_metadata={"seed": -1, "policy_hash": "nobody", "scenario_name": "x" * 5000})
    dataset = imported(tmp_path, ["x.npz"], "again")
    [(entry, _)] = dataset.trajectories()
    assert (entry.seed, dataset.manifest.sources[0].policy) == (None, "nobody")


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_was_imported_is_exported_equal_in_arrays_and_metadata(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    directory = tmp_path_factory.mktemp("round")
    has_map = data.draw(st.booleans(), label="has_map")
    entries = []
    for number in range(data.draw(st.integers(1, 3), label="samples")):
        steps = data.draw(st.integers(1, 5), label="steps")
        dones = data.draw(st.lists(st.integers(0, steps - 1), max_size=3), label="dones")
        arrays = make_arrays(steps, dones=dones, bootstrap=data.draw(st.booleans()), seed=number, num_actions=6)
        if not has_map:
            arrays["map"] = np.zeros((steps, *data.draw(st.sampled_from([(0, 11, 11), (0, 0, 0)]))), np.float32)
        if data.draw(st.booleans(), label="odd numbers"):
            arrays["value_preds"][-1] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
        if steps == 1:
            arrays |= {name: arrays[name][0] for name in data.draw(st.sets(st.sampled_from(["map", "features"])))}
        names = data.draw(st.permutations(feature_names(24)), label="names")
        metadata = make_metadata(arrays, is_inverse=data.draw(st.booleans()), feature_names=names)
        name = data.draw(st.sampled_from(["s", "deep/s"])) + str(number)
        write_sample(directory, name, arrays, metadata)
        entry: dict[str, Any] = {"sample": f"{name}.npz", "agent_id": "a", "unknown": [1]}
        verdict = data.draw(st.none() | st.booleans())
        entries.append(entry if verdict is None else entry | {"accepted": verdict})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TownletWarning)
        native = imported(directory, entries, shard_bytes=data.draw(st.sampled_from([1, 1 << 20])))
    manifest = export_legacy(
        native, directory / "back", form=data.draw(st.sampled_from(["list", "wrapped", "curated"]))
    )

    before, after = open_legacy(directory / "m.json"), open_legacy(manifest)
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        assert one.name == other.name
        assert_equal_samples(one, other)
        was, now = before.manifest.samples[index], after.manifest.samples[index]
        assert (was.accepted is not False, was.agent_id, was.others) == (
            now.accepted is not False,
            now.agent_id,
            now.others,
        )


def test_a_sample_some_of_whose_episodes_are_gone_is_exported_in_pieces(tmp_path: Path) -> None:
    arrays = make_arrays(6, dones=(1, 3))
    write_sample(tmp_path, arrays=arrays, metadata=make_metadata(arrays, metrics={"timesteps": 6}))
    native = imported(tmp_path, ["x.npz"])
    kept = [trajectory for entry, trajectory in native.trajectories() if entry.life != 1]
    written_like(native, tmp_path / "kept", kept)

    first, last = open_legacy(export_legacy(Dataset(tmp_path / "kept"), tmp_path / "back"))

    assert (first.name, last.name) == ("x_000000.npz", "x_000004.npz")
    np.testing.assert_array_equal(first.arrays["actions"], arrays["actions"][:2])
    assert (first.metadata["timesteps"], first.metadata["agent_id"]) == (2, "alice")
    assert first.metadata["metrics"]["timesteps"] == 2
    assert first.arrays["value_preds"].tolist() == [*arrays["value_preds"][:2], 0]
    np.testing.assert_array_equal(last.arrays["features"], arrays["features"][4:])
    np.testing.assert_array_equal(last.arrays["value_preds"], arrays["value_preds"][4:])
    assert last.metadata["action_lookup"] == {name: place for place, name in enumerate(native.manifest.action_names)}


def test_episodes_of_one_sample_with_different_verdicts_become_different_samples(tmp_path: Path) -> None:
    write_sample(tmp_path, arrays=make_arrays(6, dones=(1,)))
    native = imported(tmp_path, ["x.npz"])
    first, second = [trajectory for _, trajectory in native.trajectories()]
    curated = written_like(native, tmp_path / "curated", [first, replace(second, accepted=False)])

    legacy = open_legacy(export_legacy(curated, tmp_path / "back", form="curated"))

    assert [(entry.sample, entry.accepted) for entry in legacy.manifest.samples] == [
        ("x_000000.npz", True),
        ("x_000002.npz", False),
    ]


TOWN = ("wait", "north", "east", "south", "west", "use", "leave", "chat")
NAMES = (*RIVALRY, "reservation_active")


def town_dataset(path: Path, actions: Any, reserved: Any, **options: Any) -> Dataset:
    steps = len(actions)
    features = np.zeros((steps, 3), np.float32)
    features[:, 2] = reserved
    columns = {
        FEATURES: features,
        MAP: np.ones((steps, 4, 11, 11), np.uint8),
        "actions": np.array(actions),
        "action_mask": np.ones((steps, 8), np.bool_),
        "final.observation.features": features[0],
        "final.observation.map": np.ones((4, 11, 11), np.uint8),
    }
    options = {"ending": "truncated", "rows": {}} | options
    options["rows"] = columns | options["rows"]
    trajectory = make_trajectory(steps, tags=("quiet",), seed=5, agent=2, **options)
    return write_dataset(
        path,
        [trajectory],
        observation_spaces={
            FEATURES: spaces.Box(-np.inf, np.inf, (3,), np.float32),
            MAP: spaces.Box(0, 255, (4, 11, 11), np.uint8),
        },
        action_space=spaces.Discrete(8),
        action_names=TOWN,
        feature_names={FEATURES: NAMES},
    )


def test_the_table_has_every_action_of_the_town() -> None:
    assert tuple(TOWN_ACTIONS) == tuple(action.name.lower() for action in Action) == TOWN


def test_the_towns_actions_are_written_by_a_table(tmp_path: Path) -> None:
    dataset = town_dataset(tmp_path / "town", [*range(8), 5], [0] * 8 + [1])

    [sample] = open_legacy(export_legacy(dataset, tmp_path / "out"))

    names = {number: name for name, number in sample.metadata["action_lookup"].items()}
    assert [json.loads(names[number]) for number in sample.arrays["actions"]] == [
        {"kind": "wait"},
        {"kind": "move", "position": [0, -1]},
        {"kind": "move", "position": [1, 0]},
        {"kind": "move", "position": [0, 1]},
        {"kind": "move", "position": [-1, 0]},
        {"kind": "request", "object": "here"},
        {"kind": "release", "object": "here", "success": True},
        {"kind": "chat", "quality": None, "target": "neighbour"},
        {"affordance": "use", "kind": "start", "object": "here"},
    ]


def test_a_native_episode_becomes_a_sample_that_says_where_it_is_from(tmp_path: Path) -> None:
    dataset = town_dataset(tmp_path / "town", [0, 1, 2], 0)
    [(_, trajectory)] = dataset.trajectories()

    [sample] = open_legacy(export_legacy(dataset, tmp_path / "out"))

    assert sample.arrays["map"].dtype == np.float32
    assert not sample.arrays["dones"].any()  # a time limit is no end
    assert sample.arrays["value_preds"].tolist() == [*trajectory.steps["values"], 0.5]
    np.testing.assert_array_equal(sample.arrays["old_log_probs"], trajectory.steps["log_probs"])
    metadata = sample.metadata
    assert (metadata["variant"], metadata["map_shape"]) == ("hybrid", [4, 11, 11])
    assert (metadata["timesteps"], metadata["value_pred_steps"], metadata["action_dim"]) == (3, 4, 3)
    assert (metadata["agent_id"], metadata["tags"], metadata["scenario"]) == ("agent_2", ["quiet"], "quiet")
    assert metadata["capture_metadata"] == {"scenario_name": "quiet", "seed": 5}
    assert metadata["metrics"]["action_move_count"] == 2


@pytest.mark.parametrize("ending", ["terminated", "cut"])
def test_what_a_script_does_not_know_is_written_as_zero(ending: Any, tmp_path: Path) -> None:
    rows = {"values": None, "log_probs": None, "bootstrap_values": None}
    dataset = town_dataset(tmp_path / "town", [0, 1, 2], 0, rows=rows, ending=ending)

    [sample] = open_legacy(export_legacy(dataset, tmp_path / "out"))

    assert sample.arrays["old_log_probs"].tolist() == [0, 0, 0]
    assert sample.arrays["value_preds"].tolist() == [0] * (4 if ending == "terminated" else 3)


def test_a_dataset_without_the_towns_features_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"town's features 'rivalry_max' and 'rivalry_avoid_count'.*minari"):
        export_legacy(write_dataset(tmp_path / "a"), tmp_path / "out")
    with pytest.raises(DatasetError, match=f"no '{FEATURES}' with names .it observes {FEATURES}, {MAP}"):
        export_legacy(write_dataset(tmp_path / "b", feature_names={}), tmp_path / "out")


def test_actions_without_json_are_written_by_their_names(tmp_path: Path) -> None:
    names = (*RIVALRY, "x")
    for out, given_names, expected in (
        ("a", ("go", "stay", WAIT, CHAT), ['{"kind": "go"}', '{"kind": "stay"}', WAIT, CHAT]),
        ("b", (), [f'{{"kind": "action_{n}"}}' for n in range(4)]),
        (
            "c",
            ("go", "go", "go", "x"),
            [json.dumps({"id": n, "kind": k}) for n, k in enumerate(("go", "go", "go", "x"))],
        ),
    ):
        dataset = write_dataset(tmp_path / out, feature_names={FEATURES: names}, action_names=given_names)
        samples = list(open_legacy(export_legacy(dataset, tmp_path / f"{out}-out")))
        assert samples[0].metadata["action_lookup"] == {name: number for number, name in enumerate(expected)}
        assert len(samples) == 6


def test_a_manipulated_dataset_writes_nothing_outside_of_the_directory(tmp_path: Path) -> None:
    write_sample(tmp_path / "in")
    native = imported(tmp_path / "in", ["x.npz"])
    [(_, trajectory)] = native.trajectories()
    for number, name in enumerate(("../../evil.npz", "/tmp/evil.npz", "a\\..\\evil.npz", "versions.json", "x")):
        origin = dict(trajectory.metadata["legacy"]) | {
            "sample": name,
            "entry": {"sample": name, "meta": "../evil.json"},
        }
        evil = written_like(native, tmp_path / f"evil{number}", [replace(trajectory, metadata={"legacy": origin})])
        out = tmp_path / "outs" / str(number)
        manifest = export_legacy(evil, out)
        assert [sample.name for sample in open_legacy(manifest)] == ["rollout_sample_000000.npz"]
    assert not list(tmp_path.rglob("evil*.*"))


def test_a_damaged_origin_is_one_error(tmp_path: Path) -> None:
    dataset = write_dataset(
        tmp_path / "a",
        [replace(make_trajectory(), metadata={"legacy": {"sample": 3}})],
        feature_names={FEATURES: (*RIVALRY, "x")},
    )
    with pytest.raises(DatasetError, match=r"metadata is damaged: legacy\.sample"):
        export_legacy(dataset, tmp_path / "out")


@pytest.mark.parametrize("form", ["list", "wrapped", "curated"])
def test_files_are_written_anew_in_every_form_with_a_catalogue(form: Any, tmp_path: Path) -> None:
    write_capture(tmp_path / "c", is_wrapped=True)
    write_json(tmp_path / "c" / "seen.json", {"needs": [0.5]})
    path = tmp_path / "c" / "rollout_sample_manifest.json"
    entries = json.loads(path.read_text())
    entries[0] |= {"dto": "seen.json", "accepted": False}
    write_json(path, entries)

    written = rewrite_legacy(tmp_path / "c", tmp_path / "out", form=form, dataset_id="night")

    before, after = open_legacy(tmp_path / "c"), open_legacy(written)
    assert after.manifest.form == ("curated" if form == "list" else form)  # a verdict makes a list a curated one
    for one, other in zip(before, after, strict=True):
        assert_equal_samples(one, other)
    assert [entry.accepted is not False for entry in after.manifest.samples] == [False, True, True]
    assert after.dto_paths[0] is not None
    assert json.loads(after.dto_paths[0].read_text()) == {"needs": [0.5]}
    assert all(found.sha256 for found in after.files)
    captured = open_legacy(tmp_path / "out" / "rollout_sample_manifest.json")
    assert captured.metrics is not None
    assert captured.metrics.samples["rollout_sample_001.npz"] == {"timesteps": 5, "reward_sum": 1.5}
    assert json.loads(written.read_text())["night"]["status"] == "active"
    if form == "curated":
        arrays = before.load(0).arrays
        assert after.manifest.samples[0].metrics == {
            "timesteps": 4,
            "reward_sum": pytest.approx(float(arrays["rewards"].sum(dtype=np.float64))),
            "mean_reward": pytest.approx(float(arrays["rewards"].mean(dtype=np.float64))),
            "done_count": 1,
        }


def test_equal_files_are_written_to_equal_bytes(tmp_path: Path) -> None:
    write_capture(tmp_path / "c")

    def digests(out: Path) -> dict[str, str]:
        rewrite_legacy(tmp_path / "c", out, form="wrapped", dataset_id="x")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_absolute_names_and_names_that_stand_twice_get_others(tmp_path: Path) -> None:
    write_sample(tmp_path / "in", "x")
    write_sample(tmp_path / "in", "y")
    manifest = write_json(tmp_path / "in" / "m.json", [str(tmp_path / "in" / "x.npz"), "y.npz", "./y.npz"])

    with pytest.warns(TownletWarning, match="2 times"):
        written = rewrite_legacy(manifest, tmp_path / "out", working_dir=tmp_path)

    names = [found.name for found in open_legacy(written).files]
    assert names == ["rollout_sample_000000.npz", "y.npz", "rollout_sample_000002.npz"]


def test_observations_alone_are_written_anew_too(tmp_path: Path) -> None:
    arrays = {name: make_arrays(1)[name][0] for name in ("map", "features")}
    path = write_sample(tmp_path, "x", arrays)

    [after] = open_legacy(rewrite_legacy(path, tmp_path / "out"))

    assert_equal_samples(next(iter(open_legacy(path))), after)


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    write_capture(tmp_path / "c")

    with pytest.raises(UsageError, match="not empty"):
        rewrite_legacy(tmp_path / "c", tmp_path / "c")
    with pytest.raises(UsageError, match="not empty"):
        import_legacy(tmp_path / "c", tmp_path / "c")
    with pytest.raises(UsageError, match="prefix"):
        rewrite_legacy(tmp_path / "c", tmp_path / "out", prefix="../x")


def test_metrics_that_are_not_finite_are_null(tmp_path: Path) -> None:
    arrays = make_arrays(3)
    arrays["rewards"][0] = np.nan
    path = write_sample(tmp_path, "x", arrays)

    written = open_legacy(rewrite_legacy(path, tmp_path / "out"))

    assert written.metrics is not None
    assert written.metrics.samples["x.npz"]["reward_sum"] is None
