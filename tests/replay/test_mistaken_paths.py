"""What is given where something else is expected is named, with what to do with it."""

import json
import shutil

import pytest
from datasets import write_dataset

from townlet_core.cli.main import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a dataset, a run with a policy, and a Minari dataset, as far as their names go."""
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "demos")
    for name in ("clone/run.json", "clone/policy/policy.json", "door/data/main_data.hdf5"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path


COMMANDS = [
    ["replay", "summary"],
    ["replay", "validate"],
    ["replay", "curate", "{}", "out"],
    ["replay", "export", "{}", "out", "--format", "legacy"],
    ["replay", "convert", "{}", "out", "--to", "legacy"],
    ["train", "--strategy", "bc", "--set", "strategies.bc.dataset={}", "--run-dir", "run"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[min(1, len(command) - 1)])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("clone", "clone is a run and no dataset: 'townlet capture --policy clone'"),
        ("clone/policy", "clone/policy is a policy and no dataset"),
        ("demos/dataset.json", "demos/dataset.json is the manifest of a dataset: name its directory, demos"),
        ("demos/shard-000000", "demos/shard-000000 is a shard of a dataset: name the dataset, demos"),
        ("door", "door is a Minari dataset: make a dataset of it first, 'townlet replay import door OUT'"),
    ],
)
def test_what_is_no_dataset_is_named_with_what_helps(place, capsys, command, given, said):
    if command[1] == "convert" and given == "door":
        return  # which converts it
    filled = [word.format(given) for word in command]
    arguments = filled if filled != command else [*command, given]
    assert main(arguments) == 66
    assert said in capsys.readouterr().err


def test_a_run_that_recorded_a_dataset_is_named_with_it(place, capsys):
    shutil.move(place / "demos", place / "clone" / "capture")
    for strategy in ("bc", "ppo"):
        words = ["--set", f"strategies.{strategy}.dataset=clone", "--run-dir", "run"]
        words += ["--set", "strategies.ppo.data_mode=replay"]
        assert main(["train", "--strategy", strategy, *words]) == 66
        assert "clone is a run and no dataset: what it recorded is clone/capture\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--strategy", "ppo", "--from", "demos", "--run-dir", "run"],
        ["evaluate", "demos"],
        ["capture", "--policy", "demos", "--episodes", "1", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_a_dataset_where_a_policy_is_expected_is_named_with_what_makes_one_of_it(place, capsys, command):
    assert main(command) == 66
    said = capsys.readouterr().err
    assert "demos is a dataset and no policy: 'townlet train --strategy bc --set strategies.bc.dataset=demos'" in said


def test_a_dataset_of_townlet_stays_one_whatever_else_lies_in_it(place):
    (place / "demos" / "policy.json").write_text(json.dumps({}))
    assert main(["replay", "summary", "demos"]) == 0


def test_a_directory_that_is_nothing_says_so(place, capsys):
    shutil.rmtree(place / "door" / "data")
    assert main(["replay", "validate", "door"]) == 66
    assert "door is not a dataset: it has no dataset.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "there is no directory nowhere, of a run or a dataset, and no scenario of that name (there are"),
        ("defualt", "and no scenario of that name; did you mean 'default'?"),
        ("village.yaml", "there is no run, no dataset and no scenario file village.yaml"),
    ],
)
def test_what_cannot_be_viewed_is_missing(place, capsys, given, said):
    assert main(["view", given]) == 66
    assert said in capsys.readouterr().err
