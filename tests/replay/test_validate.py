"""Every finding is made where it should be, and a dataset with nothing wrong has none."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from datasets import (
    OBSERVATION_SPACES,
    SCRIPT,
    changed,
    edit_episodes,
    edit_file,
    edit_manifest,
    make_events,
    make_trajectories,
    make_trajectory,
    put,
    write_dataset,
)
from gymnasium import spaces
from legacy_files import write_capture

from townlet_core.cli.main import main
from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.column_file import npy_header
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.finding_codes import FINDING_CODES
from townlet_core.replay.schema import DATASET_NAME
from townlet_core.replay.validate import validate, validate_path


def good(path, **options):
    return write_dataset(path, events=make_events(), **options)


def with_rows(path, column, change, *, index=2, **spaces_and_names):
    """Write a dataset in which one column of one episode is changed."""
    trajectories = make_trajectories()
    bad = trajectories[index]
    rows = make_trajectory(bad.num_steps, content=index, ending=bad.ending, rows={column: change})
    return write_dataset(path, changed(trajectories, index, steps=rows.steps, final=rows.final), **spaces_and_names)


def everywhere(path, column, change, **spaces_and_names):
    """Write a dataset in which one column of every episode is changed."""
    trajectories = make_trajectories()
    rows = [
        make_trajectory(old.num_steps, content=index, ending=old.ending, rows={column: change})
        for index, old in enumerate(trajectories)
    ]
    return write_dataset(
        path,
        [replace(old, steps=new.steps, final=new.final) for old, new in zip(trajectories, rows, strict=True)],
        **spaces_and_names,
    )


def with_fields(path, **fields):
    """Write a dataset in which the fields of episode 3, of group 1, are others."""
    return write_dataset(path, changed(make_trajectories(), 3, **fields))


def overwrite(path, name, data):
    (path / name).write_bytes(data)


def damage_manifest(path):
    good(path)
    overwrite(path, DATASET_NAME, b"{")


def flip_byte(path):
    file = good(path).shards[0].path / "rewards.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def swap_shard_manifest(path):
    shards = good(path).shards
    shutil.copy(shards[1].path / "manifest.json", shards[0].path / "manifest.json")


def wrong_header(path):
    dataset = good(path)
    right = dataset.shards[0].column("rewards")
    header = npy_header((len(right), 1), right.dtype)
    edit_file(dataset, "rewards.npy", lambda data: header + data[len(header) :])


def nobody_recorded(path):
    good(path)
    document = json.loads((path / DATASET_NAME).read_bytes())
    overwrite(path, DATASET_NAME, json.dumps({**document, "shards": []}).encode())


def unknown_event(path):
    events = make_events() | {"event.kind": np.array([0, 2, 1], np.uint16)}
    write_dataset(path, events=events)


def bad_rewards(path):
    edit_file(good(path), "rewards.npy", lambda data: data[:-4] + np.float32(np.nan).tobytes())


IMPORTED = SCRIPT.model_copy(update={"kind": "import"})


def continuous(path, change=None, source=SCRIPT):
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def actions(old):
        new = np.linspace(-1, 1, 2 * len(old), dtype=np.float32).reshape(-1, 2)
        return new if change is None else change(new)

    trajectories = [
        make_trajectory(5, content=content, group=content, rows={"actions": actions, "action_mask": None})
        for content in range(3)
    ]
    return write_dataset(path, trajectories, action_space=box, action_names=(), sources=[source])


def categories(path, value):
    place = spaces.Discrete(3)
    trajectories = [make_trajectory(5, content=1, rows={"observation.features": None, "observation.map": None})]
    steps = dict(trajectories[0].steps) | {"observation.place": np.array([0, 1, 2, value, 0])}
    final = {"final.observation.place": np.int64(1)}
    write_dataset(
        path,
        [replace(trajectories[0], steps=steps, final=final)],
        observation_spaces={"observation.place": place},
        feature_names={},
    )


def equal_content(path, **fields):
    """Write a dataset whose episode 4, of group 2, has the rows of episode 0, of group 0."""
    first = make_trajectories()[0]
    fields = {"group": 2, "seed": 102, **fields}
    write_dataset(
        path, changed(make_trajectories(), 4, steps=first.steps, final=first.final, ending=first.ending, **fields)
    )


def duplicate_in_test(path):
    trajectories = make_trajectories()
    trajectories[4] = replace(trajectories[0], group=2, seed=102)
    write_dataset(path, [replace(t, split="test" if t.group == 2 else "train") for t in trajectories])


def split_in_two(path, *, apart):
    """Write a dataset of two splits; `apart` is the number of an episode of group 0 or 1 that is in the other one."""
    trajectories = [replace(t, split="train" if t.group < 2 else "test") for t in make_trajectories()]
    write_dataset(path, changed(trajectories, apart, split="test"))


def mostly(path, share_of_others):
    """Write 1000 rows with action 3, but for a share."""
    others = int(1000 * share_of_others)
    actions = np.r_[np.zeros(others, np.int64), np.full(1000 - others, 3)]
    write_dataset(path, [make_trajectory(1000, rows={"actions": actions})])


ROW, LAST = 1, -1
BAD = {
    "D001": damage_manifest,
    "D002": lambda path: (good(path).shards[0].path / "values.npy").unlink(),
    "D003": flip_byte,
    "D004": lambda path: overwrite(good(path).path, "notes.txt", b""),
    "D005": swap_shard_manifest,
    "D006": wrong_header,
    "D007": lambda path: edit_episodes(good(path), lambda entries: entries[0].update(num_steps=1)),
    "D008": lambda path: write_dataset(path, complete=False),
    "D009": nobody_recorded,
    "D010": lambda path: everywhere(path, "action_mask", lambda mask: mask[:, :3]),
    "D011": unknown_event,
    "D012": lambda path: everywhere(path, "truncations", None),
    "D101": lambda path: with_rows(path, "observation.features", put((ROW, 2), np.nan)),
    "D102": lambda path: categories(path, 3),
    "D103": lambda path: with_rows(path, "observation.features", put((ROW, 2), 10.5)),
    "D104": lambda path: continuous(path, put((ROW, 1), np.inf)),
    "D105": lambda path: with_rows(path, "actions", put(ROW, 4)),
    "D106": lambda path: continuous(path, put((ROW, 1), 1.5), IMPORTED),
    "D107": bad_rewards,
    "D108": lambda path: with_rows(path, "action_mask", put((ROW, 3), False)),
    "D109": lambda path: with_rows(path, "action_mask", put(ROW, False)),
    "D110": lambda path: edit_file(good(path), "action_mask.npy", lambda data: data[:-1] + b"\x02"),
    "D201": lambda path: with_rows(path, "log_probs", put(ROW, -np.inf)),
    "D202": lambda path: with_rows(path, "log_probs", put(ROW, 0.1)),
    "D203": lambda path: with_rows(path, "log_probs", put(slice(None), 0)),
    "D204": lambda path: everywhere(path, "log_probs", None),
    "D205": lambda path: with_rows(path, "values", put(ROW, np.nan)),
    "D301": lambda path: with_rows(path, "terminations", put(ROW, True)),
    "D302": lambda path: with_rows(path, "terminations", put(LAST, True)),
    "D303": lambda path: edit_episodes(good(path), lambda entries: entries[1].update(episode_return=0.25)),
    "D304": lambda path: edit_episodes(good(path), lambda entries: entries[1].update(content="0" * 64)),
    "D305": lambda path: with_rows(path, "bootstrap_values", np.float32(0.5), index=0),
    "D306": equal_content,
    "D307": lambda path: with_fields(path, agent=0, start_step=6),
    "D401": lambda path: split_in_two(path, apart=2),
    "D402": duplicate_in_test,
    "D405": lambda path: write_dataset(path, changed(make_trajectories(5), 4, seed=100)),
    "D501": lambda path: everywhere(path, "rewards", put(slice(None), 0.5)),
    "D502": lambda path: everywhere(path, "actions", lambda actions: np.minimum(actions, 2)),
    "D503": lambda path: mostly(path, 0.0),
    "D504": lambda path: mostly(path, 0.005),
    "D505": lambda path: everywhere(path, "observation.features", put((slice(None), 2), 0.5)),
}
"""What makes a dataset with the finding of each code, but for those between two datasets."""

ALONG = {"D107": {"D304"}, "D109": {"D108"}, "D503": {"D502"}, "D504": {"D502"}}
"""What cannot but be found as well."""

PLACE = {
    "D002": ("shard-000000/values.npy", None, None),
    "D003": ("shard-000000/rewards.npy", None, None),
    "D004": ("notes.txt", None, None),
    "D006": ("shard-000000/rewards.npy", None, None),
    "D101": ("observation.features.npy", 2, ROW),
    "D103": ("observation.features.npy", 2, ROW),
    "D105": ("actions.npy", 2, ROW),
    "D107": ("shard-000000/rewards.npy", None, None),
    "D108": ("action_mask.npy", 2, None),
    "D202": ("log_probs.npy", 2, ROW),
    "D301": ("terminations.npy", 2, ROW),
    "D302": ("terminations.npy", 2, None),
    "D303": ("episodes.json", 1, None),
    "D304": ("episodes.json", 1, None),
    "D305": ("bootstrap_values.npy", 0, None),
    "D306": ("episodes.json", 4, None),
    "D307": (None, 3, None),
    "D401": ("episodes.json", 3, None),
}


def codes(report):
    return {finding.code for finding in report.findings}


def test_a_dataset_with_nothing_wrong_has_no_findings(tmp_path):
    report = validate(good(tmp_path / "d"))
    assert report.findings == ()
    assert (report.errors, report.warnings, report.notes) == (0, 0, 0)


def test_every_code_is_found_by_a_test():
    assert {*BAD, "D403", "D404", "D406"} == FINDING_CODES.keys()


@pytest.mark.parametrize("code", BAD)
def test_what_is_wrong_is_found_and_nothing_else(tmp_path, code):
    BAD[code](tmp_path / "d")
    report = validate_path(tmp_path / "d")
    assert codes(report) - ALONG.get(code, set()) == {code}
    severity = FINDING_CODES[code].severity
    assert getattr(report, f"{severity}s") >= 1
    if code in PLACE:
        file, episode, row = PLACE[code]
        place = next(finding for finding in report.findings if finding.code == code).places[0]
        assert file is None or place.file.endswith(file)
        assert episode is None or place.episode == episode
        assert row is None or place.row == row


def test_what_lies_in_two_datasets_is_found(tmp_path):
    good(tmp_path / "a")
    equal = changed(make_trajectories(), 1, seed=None)
    other = [
        replace(t, seed=200, steps=make_trajectory(t.num_steps, content=50 + i, ending=t.ending).steps)
        for i, t in enumerate(make_trajectories())
    ]
    write_dataset(tmp_path / "same_rows", [replace(t, seed=None) for t in equal[1:2]])
    write_dataset(tmp_path / "same_seed", [replace(other[0], seed=100)])
    write_dataset(tmp_path / "apart", other[:1])

    def found(name):
        report = validate_path(tmp_path / "a", against=tmp_path / name)
        assert report.against == str(tmp_path / name)
        return {finding.code: [place.episode for place in finding.places] for finding in report.findings}

    assert found("same_rows") == {"D403": [1]}
    assert found("same_seed") == {"D404": [0]}
    assert found("apart") == {}


def test_the_same_seed_of_another_scenario_is_no_leak(tmp_path):
    good(tmp_path / "a")
    trajectory = make_trajectory(5, content=50, seed=100)
    write_dataset(tmp_path / "b", [trajectory], sources=[SCRIPT.model_copy(update={"scenario": "busy"})])
    assert validate_path(tmp_path / "a", against=tmp_path / "b").findings == ()


def test_numbers_at_their_bounds_are_inside(tmp_path):
    dataset = with_rows(tmp_path / "a", "observation.features", put((ROW, slice(None)), [-10, 10, 0]))
    assert validate(dataset).findings == ()
    dataset = with_rows(tmp_path / "b", "log_probs", put(ROW, 0.0))
    assert validate(dataset).findings == ()


def test_densities_may_be_above_one(tmp_path):
    assert validate(continuous(tmp_path / "a")).findings == ()
    trajectories = [
        make_trajectory(
            5,
            content=content,
            group=content,
            rows={
                "actions": np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2),
                "action_mask": None,
                "log_probs": np.full(5, 2.5, np.float32),
            },
        )
        for content in range(2)
    ]
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert validate(write_dataset(tmp_path / "b", trajectories, action_space=box, action_names=())).findings == ()


def test_a_continuous_action_that_never_changes_is_a_single_one(tmp_path):
    report = validate(continuous(tmp_path / "d", put(slice(None), 0.5)))
    assert codes(report) == {"D503"}


def test_a_step_may_terminate_and_be_cut_at_once(tmp_path):
    dataset = with_rows(tmp_path / "d", "truncations", put(LAST, True), index=0)
    assert dataset.episodes.ending[0] == 0
    assert validate(dataset).findings == ()


@pytest.mark.parametrize(
    ("ending", "flag"), [("truncated", "terminations"), ("cut", "truncations"), ("cut", "terminations")]
)
def test_a_flag_that_the_ending_does_not_have_contradicts_it(tmp_path, ending, flag):
    index = ("terminated", "truncated", "cut").index(ending)
    dataset = with_rows(tmp_path / "d", flag, put(LAST, True), index=index)
    assert codes(validate(dataset)) == {"D302"}


def test_each_choice_of_a_composed_action_has_to_be_allowed(tmp_path):
    space = spaces.MultiDiscrete([2, 3])

    def write(name, **changes):
        rows = {
            "actions": np.array([[0, 0], [1, 1], [0, 2], [1, 0], [0, 1]]),
            "action_mask": np.ones((5, 5), np.bool_),
        }
        rows |= {column: change(rows[column]) for column, change in changes.items()}
        return write_dataset(tmp_path / name, [make_trajectory(5, rows=rows)], action_space=space, action_names=())

    assert codes(validate(write("good"))) == set()
    assert codes(validate(write("masked", action_mask=put((2, 4), False)))) == {"D108"}
    assert codes(validate(write("other", action_mask=put((2, 3), False)))) == set()
    assert codes(validate(write("empty", action_mask=put((2, slice(0, 2)), False)))) == {"D108", "D109"}
    assert codes(validate(write("beyond", actions=put((2, 0), 2)))) == {"D105"}


def test_rows_far_into_a_long_episode_are_found_where_they_are(tmp_path):
    # Checks go block by block, and this episode is longer than a block.
    far = 48_000

    def bad_features(array):
        array[far, 0], array[far + 1, 0] = np.nan, 11.0
        return array

    without_map = {"observation.map": None, "final.observation.map": None}
    trajectories = [
        make_trajectory(3, rows=without_map),
        make_trajectory(
            50_000,
            content=1,
            group=1,
            rows={
                **without_map,
                "observation.features": bad_features,
                "action_mask": put(far + 2, False),
                "actions": put(far + 3, 9),
            },
        ),
    ]
    dataset = write_dataset(
        tmp_path / "d",
        trajectories,
        observation_spaces={"observation.features": OBSERVATION_SPACES["observation.features"]},
        shard_bytes=1 << 30,
    )
    found = {f.code: [(p.episode, p.row) for p in f.places] for f in validate(dataset).findings}
    assert found == {
        "D101": [(1, far)],
        "D103": [(1, far + 1)],
        "D105": [(1, far + 3)],
        "D108": [(1, far + 2)],
        "D109": [(1, far + 2)],
    }


@pytest.mark.parametrize(
    ("space", "row"),
    [(spaces.MultiBinary(3), [0, 1, 2]), (spaces.MultiDiscrete([2, 3]), [1, 3]), (spaces.Discrete(3), -1)],
)
def test_categories_beyond_their_space_are_impossible(tmp_path, space, row):
    good_rows = np.zeros((5, *space.shape), space.dtype)
    good_rows[1:3] = 1
    for name, change in (("good", lambda rows: rows), ("bad", put(3, row))):
        rows = change(good_rows.copy())
        steps = {**make_trajectory(5).steps, "observation.place": rows}
        del steps["observation.features"], steps["observation.map"]
        trajectory = replace(make_trajectory(5), steps=steps, final={"final.observation.place": good_rows[0]})
        dataset = write_dataset(
            tmp_path / name, [trajectory], observation_spaces={"observation.place": space}, feature_names={}
        )
        assert {"D102", "D103"} & codes(validate(dataset)) == ({"D102"} if name == "bad" else set())


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("rewards", lambda column: np.arange(len(column)), "floats of shape (), one for each step"),
        ("log_probs", lambda column: np.arange(len(column)), "floats"),
        ("values", lambda column: np.arange(len(column)), "floats"),
        ("bootstrap_values", np.int64(0), "floats of shape (), one for each episode"),
        ("bootstrap_values", np.zeros(2, np.float32), "floats of shape (), one for each episode"),
        ("terminations", lambda column: column.astype(np.uint8), "booleans"),
        ("truncations", lambda column: column.astype(np.float32), "booleans"),
        ("action_mask", lambda column: column.astype(np.uint8), "booleans of shape (4,)"),
        ("actions", lambda column: column.astype(np.float32), "integers"),
        ("final.observation.features", np.zeros(4, np.float32), "floats of shape (3,)"),
        ("final.observation.map", np.zeros((2, 3, 3), np.float32), "integers of shape (2, 3, 3)"),
    ],
)
def test_a_column_has_the_type_and_shape_of_its_meaning(tmp_path, column, change, words):
    trajectories = [make_trajectory(5, content=content, group=content, rows={column: change}) for content in range(2)]
    (finding,) = validate(write_dataset(tmp_path / "d", trajectories)).findings
    assert (finding.code, finding.places[0].column) == ("D010", column)
    assert words in finding.places[0].detail


def test_a_column_that_nobody_knows_may_be_anything(tmp_path):
    trajectory = make_trajectory(5)
    trajectory = replace(trajectory, steps={**trajectory.steps, "weather": np.zeros((5, 2), np.int16)})
    assert validate(write_dataset(tmp_path / "d", [trajectory])).findings == ()


@pytest.mark.parametrize(("others", "expected"), [(0, {"D502", "D503"}), (9, {"D504"}), (10, set())])
def test_of_two_choices_one_may_have_99_percent_and_no_more(tmp_path, others, expected):
    actions = np.r_[np.zeros(others, np.int64), np.ones(1000 - others, np.int64)]
    trajectory = make_trajectory(1000, rows={"actions": actions, "action_mask": None})
    two = {"action_space": spaces.Discrete(2), "action_names": ("stay", "go")}
    assert codes(validate(write_dataset(tmp_path / "d", [trajectory], **two))) == expected


def test_an_action_without_choice_is_not_degenerate(tmp_path):
    trajectory = make_trajectory(5, rows={"actions": np.zeros(5, np.int64), "action_mask": None})
    one = {"action_space": spaces.Discrete(1), "action_names": ()}
    assert validate(write_dataset(tmp_path / "d", [trajectory], **one)).findings == ()


def test_one_row_never_changes_and_that_means_nothing(tmp_path):
    assert validate(write_dataset(tmp_path / "one", [make_trajectory(1)])).findings == ()
    twice = {"rewards": put(slice(None), 1.0), "actions": put(slice(None), 1)}
    two = write_dataset(tmp_path / "two", [make_trajectory(2, rows=twice)])
    assert codes(validate(two)) == {"D501", "D502", "D503"}


def test_a_dataset_without_sources_is_compared_by_content_alone(tmp_path):
    write_dataset(tmp_path / "a", sources=())
    assert codes(validate_path(tmp_path / "a", against=tmp_path / "a")) == {"D403"}


def test_two_lives_of_one_agent_may_follow_each_other_and_not_overlap(tmp_path):
    lives = [replace(make_trajectory(5, content=life), life=life, start_step=5 * life) for life in range(2)]
    assert validate(write_dataset(tmp_path / "a", lives)).findings == ()
    lives[1] = replace(lives[1], start_step=4)
    (finding,) = validate(write_dataset(tmp_path / "b", lives)).findings
    assert finding.code == "D307"
    said = "agent 0 of world-episode 0: steps 0 to 4 are episode 0, and this one begins at 4"
    assert finding.places[0].detail == said
    lives[1] = replace(lives[1], agent=1)
    assert validate(write_dataset(tmp_path / "c", lives)).findings == ()


def test_of_many_places_the_first_are_told_and_all_are_counted(tmp_path):
    dataset = everywhere(tmp_path / "d", "log_probs", put(slice(None), 0.5))
    (finding,) = validate(dataset, limit=3).findings
    assert (finding.code, finding.count) == ("D202", 36)
    assert [(place.episode, place.row) for place in finding.places] == [(0, 0), (0, 1), (0, 2)]


def test_places_in_later_shards_are_counted_over_all(tmp_path):
    dataset = with_rows(tmp_path / "d", "log_probs", put(3, 0.5), index=5)
    assert len(dataset.shards) == 2
    (finding,) = validate(dataset).findings
    assert (finding.places[0].file, finding.places[0].episode, finding.places[0].row) == (
        "shard-000001/log_probs.npy",
        5,
        3,
    )


def test_the_detail_names_the_entry_and_its_limits(tmp_path):
    dataset = with_rows(tmp_path / "d", "observation.features", put((ROW, 2), 10.5))
    assert validate(dataset).findings[0].places[0].detail == "entry [2] is 10.5, allowed is -10 to 10"


def test_a_missing_shard_is_a_missing_file_and_the_others_are_checked(tmp_path):
    dataset = with_rows(tmp_path / "d", "log_probs", put(ROW, 0.5), index=5)
    shutil.rmtree(dataset.shards[0].path)
    report = validate(Dataset(tmp_path / "d"))
    assert codes(report) == {"D002", "D202"}
    assert report.findings[1].places[0].episode == 5


def test_errors_come_first(tmp_path):
    dataset = everywhere(tmp_path / "d", "rewards", put(slice(None), 0.5))
    edit_episodes(dataset, lambda entries: entries[0].update(episode_return=9.0))
    report = validate_path(tmp_path / "d")
    assert [finding.severity for finding in report.findings] == ["error", "warning"]


@pytest.mark.parametrize("change", [{"source": 1}, {"num_steps": 4}, {"ending": "other"}])
def test_episodes_that_do_not_fit_the_manifest_are_unreadable_and_other_shards_are_checked(tmp_path, change):
    dataset = with_rows(tmp_path / "d", "log_probs", put(ROW, 0.5), index=5)
    edit_episodes(dataset, lambda entries: entries[0].update(change))
    assert codes(validate_path(tmp_path / "d")) == {"D007", "D202"}


def test_what_is_not_there_is_missing_and_not_damaged(tmp_path):
    with pytest.raises(MissingInputError, match="is not a dataset"):
        validate_path(tmp_path / "nothing")
    good(tmp_path / "a")
    damage_manifest(tmp_path / "b")
    with pytest.raises(DatasetError, match="b/dataset"):
        validate_path(tmp_path / "a", against=tmp_path / "b")


def test_progress_ends_with_every_byte(tmp_path):
    seen = []
    dataset = good(tmp_path / "d")
    validate(dataset, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (dataset.num_bytes, dataset.num_bytes)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        ("D502", [], 0),
        ("D502", ["--strict"], 0),
        ("D501", [], 0),
        ("D501", ["--strict"], 65),
        ("D202", [], 65),
        ("D001", [], 65),
    ],
)
def test_the_command_ends_with_65_for_errors_and_if_strict_for_warnings(tmp_path, capsys, code, options, expected):
    BAD[code](tmp_path / "d")
    assert main(["replay", "validate", str(tmp_path / "d"), *options]) == expected
    out = capsys.readouterr().out
    assert f"{code}   {FINDING_CODES[code].severity}: {FINDING_CODES[code].name}" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80


def test_the_command_prints_the_report_as_json(tmp_path, capsys):
    with_rows(tmp_path / "d", "log_probs", put(slice(None), 0.5))
    assert main(["replay", "validate", str(tmp_path / "d"), "--places", "2", "--json"]) == 65
    document = json.loads(capsys.readouterr().out)
    assert document["errors"] == 1
    assert len(document["findings"][0]["places"]) == 2
    assert document["findings"][0]["count"] == 7


def test_the_command_says_how_many_places_it_left_out(tmp_path, capsys):
    with_rows(tmp_path / "d", "log_probs", put(slice(None), 0.5))
    main(["replay", "validate", str(tmp_path / "d"), "--places", "2"])
    assert "and 5 more" in capsys.readouterr().out


def test_the_command_names_what_is_missing(tmp_path, capsys):
    assert main(["replay", "validate", str(tmp_path / "d")]) == 66
    assert "does not exist" in capsys.readouterr().err


def test_files_of_the_earlier_format_are_to_be_imported_first(tmp_path, capsys):
    manifest = write_capture(tmp_path / "c") / "rollout_sample_manifest.json"
    dataset = good(tmp_path / "d")
    for arguments in (
        ["validate", str(tmp_path / "c")],
        ["validate", str(dataset.path), "--against", str(manifest)],
        ["curate", str(dataset.path), str(manifest), str(tmp_path / "out")],
    ):
        assert main(["replay", *arguments]) == 64
        assert "'townlet replay import" in capsys.readouterr().err


def test_the_edits_of_these_tests_are_no_finding_by_themselves(tmp_path):
    edit_manifest(good(tmp_path / "d"), lambda document: None)
    assert validate_path(tmp_path / "d").findings == ()


def test_what_townlet_sampled_may_lie_outside_the_bounds_and_what_others_recorded_is_told(tmp_path):
    for kind in ("capture", "training"):
        own = SCRIPT.model_copy(update={"kind": kind})
        assert "D106" not in codes(validate(continuous(tmp_path / kind, put((1, 1), 1.5), own)))
    assert "D106" in codes(validate(continuous(tmp_path / "import", put((1, 1), 1.5), IMPORTED)))


def test_of_a_joined_dataset_the_imported_episodes_alone_are_told(tmp_path):
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    actions = np.full((5, 2), 1.5, np.float32)
    trajectories = [
        make_trajectory(5, content=n, group=n, source=n % 2, rows={"actions": actions, "action_mask": None})
        for n in range(4)
    ]
    dataset = write_dataset(
        tmp_path / "d", trajectories, action_space=box, action_names=(), sources=[SCRIPT, IMPORTED], shard_bytes=1 << 20
    )
    (finding,) = [finding for finding in validate(dataset, limit=20).findings if finding.code == "D106"]
    assert finding.count == 10
    assert [place.episode for place in finding.places] == [1] * 5 + [3] * 5


def test_another_dataset_of_other_spaces_is_told(tmp_path):
    here = good(tmp_path / "d")
    boxes = continuous(tmp_path / "boxes")
    (finding,) = [one for one in validate(here, against=boxes).findings if one.code == "D406"]
    assert [place.detail for place in finding.places] == [f"'action' differs from that of {boxes.path}"]
    assert "D406" not in codes(validate(here, against=here))
