"""A curated dataset has exactly what passes, names its parents, and the originals stay as they are."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from datasets import HASTY, SCRIPT, changed, make_events, make_trajectories, make_trajectory, put, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.cli.main import main
from townlet_core.errors import DatasetError, TownletWarning, UsageError
from townlet_core.replay.curate import curate as curate_on_disk
from townlet_core.replay.curation_plan import Curation
from townlet_core.replay.curation_rules import CurationRules
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.splits import assign, parse_split
from townlet_core.replay.validate import validate

curate = partial(curate_on_disk, filesystem=HASTY)
NETWORK = SCRIPT.model_copy(update={"policy": "ppo", "policy_digest": "ab" * 32, "scenario": "busy"})


def mixed(path):
    """Write six episodes of two sources: lengths 5, 6, 7, 5, 6, 7, tags, one rejected."""
    trajectories = [
        replace(
            trajectory,
            source=index // 3,
            tags=(("night",), ("day", "rain"), ())[index % 3],
            accepted=index != 4,
        )
        for index, trajectory in enumerate(make_trajectories())
    ]
    return write_dataset(path, trajectories, events=make_events(), sources=[SCRIPT, NETWORK])


def entries(dataset):
    return [entry for shard in dataset.shards for entry in shard.entries()]


def kept(tmp_path, *, dataset=None, name="out", **rules):
    """Return the numbers, in the original, of the episodes that pass, and the report."""
    dataset = dataset or mixed(tmp_path / "d")
    report = curate([dataset], tmp_path / name, curation=Curation(rules=CurationRules(**rules)))
    contents = [entry.content for entry in entries(dataset)]
    return [contents.index(entry.content) for entry in entries(Dataset(tmp_path / name))], report


@pytest.mark.parametrize(
    ("rules", "numbers"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"min_length": 6}, [1, 2, 4, 5]),
        ({"max_length": 6}, [0, 1, 3, 4]),
        ({"min_length": 6, "max_length": 6}, [1, 4]),
        ({"tag": ["rain"]}, [1, 4]),
        ({"tag": ["rain", "night"]}, [0, 1, 3, 4]),
        ({"not_tag": ["day"]}, [0, 2, 3, 5]),
        ({"scenario": ["busy"]}, [3, 4, 5]),
        ({"agent": [1]}, [1, 3, 5]),
        ({"ending": ["terminated"]}, [0, 3]),
        ({"ending": ["terminated", "cut"]}, [0, 2, 3, 5]),
        ({"source_policy": ["scripted"]}, [0, 1, 2]),
        ({"source_policy": ["abababab"]}, [3, 4, 5]),
        ({"accepted_only": True}, [0, 1, 2, 3, 5]),
        ({"limit_episodes": 2}, [0, 1]),
        ({"limit_episodes": 1}, [0]),
        ({"min_length": 1, "top_return": 1.0}, [0, 1, 2, 3, 4, 5]),
        ({"limit_episodes": 2, "min_length": 6}, [1, 2]),
    ],
)
def test_what_passes_the_rules_is_kept_and_nothing_else(tmp_path, rules, numbers):
    result, report = kept(tmp_path, **rules)
    assert result == numbers
    assert report.after.episodes == len(numbers)
    assert sum(report.failed.values()) == 6 - len(numbers)


def test_seven_letters_are_too_few_for_a_digest(tmp_path):
    with pytest.raises(UsageError, match="6 fail source_policy"):
        kept(tmp_path, source_policy=["abababa"])


def test_returns_at_the_limit_pass(tmp_path):
    dataset = mixed(tmp_path / "d")
    returns = dataset.episodes.episode_return
    middle = float(np.sort(returns)[2])
    above, _ = kept(tmp_path, dataset=dataset, name="a", min_return=middle)
    below, _ = kept(tmp_path, dataset=dataset, name="b", max_return=middle)
    assert above == np.flatnonzero(returns >= middle).tolist()
    assert below == np.flatnonzero(returns <= middle).tolist()


@pytest.mark.parametrize(("share", "number"), [(0.5, 3), (0.34, 3), (1 / 3, 2), (0.01, 1), (1.0, 6)])
def test_the_best_share_is_rounded_up(tmp_path, share, number):
    dataset = mixed(tmp_path / "d")
    best = np.sort(np.argsort(-dataset.episodes.episode_return)[:number])
    result, report = kept(tmp_path, dataset=dataset, top_return=share)
    assert result == best.tolist()
    assert report.failed == ({"top_return": 6 - number} if number < 6 else {})


def test_the_best_are_chosen_among_those_that_pass(tmp_path):
    dataset = mixed(tmp_path / "d")
    returns = dataset.episodes.episode_return[[1, 3, 5]]
    result, report = kept(tmp_path, dataset=dataset, agent=[1], top_return=0.3)
    assert result == [[1, 3, 5][int(np.argmax(returns))]]
    assert report.failed == {"agent": 3, "top_return": 2}


def test_of_equal_episodes_that_pass_the_first_is_kept(tmp_path):
    first = make_trajectories()[0]
    trajectories = [first, replace(first, group=1, agent=1), replace(first, group=2, agent=1)]
    dataset = write_dataset(tmp_path / "d", trajectories)
    curate([dataset], tmp_path / "a", curation=Curation(rules=CurationRules(dedupe=True)))
    curate([dataset], tmp_path / "b", curation=Curation(rules=CurationRules(dedupe=True, agent=(1,))))
    assert [entry.group for entry in entries(Dataset(tmp_path / "a"))] == [0]
    assert [entry.group for entry in entries(Dataset(tmp_path / "b"))] == [1]


@pytest.mark.parametrize(
    ("accepted", "kept"), [((False, True, True), 1), ((True, False, True), 0), ((False, False), 0), ((False, True), 1)]
)
def test_of_equal_episodes_an_accepted_one_is_preferred(tmp_path, accepted, kept):
    first = make_trajectories()[0]
    copies = [replace(first, group=number, accepted=is_accepted) for number, is_accepted in enumerate(accepted)]
    curate([write_dataset(tmp_path / "d", copies)], tmp_path / "a", curation=Curation(rules=CurationRules(dedupe=True)))
    assert [(entry.group, entry.accepted) for entry in entries(Dataset(tmp_path / "a"))] == [(kept, accepted[kept])]


def test_everything_about_an_episode_that_is_kept_stays(tmp_path):
    dataset = mixed(tmp_path / "d")
    curate([dataset], tmp_path / "out", curation=Curation(rules=CurationRules(agent=(1,))))
    new = Dataset(tmp_path / "out")
    before = [(entry, trajectory) for entry, trajectory in dataset.trajectories() if entry.agent == 1]
    after = list(new.trajectories())
    assert [new.manifest.sources[entry.source] for entry, _ in after] == [
        dataset.manifest.sources[entry.source] for entry, _ in before
    ]
    for (old, old_rows), (entry, rows) in zip(before, after, strict=True):
        assert entry.model_copy(update={"source": 0}) == old.model_copy(update={"source": 0})
        for name, column in old_rows.steps.items():
            np.testing.assert_array_equal(rows.steps[name], column)
        for name, row in old_rows.final.items():
            np.testing.assert_array_equal(rows.final[name], row)
    for field in ("observations", "action", "action_names", "feature_names", "event_kinds", "columns"):
        assert getattr(new.manifest, field) == getattr(dataset.manifest, field)
    assert validate(new).findings == ()


def test_a_source_of_nothing_that_is_kept_is_not_named(tmp_path):
    curate([mixed(tmp_path / "d")], tmp_path / "out", curation=Curation(rules=CurationRules(scenario=("busy",))))
    new = Dataset(tmp_path / "out")
    assert new.manifest.sources == (NETWORK,)
    assert {entry.source for entry in entries(new)} == {0}


def all_events(dataset):
    return sorted(group for events in dataset.events() for group in events["event.group"].tolist())


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_events_go_with_their_groups_whatever_shard_they_lie_in(tmp_path, shard_bytes):
    trajectories = make_trajectories()
    dataset = write_dataset(tmp_path / "d", trajectories, events=make_events(), shard_bytes=1)
    assert len(dataset.shards) == 6
    curation = Curation(rules=CurationRules(agent=(0,), max_length=6))
    curate([dataset], tmp_path / "out", curation=curation, shard_bytes=shard_bytes)
    new = Dataset(tmp_path / "out")
    assert sorted({entry.group for entry in entries(new)}) == [0, 2]
    assert all_events(new) == [0, 2]


def test_events_after_the_last_episode_that_is_kept_are_kept_too(tmp_path):
    from townlet_core.replay.writer import DatasetWriter

    dataset = write_dataset(tmp_path / "d", make_trajectories(2), events=make_events((0,)), complete=False)
    with DatasetWriter.append(dataset.path, filesystem=HASTY) as writer:
        writer.add_events(make_events((0,)))
        writer.add(make_trajectory(5, content=9, group=7))
    curate([Dataset(dataset.path)], tmp_path / "out", curation=Curation(rules=CurationRules(limit_episodes=2)))
    assert all_events(Dataset(tmp_path / "out")) == [0, 0]


def test_the_new_dataset_names_its_parent_and_how_it_was_made(tmp_path):
    dataset = mixed(tmp_path / "d")
    before = {file: file.read_bytes() for file in dataset.path.rglob("*") if file.is_file()}
    curation = Curation(rules=CurationRules(min_length=6), split={"a": 0.5, "b": 0.5}, seed=3, add_tags=("good",))
    report = curate([dataset], tmp_path / "out", curation=curation)
    (parent,) = Dataset(tmp_path / "out").manifest.parents
    assert (parent.path, parent.digest, parent.operation) == (str(dataset.path), dataset.digest, "curate")
    assert parent.options == {"min_length": 6, "split": {"a": 0.5, "b": 0.5}, "seed": 3, "add_tags": ["good"]}
    assert report.digest == Dataset(tmp_path / "out").digest
    assert {file: file.read_bytes() for file in dataset.path.rglob("*") if file.is_file()} == before


def test_equal_curations_give_equal_bytes(tmp_path):
    dataset = mixed(tmp_path / "d")
    curation = Curation(split={"a": 0.5, "b": 0.5})
    reports = [curate([dataset], tmp_path / name, curation=curation) for name in "xy"]
    assert reports[0].digest == reports[1].digest


def test_what_is_rejected_stays_and_is_marked(tmp_path):
    curation = Curation(rules=CurationRules(min_length=6), reject=True, add_tags=("good", "day"))
    report = curate([mixed(tmp_path / "d")], tmp_path / "out", curation=curation)
    new = entries(Dataset(tmp_path / "out"))
    assert [entry.accepted for entry in new] == [False, True, True, False, False, True]
    assert [entry.tags for entry in new] == [
        ("night",),
        ("day", "rain", "good"),
        ("good", "day"),
        ("night",),
        ("day", "rain", "good"),
        ("good", "day"),
    ]
    assert report.rejected == 3
    assert report.failed == {"min_length": 2}
    assert report.after == report.before


def test_joined_datasets_have_groups_of_their_own(tmp_path):
    first, second = mixed(tmp_path / "a"), write_dataset(tmp_path / "b", events=make_events())
    report = curate([first, second], tmp_path / "out", curation=Curation())
    new = Dataset(tmp_path / "out")
    assert [entry.group for entry in entries(new)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert all_events(new) == [0, 1, 2, 3, 4, 5]
    assert new.manifest.sources == (SCRIPT, NETWORK)
    assert [entry.source for entry in entries(new)] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert [parent.digest for parent in new.manifest.parents] == [first.digest, second.digest]
    assert report.before.episodes == 12


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"action_names": ("a", "b", "c", "d")}, "other action names"),
        ({"feature_names": {}}, "other feature names"),
        ({"event_kinds": ("meal",)}, "other kinds of events"),
    ],
)
def test_datasets_that_mean_other_things_are_not_joined(tmp_path, other, reason):
    first, second = write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b", **other)
    with pytest.raises(UsageError, match=reason):
        curate([first, second], tmp_path / "out", curation=Curation())
    assert not (tmp_path / "out").exists()


def test_datasets_of_other_columns_are_not_joined(tmp_path):
    first = write_dataset(tmp_path / "a")
    second = write_dataset(tmp_path / "b", [make_trajectory(5, rows={"values": None})])
    with pytest.raises(UsageError, match="other columns"):
        curate([first, second], tmp_path / "out", curation=Curation())


def test_a_dry_run_writes_nothing_and_says_the_same(tmp_path):
    dataset = mixed(tmp_path / "d")
    curation = Curation(rules=CurationRules(min_length=6), split={"a": 0.5, "b": 0.5})
    dry = curate([dataset], tmp_path / "out", curation=curation, dry_run=True)
    assert not (tmp_path / "out").exists()
    wet = curate([dataset], tmp_path / "out", curation=curation)
    assert dry == wet.model_copy(update={"digest": None, "dry_run": True})


def test_nothing_left_is_refused_with_the_rules_that_left_nothing(tmp_path):
    with pytest.raises(UsageError, match="5 fail min_length, 1 fail accepted_only"):
        kept(tmp_path, accepted_only=True, min_length=100)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_into_the_original(tmp_path):
    dataset = mixed(tmp_path / "d")
    with pytest.raises(UsageError, match="lies in the dataset"):
        curate([dataset], tmp_path / "d" / "chosen", curation=Curation())
    with pytest.raises(UsageError, match="lies in the dataset"):
        curate([dataset], tmp_path / "d", curation=Curation())


def test_damaged_rows_get_no_new_digests(tmp_path):
    dataset = mixed(tmp_path / "d")
    file = dataset.shards[0].path / "values.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"values\.npy is damaged"):
        curate([dataset], tmp_path / "out", curation=Curation())
    assert not (tmp_path / "out").exists()


def test_no_group_is_in_two_parts_and_the_report_says_the_real_shares(tmp_path):
    trajectories = make_trajectories(20)
    curation = Curation(split={"train": 0.75, "test": 0.25}, seed=1)
    report = curate([write_dataset(tmp_path / "d", trajectories)], tmp_path / "out", curation=curation)
    parts = {}
    for entry in entries(Dataset(tmp_path / "out")):
        parts.setdefault(entry.group, set()).add(entry.split)
    assert all(len(names) == 1 for names in parts.values())
    in_test = [group for group, names in parts.items() if names == {"test"}]
    assert report.splits["test"].groups == len(in_test) in (2, 3)
    assert report.splits["test"].episodes == 2 * len(in_test)
    assert report.splits["test"].share == len(in_test) / 10
    assert report.splits["train"].groups + len(in_test) == 10


def test_without_a_split_episodes_stay_in_their_parts(tmp_path):
    trajectories = [replace(t, split="test" if t.group else "train") for t in make_trajectories()]
    curate([write_dataset(tmp_path / "d", trajectories)], tmp_path / "out", curation=Curation())
    assert [e.split for e in entries(Dataset(tmp_path / "out"))] == ["train"] * 2 + ["test"] * 4


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.integers(0, 2**40), min_size=3, max_size=30, unique=True),
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    seed=st.integers(0, 2**63 - 1),
    data=st.data(),
)
def test_a_split_does_not_depend_on_order_and_meets_the_shares(groups, weights, seed, data):
    shares = {f"part{index}": weight / sum(weights) for index, weight in enumerate(weights)}
    parts = assign(groups, shares, seed=seed)
    assert parts == assign(data.draw(st.permutations(groups)), shares, seed=seed)
    assert parts.keys() == set(groups)
    counts = [sum(part == name for part in parts.values()) for name in shares]
    assert min(counts) >= 1
    most = max(1, *(abs(count - share * len(groups)) for count, share in zip(counts, shares.values(), strict=True)))
    assert most <= len(shares)


def test_exact_shares_are_met_exactly():
    for seed in range(5):
        parts = assign(range(10), {"train": 0.8, "test": 0.2}, seed=seed)
        assert sum(part == "test" for part in parts.values()) == 2


def test_another_seed_is_another_split():
    splits = {frozenset(assign(range(10), {"a": 0.5, "b": 0.5}, seed=seed).items()) for seed in range(5)}
    assert len(splits) > 1


def test_more_parts_than_groups_are_refused():
    with pytest.raises(UsageError, match="2 world-episodes cannot be split into 3 parts"):
        assign([0, 1], {"a": 0.4, "b": 0.3, "c": 0.3}, seed=0)
    with pytest.raises(UsageError, match="1 world-episode cannot be split"):
        assign([0], {"a": 0.5, "b": 0.5}, seed=0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train=0.8", "add up to 0.8"),
        ("train=0.8,test=0.3", "add up to 1.1"),
        ("train=0.5,train=0.5", "twice"),
        ("train", "NAME=SHARE"),
        ("train=x,test=1", "NAME=SHARE"),
        ("train=nan,test=1", "NAME=SHARE"),
        ("train=0,test=1", "NAME=SHARE"),
        (f"{'x' * 65}=1", "NAME=SHARE"),
        ("tr\tain=1", "NAME=SHARE"),
        ("=1", "NAME=SHARE"),
        ("", "NAME=SHARE"),
    ],
)
def test_a_split_that_is_none_is_refused(text, reason):
    with pytest.raises(UsageError, match=reason):
        parse_split(text)


def test_a_split_may_have_one_part_and_long_names():
    assert parse_split(f"{'x' * 64}=1") == {"x" * 64: 1.0}


def test_a_split_keeps_the_order_of_its_parts():
    assert list(parse_split(" train = 0.8, test=0.2").items()) == [("train", 0.8), ("test", 0.2)]


def test_progress_ends_with_every_row(tmp_path):
    seen = []
    curate([mixed(tmp_path / "d")], tmp_path / "o", curation=Curation(), on_progress=lambda *args: seen.append(args))
    assert seen[-1] == (36, 36)
    assert seen == sorted(seen)


def test_the_command_writes_what_its_options_say(tmp_path, capsys):
    dataset = mixed(tmp_path / "d")
    options = ["--agent", "1", "--max-length", "6", "--tag", "day", "--tag", "night", "--add-tag", "good"]
    assert main(["replay", "curate", str(dataset.path), str(tmp_path / "out"), *options]) == 0
    out = capsys.readouterr().out
    assert "--agent              2 episodes left out" in out
    assert "--max-length         2 episodes left out" in out
    assert "2 episodes of 6" in out
    assert [entry.tags[-1] for entry in entries(Dataset(tmp_path / "out"))] == ["good", "good"]


def test_the_command_prints_the_report_as_json(tmp_path, capsys):
    dataset = mixed(tmp_path / "d")
    arguments = [
        str(dataset.path),
        str(tmp_path / "out"),
        "--split",
        "train=0.5,test=0.5",
        "--seed",
        "4",
        "--dry-run",
        "--json",
    ]
    assert main(["replay", "curate", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"]
    assert document["splits"]["train"]["groups"] + document["splits"]["test"]["groups"] == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--min-length", "100"],
        ["--split", "a=2"],
        ["--top-return", "0"],
        ["--ending", "other"],
        ["--min-return", "nan"],
        ["--max-return", "inf"],
        ["--tag", ""],
        ["--scenario", "x" * 257],
        ["--add-tag", ""],
        ["--add-tag", "x" * 257],
    ],
)
def test_the_command_ends_with_64_for_what_cannot_be_made(tmp_path, capsys, options):
    dataset = mixed(tmp_path / "d")
    assert main(["replay", "curate", str(dataset.path), str(tmp_path / "out"), *options]) == 64
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_rule_that_cannot_be_is_named(tmp_path, capsys):
    dataset = mixed(tmp_path / "d")
    assert main(["replay", "curate", str(dataset.path), str(tmp_path / "out"), "--min-return", "nan"]) == 64
    assert "--min-return cannot be nan" in capsys.readouterr().err


def test_tags_may_be_as_long_as_a_dataset_allows(tmp_path):
    curate([mixed(tmp_path / "d")], tmp_path / "out", curation=Curation(add_tags=("x" * 256,)))
    assert entries(Dataset(tmp_path / "out"))[0].tags[-1] == "x" * 256


def test_the_command_ends_with_66_without_a_dataset(tmp_path):
    assert main(["replay", "curate", str(tmp_path / "none"), str(tmp_path / "out")]) == 66


def test_what_is_curated_of_a_bad_dataset_can_be_good(tmp_path):
    trajectories = make_trajectories()
    bad = make_trajectory(7, content=2, ending="cut", rows={"log_probs": put(1, 0.5)})
    dataset = write_dataset(tmp_path / "d", changed(trajectories, 2, steps=bad.steps))
    assert validate(dataset).errors == 1
    curate([dataset], tmp_path / "out", curation=Curation(rules=CurationRules(max_length=6)))
    assert validate(Dataset(tmp_path / "out")).findings == ()


def test_a_dataset_that_is_given_twice_is_refused_unless_equal_episodes_are_left_out(tmp_path):
    first, more = mixed(tmp_path / "d"), write_dataset(tmp_path / "more", sources=[SCRIPT])
    shutil.copytree(tmp_path / "d", tmp_path / "copy")
    again = Dataset(tmp_path / "copy")
    with pytest.raises(UsageError, match=r"d and .*copy are the same dataset.*--dedupe"):
        curate([first, again], tmp_path / "out", curation=Curation())
    assert not (tmp_path / "out").exists()
    report = curate([first, again], tmp_path / "out", curation=Curation(rules=CurationRules(dedupe=True)))
    assert report.after.episodes == 6
    assert curate([first, more], tmp_path / "both", curation=Curation()).after.episodes == 12


def test_values_that_no_episode_has_are_named_with_those_that_there_are(tmp_path):
    dataset = mixed(tmp_path / "d")

    def refused(**rules):
        with pytest.raises(UsageError) as error:
            curate([dataset], tmp_path / "out", curation=Curation(rules=CurationRules(**rules)))
        return str(error.value)

    said = refused(tag=["nigth"])
    assert "no episode has --tag nigth (there are day, night, rain); did you mean 'night'?" in said
    assert "--scenario bussy (there are busy, quiet); did you mean 'busy'?" in refused(scenario=["bussy"])
    assert "--source-policy pop (there are ppo, scripted); did you mean 'ppo'?" in refused(source_policy=["pop"])
    assert "--agent 7 (there are 0, 1)" in refused(agent=[7])
    assert "no episode has" not in refused(source_policy=["ab" * 16], min_length=99)  # a digest that is there


def test_a_value_among_others_that_no_episode_has_is_a_warning(tmp_path):
    dataset = mixed(tmp_path / "d")
    for rules in ({"tag": ["night", "nigth"]}, {"not_tag": ["nigth"]}):
        with pytest.warns(TownletWarning, match=r"tag nigth \(.*did you mean 'night'\?"):
            curate([dataset], tmp_path / next(iter(rules)), curation=Curation(rules=CurationRules(**rules)))


def test_no_more_values_are_told_than_one_can_read(tmp_path):
    trajectories = [replace(one, tags=(f"t{index:02}",)) for index, one in enumerate(make_trajectories(20))]
    dataset = write_dataset(tmp_path / "d", trajectories)
    with pytest.raises(UsageError, match=r"there are t00, .*, t11 and 8 more\)$"):
        curate([dataset], tmp_path / "out", curation=Curation(rules=CurationRules(tag=["other"])))


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("trian=0.5,test=0.5", "behaviour cloning learns from; did you mean 'train'?"),
        ("a=0.5,b=0.5", "no part of the split is called 'train'"),
        ("train=0.5,held=0.5", ""),
    ],
)
@pytest.mark.filterwarnings("always::townlet_core.errors.TownletWarning")
def test_a_split_without_a_part_to_learn_from_is_told(tmp_path, capsys, split, said):
    path = str(mixed(tmp_path / "d").path)
    assert main(["replay", "curate", path, str(tmp_path / "out"), "--split", split, "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert said in shown
    assert bool(said) == bool(shown)


def test_an_episode_of_an_unknown_source_gets_that_of_no_other_dataset(tmp_path):
    unknown = write_dataset(tmp_path / "a", [make_trajectory(content=1)], sources=())
    known = write_dataset(tmp_path / "b", [make_trajectory(content=2)])
    curate([unknown, known], tmp_path / "both", curation=Curation())
    dataset = Dataset(tmp_path / "both")
    first, second = (dataset.manifest.sources[entry.source] for entry in entries(dataset))
    assert (first.kind, first.policy, first.path) == ("import", "", str(unknown.path))
    assert second == SCRIPT
    curate([unknown], tmp_path / "alone", curation=Curation())
    assert Dataset(tmp_path / "alone").manifest.sources == ()
