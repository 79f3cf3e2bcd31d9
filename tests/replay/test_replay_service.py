"""The replay service finds, reads and summarises recorded experience, native or of the earlier format."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import make_trajectories, make_trajectory, write_dataset
from legacy_files import (
    ACTIONS,
    MOVE,
    WAIT,
    feature_names,
    make_arrays,
    write_capture,
    write_catalogue,
    write_json,
    write_sample,
)

from townlet_core.cli.main import main
from townlet_core.config.root import SimulationConfig
from townlet_core.errors import DatasetError, MissingInputError, UsageError
from townlet_core.replay.legacy.opening import open_legacy
from townlet_core.services.replay import ReplayDatasetService
from townlet_core.services.services import TrainingServices

SERVICE = ReplayDatasetService()


def as_rows(batches, *names):
    """Return the rows of all batches as a list of tuples of bytes."""
    return [
        tuple(batch[name][row].tobytes() for name in names) for batch in batches for row in range(len(batch["actions"]))
    ]


def test_every_run_has_the_service():
    assert isinstance(TrainingServices.from_config(SimulationConfig()).replay, ReplayDatasetService)


def test_a_dataset_is_resolved_with_what_is_accepted(tmp_path):
    trajectories = make_trajectories()
    trajectories[1] = replace(trajectories[1], accepted=False)
    dataset = write_dataset(tmp_path / "d", trajectories)
    found = SERVICE.resolve_manifest(tmp_path / "d")
    assert (found.format, found.form, found.digest) == ("native", "dataset", dataset.digest)
    assert (found.samples, found.accepted, found.notes) == (6, 5, ())


def test_an_incomplete_dataset_is_resolved_with_a_note(tmp_path):
    write_dataset(tmp_path / "d", complete=False)
    assert "not completed" in SERVICE.resolve_manifest(tmp_path / "d").notes[0]


def test_a_file_that_is_missing_is_named(tmp_path):
    dataset = write_dataset(tmp_path / "d")
    (dataset.shards[1].path / "rewards.npy").unlink()
    with pytest.raises(DatasetError, match=r"shard-000001/rewards\.npy"):
        SERVICE.resolve_manifest(tmp_path / "d")
    capture = write_capture(tmp_path / "c")
    (capture / "rollout_sample_001.npz").unlink()
    with pytest.raises(DatasetError, match=r"rollout_sample_001\.npz"):
        SERVICE.resolve_manifest(capture)
    with pytest.raises(MissingInputError):
        SERVICE.resolve_manifest(tmp_path / "none")


def test_every_shape_of_the_earlier_format_is_told(tmp_path):
    capture = write_capture(tmp_path / "c")
    sample = capture / "rollout_sample_000.npz"
    plain = write_json(tmp_path / "c" / "list.json", [sample.name])
    wrapped = write_json(tmp_path / "c" / "wrapped.json", {"metadata": {}, "samples": [sample.name]})
    curated = write_json(
        tmp_path / "c" / "curated.json",
        [{"sample": sample.name, "accepted": True}, {"sample": "rollout_sample_001.npz", "accepted": False}],
    )
    catalogue = write_catalogue(tmp_path / "k")
    for path, form, samples, accepted in (
        (capture, "capture", 3, 3),
        (sample, "sample", 1, 1),
        (plain, "list", 1, 1),
        (wrapped, "wrapped", 1, 1),
        (curated, "curated", 2, 1),
    ):
        found = SERVICE.resolve_manifest(path)
        assert (found.format, found.form, found.samples, found.accepted) == ("legacy", form, samples, accepted)
    assert SERVICE.resolve_manifest(catalogue, dataset="new").form == "catalogue"


def test_a_dataset_is_no_catalogue(tmp_path):
    write_dataset(tmp_path / "d")
    for call in (SERVICE.resolve_manifest, SERVICE.summarize_dataset):
        with pytest.raises(UsageError, match="no catalogue"):
            call(tmp_path / "d", dataset="x")


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_accepted_row_of_a_dataset_comes_once(tmp_path, streaming, shuffle):
    trajectories = make_trajectories()
    trajectories[3] = replace(trajectories[3], accepted=False)
    write_dataset(tmp_path / "d", trajectories)
    batches = SERVICE.build_dataset(tmp_path / "d", batch_size=7, shuffle=shuffle, streaming=streaming)
    wanted = [t.steps for t in trajectories if t.accepted]
    expected = [
        (steps["actions"][row].tobytes(), steps["rewards"][row].tobytes())
        for steps in wanted
        for row in range(len(steps["actions"]))
    ]
    rows = as_rows(batches, "actions", "rewards")
    assert sorted(rows) == sorted(expected)
    assert (rows == expected) != shuffle
    assert (len(batches), batches.num_rows) == (5, 31)
    assert [len(batch["actions"]) for batch in batches] == [7, 7, 7, 7, 3]
    assert batches.action_names == ("north", "south", "eat", "wait")


def test_batches_can_be_kept(tmp_path):
    write_dataset(tmp_path / "d")
    first, second, *_ = list(SERVICE.build_dataset(tmp_path / "d", batch_size=4))
    assert not np.array_equal(first["rewards"], second["rewards"])


def test_the_order_depends_on_the_seed_and_the_epoch_alone(tmp_path):
    write_dataset(tmp_path / "d")
    first, again, other = (SERVICE.build_dataset(tmp_path / "d", batch_size=4, seed=seed) for seed in (0, 0, 1))
    rewards = [as_rows(batches.epoch(0), "rewards") for batches in (first, again, other)]
    assert rewards[0] == rewards[1] != rewards[2]
    assert as_rows(first.epoch(1), "rewards") == as_rows(again.epoch(1), "rewards") != rewards[0]


def test_what_fills_no_batch_is_dropped_if_asked_for(tmp_path):
    write_dataset(tmp_path / "d")
    batches = SERVICE.build_dataset(tmp_path / "d", batch_size=10, drop_last=True)
    assert [len(batch["actions"]) for batch in batches] == [10, 10, 10]
    with pytest.raises(DatasetError, match="fewer than the batch size"):
        SERVICE.build_dataset(tmp_path / "d", batch_size=100, drop_last=True)


def test_only_the_columns_that_are_wanted_are_read(tmp_path):
    write_dataset(tmp_path / "d")
    (batch,) = SERVICE.build_dataset(tmp_path / "d", batch_size=100, columns=["actions", "rewards"])
    assert batch.keys() == {"actions", "rewards"}
    with pytest.raises(DatasetError, match="no column 'other'"):
        SERVICE.build_dataset(tmp_path / "d", batch_size=4, columns=["other"])
    with pytest.raises(UsageError, match="earlier format"):
        SERVICE.build_dataset(write_capture(tmp_path / "c"), batch_size=4, columns=["actions"])


def test_what_cannot_be_batched_is_refused(tmp_path):
    write_dataset(tmp_path / "d", [replace(make_trajectory(5), accepted=False)])
    with pytest.raises(DatasetError, match="rejected all"):
        SERVICE.build_dataset(tmp_path / "d", batch_size=4)
    with pytest.raises(UsageError, match="at least one row"):
        SERVICE.build_dataset(tmp_path / "d", batch_size=0)


@pytest.fixture
def mixed(tmp_path):
    """A curated manifest: two shapes, two action tables, a rejected sample, and one that was only observed."""
    names = feature_names(24)
    arrays = [make_arrays(4 + index, seed=index) for index in range(3)]
    write_sample(tmp_path, "a", arrays[0])
    shuffled = {**arrays[1], "features": arrays[1]["features"][:, ::-1]}
    write_sample(tmp_path, "b", shuffled, actions=ACTIONS[::-1], feature_names=names[::-1])
    write_sample(tmp_path, "c", make_arrays(6, features=36, seed=9))
    write_sample(tmp_path, "rejected", arrays[2])
    write_sample(tmp_path, "seen", {"map": arrays[0]["map"][:1], "features": arrays[0]["features"][:1]})
    entries = [
        {"sample": f"{name}.npz", "accepted": name != "rejected"} for name in ("a", "c", "b", "rejected", "seen")
    ]
    return write_json(tmp_path / "curated.json", entries), arrays


@pytest.mark.parametrize("streaming", [True, False])
def test_samples_of_one_shape_are_batched_together_with_columns_by_name(mixed, streaming):
    path, arrays = mixed
    batches = SERVICE.build_dataset(path, batch_size=100, shuffle=False, streaming=streaming)
    assert (batches.num_rows, len(batches)) == (4 + 5 + 6, 2)
    together, alone = list(batches)
    assert {name: column.shape[1:] for name, column in alone.items()} == {
        "observation.features": (36,),
        "observation.map": (4, 5, 5),
        "actions": (),
        "rewards": (),
        "terminations": (),
        "log_probs": (),
        "values": (),
    }
    order = np.argsort(feature_names(24))
    expected = np.concatenate([arrays[0]["features"], arrays[1]["features"]])[:, order]
    np.testing.assert_array_equal(together["observation.features"], expected)
    np.testing.assert_array_equal(
        together["values"], np.concatenate([arrays[0]["value_preds"][:4], arrays[1]["value_preds"][:5]])
    )
    meant = [ACTIONS[action] for action in arrays[0]["actions"]] + [ACTIONS[::-1][a] for a in arrays[1]["actions"]]
    assert [batches.action_names[action] for action in together["actions"]] == meant


def test_shuffled_samples_come_once_and_alike_whether_they_are_kept_or_not(mixed):
    path, _ = mixed
    names = ("actions", "rewards", "observation.features")
    plain = as_rows(SERVICE.build_dataset(path, batch_size=4, shuffle=False), *names)
    kept, streamed = (
        SERVICE.build_dataset(path, batch_size=4, seed=3, streaming=streaming) for streaming in (False, True)
    )
    rows = as_rows(kept, *names)
    assert sorted(rows) == sorted(plain)
    assert rows != plain
    assert rows == as_rows(streamed, *names)
    assert as_rows(kept.epoch(1), *names) == as_rows(streamed.epoch(1), *names) != rows
    assert [len(batch["actions"]) for batch in kept] == [4, 4, 1, 4, 2]
    dropped = SERVICE.build_dataset(path, batch_size=4, drop_last=True)
    assert [len(batch["actions"]) for batch in dropped] == [4, 4, 4]
    assert len(dropped) == 3


def test_rows_of_many_windows_come_once(mixed):
    from townlet_core.replay.legacy.batches import LegacyBatchReader

    path, _ = mixed
    legacy = open_legacy(path)
    plain = as_rows(LegacyBatchReader(legacy, batch_size=4, shuffle=False).epoch(0), "rewards")
    small = LegacyBatchReader(legacy, batch_size=4, window_rows=1)
    assert sorted(as_rows(small.epoch(0), "rewards")) == sorted(plain)
    assert [len(batch["actions"]) for batch in small.epoch(0)] == [4, 4, 1, 4, 2]


def test_files_that_have_nothing_to_train_on_are_refused(tmp_path):
    arrays = make_arrays(1)
    path = write_sample(tmp_path, "seen", {name: arrays[name] for name in ("map", "features")})
    with pytest.raises(DatasetError, match="no sample that can be trained on"):
        SERVICE.build_dataset(path, batch_size=1)
    assert SERVICE.resolve_manifest(path).samples == 1


def test_a_sample_that_changes_while_it_is_used_is_an_error(tmp_path):
    path = write_sample(tmp_path, "x", make_arrays(5))
    batches = SERVICE.build_dataset(path, batch_size=5)
    write_sample(tmp_path, "x", make_arrays(5, seed=1))
    with pytest.raises(DatasetError, match="has changed"):
        list(batches)


def test_a_sample_is_summarised_by_its_metrics(tmp_path):
    arrays = make_arrays(4) | {"actions": np.array([0, 1, 1, 1]), "rewards": np.array([1, 2, 3, 4], np.float32)}
    path = write_sample(tmp_path, "x", arrays)
    summary = SERVICE.summarize_sample(open_legacy(path).load(0))
    assert (summary.name, summary.agent_steps, summary.trainable) == ("x.npz", 4, True)
    assert summary.metrics["reward_sum"] == 10
    assert summary.metrics["action_wait_count"] == 1
    assert summary.shapes["features"] == (4, 24)


def test_an_episode_is_summarised_by_the_same_names():
    trajectory = make_trajectory(
        4, rows={"actions": np.array([0, 1, 1, 1]), "rewards": np.array([1, 2, 3, 4], np.float32)}, ending="cut"
    )
    metrics = SERVICE.summarize_sample(trajectory).metrics
    assert metrics["reward_sum"] == 10
    assert metrics["reward_mean"] == 2.5
    assert metrics["value_pred_last"] == 0.5
    assert metrics["log_prob_mean"] == pytest.approx(trajectory.steps["log_probs"].mean())
    assert (metrics["action_nonzero"], metrics["action_total"]) == (2, 4)
    assert metrics["action_entropy"] == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


def test_a_batch_is_summarised_column_by_column():
    summary = SERVICE.summarize_batch({"actions": np.array([0, 0, 1, 1]), "rewards": np.array([1.0, 2, 3, np.nan])})
    assert summary.rows == 4
    assert summary.action_entropy == pytest.approx(np.log(2))
    assert (summary.columns["rewards"].mean, summary.columns["rewards"].non_finite) == (2.0, 1)
    assert SERVICE.summarize_batch({}).rows == 0


def test_files_of_the_earlier_format_are_summarised(mixed):
    path, arrays = mixed
    summary = SERVICE.summarize_dataset(path)
    assert (summary.samples, summary.rejected, summary.observation_only) == (5, 1, 1)
    assert summary.agent_steps == 4 + 6 + 5 + 6 + 1
    assert [(shape.samples, shape.features) for shape in summary.shapes] == [(4, 24), (1, 36)]
    assert sum(summary.actions.values()) == 15
    assert summary.metrics["sample_count"] == 3
    assert summary.metrics["action_total"] == 15
    third = make_arrays(6, features=36, seed=9)
    assert summary.metrics["reward_sum"] == pytest.approx(
        sum(float(one["rewards"].sum()) for one in (arrays[0], arrays[1], third)), rel=1e-6
    )


def test_ids_that_no_table_names_are_told(tmp_path, capsys):
    path = write_sample(tmp_path, "x", make_arrays(20, num_actions=4), actions=[WAIT, MOVE])
    summary = SERVICE.summarize_dataset(path)
    assert summary.unlisted == {"x.npz": (2, 3)}
    assert main(["replay", "summary", str(path)]) == 0
    assert "unlisted   x.npz uses ids that no table names: 2, 3" in capsys.readouterr().out


def test_the_command_summarises_every_format(tmp_path, mixed, capsys):
    path, _ = mixed
    assert main(["replay", "summary", str(path)]) == 0
    out = capsys.readouterr().out
    assert "5 samples, 22 steps" in out
    assert "shape      1 sample: 36 features, map 4 x 5 x 5" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    assert main(["replay", "summary", str(write_capture(tmp_path / "c")), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["form"], document["recorded_metrics"]["reward_sum"]) == ("capture", 4.5)
    assert main(["replay", "summary", str(write_catalogue(tmp_path / "k")), "--dataset", "new"]) == 0
    assert "catalogue" in capsys.readouterr().out
