"""A summary says what NumPy says of all rows at once, whatever the shards, and what the files say of the episodes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import (
    SCRIPT,
    edit_file,
    make_events,
    make_trajectories,
    make_trajectory,
    put,
    write_dataset,
)
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from townlet_core.cli.main import main
from townlet_core.replay.moments import NUM_BINS, SAMPLE_ROWS, RunningSpread, histogram, quartiles, sampled_rows
from townlet_core.replay.summary import summarise


def rows_of(dataset, name):
    return np.concatenate([trajectory.steps[name] for _, trajectory in dataset.trajectories()])


def assert_spread(spread, numbers):
    assert spread.count == numbers.size
    assert spread.mean == pytest.approx(numbers.mean(dtype=np.float64))
    assert spread.std == pytest.approx(numbers.std(dtype=np.float64))
    assert (spread.min, spread.max) == (numbers.min(), numbers.max())


@pytest.mark.parametrize("shard_bytes", [1, 1000, 1 << 20])
def test_numbers_are_those_of_all_rows_together(tmp_path, shard_bytes):
    dataset = write_dataset(tmp_path / "d", shard_bytes=shard_bytes)
    summary = summarise(dataset)
    for name in ("rewards", "log_probs", "values"):
        assert_spread(getattr(summary, name), rows_of(dataset, name))
    *features, whole = summary.features
    assert [line.name for line in features] == ["hunger", "money", "day"]
    assert [line.index for line in features] == [0, 1, 2]
    for index, line in enumerate(features):
        assert_spread(line, rows_of(dataset, "observation.features")[:, index])
    assert (whole.name, whole.index) == ("observation.map", None)
    assert_spread(whole, rows_of(dataset, "observation.map"))


def test_the_shards_do_not_matter(tmp_path):
    one, many = (write_dataset(tmp_path / str(size), shard_bytes=size) for size in (1 << 20, 1))
    assert (len(one.shards), len(many.shards)) == (1, 6)
    own = {"path", "digest", "bytes", "shards"}
    first, second = (summarise(dataset).model_dump(exclude=own) for dataset in (one, many))
    assert json.loads(json.dumps(first), parse_float=lambda text: round(float(text), 9)) == json.loads(
        json.dumps(second), parse_float=lambda text: round(float(text), 9)
    )


def test_episodes_are_counted_by_what_they_are(tmp_path):
    network = SCRIPT.model_copy(update={"policy": "ppo"})
    trajectories = [
        replace(t, source=i % 2, split="train" if i < 4 else "test", tags=("a", "b")[: i % 3], accepted=i != 5)
        for i, t in enumerate(make_trajectories())
    ]
    dataset = write_dataset(tmp_path / "d", trajectories, sources=[SCRIPT, network], events=make_events((0, 0, 1)))
    summary = summarise(dataset)
    assert (summary.episodes, summary.groups, summary.agent_steps, summary.rejected) == (6, 3, 36, 1)
    assert (summary.digest, summary.bytes, summary.complete) == (dataset.digest, dataset.num_bytes, True)
    assert [(source.policy, source.episodes, source.agent_steps) for source in summary.sources] == [
        ("scripted", 3, 18),
        ("ppo", 3, 18),
    ]
    assert {name: (part.episodes, part.agent_steps) for name, part in summary.splits.items()} == {
        "test": (2, 13),
        "train": (4, 23),
    }
    assert {name: part.episodes for name, part in summary.tags.items()} == {"a": 4, "b": 2}
    assert summary.endings == {"terminated": 2, "truncated": 2, "cut": 2}
    assert (summary.lengths.min, summary.lengths.q25, summary.lengths.median, summary.lengths.q75) == (5, 5.25, 6, 6.75)
    returns = dataset.episodes.episode_return
    assert summary.returns.median == pytest.approx(np.median(returns))
    assert {kind: (event.count, event.value) for kind, event in summary.events.items()} == {
        "meal": (3, 1.5),
        "chat": (0, 0.0),
    }


def test_choices_are_counted_with_their_masks(tmp_path):
    mask = np.ones((4, 4), np.bool_)
    mask[:3, 3] = False
    rows = {"actions": np.array([0, 0, 1, 2]), "action_mask": mask}
    summary = summarise(write_dataset(tmp_path / "d", [make_trajectory(4, rows=rows)]))
    assert [(share.name, share.count, share.share, share.allowed) for share in summary.actions] == [
        ("north", 2, 0.5, 1.0),
        ("south", 1, 0.25, 1.0),
        ("eat", 1, 0.25, 1.0),
        ("wait", 0, 0.0, 0.25),
    ]
    assert summary.action_entropy == pytest.approx(1.5 * np.log(2))
    assert summary.allowed_actions == 3.25


def test_of_a_single_row_every_share_is_whole(tmp_path):
    summary = summarise(write_dataset(tmp_path / "d", [make_trajectory(1)]))
    assert [(share.count, share.share) for share in summary.actions] == [(1, 1.0), (0, 0.0), (0, 0.0), (0, 0.0)]
    assert summary.action_entropy == 0.0


@pytest.mark.parametrize(("most", "lines"), [(3, 4), (2, 2)])
def test_a_vector_of_very_many_entries_is_one_line(tmp_path, monkeypatch, most, lines):
    monkeypatch.setattr("townlet_core.replay.summary._MAX_FEATURES", most)
    assert len(summarise(write_dataset(tmp_path / "d")).features) == lines


def test_composed_actions_are_counted_part_by_part(tmp_path):
    rows = {"actions": np.array([[0, 2], [1, 2], [1, 2], [1, 2]]), "action_mask": None}
    dataset = write_dataset(
        tmp_path / "d", [make_trajectory(4, rows=rows)], action_space=spaces.MultiDiscrete([2, 3]), action_names=()
    )
    summary = summarise(dataset)
    assert [(s.component, s.action, s.count, s.allowed) for s in summary.actions] == [
        (0, 0, 1, None),
        (0, 1, 3, None),
        (1, 0, 0, None),
        (1, 1, 0, None),
        (1, 2, 4, None),
    ]
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert summary.action_entropy == pytest.approx(quarter / 2)
    assert summary.allowed_actions is None


def test_continuous_actions_have_a_spread_for_each_entry(tmp_path):
    actions = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    rows = {"actions": actions, "action_mask": None}
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    summary = summarise(
        write_dataset(tmp_path / "d", [make_trajectory(4, rows=rows)], action_space=box, action_names=())
    )
    assert (summary.actions, summary.action_entropy) == ((), None)
    assert [line.name for line in summary.action_values] == ["actions[0]", "actions[1]"]
    assert_spread(summary.action_values[1], actions[:, 1])


def test_what_was_not_recorded_has_no_spread(tmp_path):
    rows = {"values": None, "log_probs": None, "rewards": None}
    summary = summarise(write_dataset(tmp_path / "d", [make_trajectory(4, rows=rows)]))
    assert (summary.values.count, summary.values.mean, summary.rewards.histogram) == (0, None, None)
    assert summary.scripted_share is None


def test_rows_of_a_script_are_told(tmp_path):
    script = make_trajectory(6, rows={"log_probs": put(slice(None), 0)})
    dataset = write_dataset(tmp_path / "d", [make_trajectory(2, content=1), script])
    assert summarise(dataset).scripted_share == 0.75


def test_numbers_that_are_not_finite_are_counted_and_left_out(tmp_path):
    bad = np.array([np.nan, np.inf], np.float32).tobytes()
    dataset = edit_file(write_dataset(tmp_path / "d"), "values.npy", lambda data: data[:-8] + bad)
    values = summarise(dataset).values
    assert (values.count, values.non_finite) == (34, 2)
    assert values.max < np.inf
    assert sum(values.histogram.counts) == 34


numbers = arrays_of.arrays(
    np.float32,
    arrays_of.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf]),
)


@settings(max_examples=60, deadline=None)
@given(rows=numbers, data=st.data())
def test_a_running_spread_is_that_of_all_rows_however_they_are_cut(rows, data):
    running = RunningSpread(rows.shape[1])
    cut = data.draw(st.integers(0, len(rows)))
    running.add(rows[:cut])
    running.add(rows[cut:])
    for index in range(rows.shape[1]):
        column = rows[:, index].astype(np.float64)
        finite = column[np.isfinite(column)]
        fields = running.fields(index)
        assert (fields["count"], fields["non_finite"]) == (len(finite), len(column) - len(finite))
        if len(finite):
            assert fields["mean"] == pytest.approx(finite.mean(), rel=1e-9, abs=1e-6)
            assert fields["std"] == pytest.approx(finite.std(), rel=1e-6, abs=1e-6)
            assert (fields["min"], fields["max"]) == (finite.min(), finite.max())


def test_a_running_spread_is_exact_far_from_zero():
    rows = 1e8 + np.arange(1000, dtype=np.float64).reshape(-1, 1)
    running = RunningSpread(1)
    for part in np.split(rows, 10):
        running.add(part)
    assert running.fields(0)["std"] == pytest.approx(np.arange(1000).std(), rel=1e-9)


def test_a_histogram_counts_every_number_once_and_the_largest_in_the_last_bin():
    found = histogram(np.arange(NUM_BINS + 1.0))
    assert (found.low, found.high) == (0, NUM_BINS)
    assert found.counts == (*[1] * (NUM_BINS - 1), 2)
    assert histogram(np.array([3.0, 3.0, np.nan])).counts == (2,)
    assert histogram(np.array([np.nan])) is None


def test_quartiles_of_nothing_are_none():
    assert quartiles(np.zeros(0)).median is None


def test_few_rows_are_all_sampled_and_of_many_a_bounded_number():
    assert sampled_rows(SAMPLE_ROWS).tolist() == list(range(SAMPLE_ROWS))
    many = sampled_rows(10_000_000)
    assert SAMPLE_ROWS * 0.99 < len(many) <= SAMPLE_ROWS
    assert (np.diff(many) > 0).all()
    assert 0 <= many.min() < 100_000
    assert 9_900_000 < many.max() < 10_000_000


def test_progress_ends_with_every_row(tmp_path):
    seen = []
    summarise(write_dataset(tmp_path / "d"), on_progress=lambda *args: seen.append(args))
    assert seen[-1] == (36, 36)


def test_the_command_prints_tables_that_fit_a_terminal(tmp_path, capsys):
    dataset = write_dataset(tmp_path / "d", events=make_events())
    assert main(["replay", "summary", str(dataset.path)]) == 0
    out = capsys.readouterr().out
    assert "6 episodes of 3 world-episodes, 36 agent-steps" in out
    assert "source     scripted in town/quiet: 6 episodes, 36 agent-steps" in out
    assert "entropy 1.386 nats of at most 1.386; 4.0 allowed at a time" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80


def test_the_command_shows_the_features_that_vary_most_or_all(tmp_path, capsys):
    box = spaces.Box(-np.inf, np.inf, (20,), np.float32)
    rows = {"observation.features": None, "observation.map": None}
    trajectory = make_trajectory(5, rows=rows)
    observation = np.outer([-1, 1, -1, 1, 0], np.arange(20)).astype(np.float32)
    trajectory = replace(trajectory, steps={**trajectory.steps, "observation": observation}, final={})
    names = {"observation": tuple(f"entry{index}" for index in range(20))}
    dataset = write_dataset(tmp_path / "d", [trajectory], observation_spaces={"observation": box}, feature_names=names)

    def shown(choice):
        assert main(["replay", "summary", str(dataset.path), "--features", choice]) == 0
        out = capsys.readouterr().out
        return [line.split()[0] for line in out.splitlines() if line.startswith("entry")], out

    some, out = shown("some")
    assert some == [f"entry{index}" for index in range(19, 7, -1)]
    assert "12 of 20 entries; --features all shows the others" in out
    assert "1 of 20 never change" in out
    assert shown("all")[0] == [f"entry{index}" for index in range(20)]
    assert shown("none")[0] == []


def test_what_would_steer_the_terminal_is_escaped(tmp_path, capsys):
    trajectories = [replace(make_trajectory(5), tags=("\x1b[2J",))]
    dataset = write_dataset(
        tmp_path / "d",
        trajectories,
        action_names=("\x1b[31m", "b", "c", "d"),
        event_kinds=("\x1b]0;x\x07",),
        sources=[SCRIPT.model_copy(update={"policy": "\x1b[1m"})],
    )
    assert main(["replay", "summary", str(dataset.path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31m" in out


def test_the_command_prints_the_summary_as_json(tmp_path, capsys):
    dataset = write_dataset(tmp_path / "d")
    assert main(["replay", "summary", str(dataset.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(summarise(dataset).model_dump_json())


def test_the_command_ends_with_66_without_a_dataset_and_with_65_for_a_damaged_one(tmp_path, capsys):
    assert main(["replay", "summary", str(tmp_path / "none")]) == 66
    dataset = write_dataset(tmp_path / "d")
    (dataset.shards[0].path / "values.npy").write_bytes(b"")
    assert main(["replay", "summary", str(dataset.path)]) == 65
    assert "values.npy is damaged" in capsys.readouterr().err


def test_an_unknown_subcommand_is_told_with_the_closest(tmp_path, capsys):
    assert main(["replay", "sumary"]) == 64
    assert "did you mean 'summary'?" in capsys.readouterr().err


def test_actions_outside_the_space_are_told_and_not_left_out_in_silence(tmp_path, capsys):
    good = make_trajectory(4, rows={"actions": np.array([0, 1, 2, 3])})
    bad = make_trajectory(4, content=1, rows={"actions": np.array([0, 9, -1, 3])})
    dataset = write_dataset(tmp_path / "d", [good, bad])
    assert summarise(dataset).impossible_actions == 2
    assert main(["replay", "summary", str(dataset.path)]) == 0
    assert "2 actions outside the action space, counted nowhere above" in capsys.readouterr().out
    assert summarise(write_dataset(tmp_path / "e", [good])).impossible_actions == 0


@pytest.mark.parametrize("complete", [True, False])
def test_the_summary_says_that_it_has_not_verified(tmp_path, capsys, complete):
    dataset = write_dataset(tmp_path / "d", complete=complete)
    assert main(["replay", "summary", str(dataset.path)]) == 0
    assert "; not verified (townlet replay validate)" in capsys.readouterr().out


def test_the_summary_says_what_was_observed(tmp_path, capsys):
    hybrid = SCRIPT.model_copy(update={"environment_config": {"town": {"variant": "hybrid"}}})
    named = write_dataset(tmp_path / "d", sources=[hybrid])
    assert summarise(named).observations == {"observation.features": (3,), "observation.map": (2, 3, 3)}
    assert main(["replay", "summary", str(named.path)]) == 0
    assert "observed   variant hybrid: features 3, map 2 x 3 x 3\n" in capsys.readouterr().out
    for number, config in enumerate(({}, {"town": 3}, {"town": {"variant": 3}})):
        other = SCRIPT.model_copy(update={"environment_config": config})
        unnamed = write_dataset(tmp_path / str(number), sources=[other])
        assert main(["replay", "summary", str(unnamed.path)]) == 0
        assert "observed   features 3, map 2 x 3 x 3\n" in capsys.readouterr().out
