"""`townlet train` on recordings: what a user types, and what is said."""

from __future__ import annotations

import pytest
from legacy_files import write_capture
from recordings import episode, recorded
from town_runs import capture

from townlet_core.cli.main import main

QUICK = ("--set", "strategies.ppo.num_steps=8", "--set", "strategies.ppo.total_steps=60")


@pytest.fixture
def train(tmp_path, capsys, monkeypatch):
    """Return a function that trains on a dataset in `run`, and returns the exit code and what was said."""
    monkeypatch.chdir(tmp_path)

    def train(*options):
        code = main(["train", "--strategy", "ppo", "--run-dir", "run", *QUICK, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return train


def test_a_run_says_what_it_did_and_how_its_policy_is_evaluated(train, tmp_path) -> None:
    dataset = capture(tmp_path / "captured", total_steps=1)
    code, out, err = train("--set", "strategies.ppo.data_mode=replay", "--set", f"strategies.ppo.dataset={dataset}")
    assert code == 0
    assert "steps/s" in err
    words = [line.split() for line in out.splitlines()]
    assert ["run", "run"] in words
    assert ["next", "townlet", "evaluate", "run", "--episodes", "100", "--stochastic"] in words
    assert not [line for line in words if line[0] == "return"]


def test_a_policy_of_an_environment_that_nobody_names_is_not_to_be_evaluated(train, tmp_path) -> None:
    write_capture(tmp_path / "old", 3)
    code, out, _ = train("--set", "strategies.ppo.data_mode=replay", "--set", "strategies.ppo.dataset=old")
    assert code == 0
    assert "next" not in out


def test_the_setting_that_a_refusal_names_is_one_that_works(train, tmp_path) -> None:
    recorded(tmp_path / "d", [episode(0, 12, source=1)])
    options = ("--set", "strategies.ppo.data_mode=replay", "--set", "strategies.ppo.dataset=d")
    code, _, err = train(*options)
    assert code == 65
    assert not (tmp_path / "run").exists()
    setting = err.partition("--set '")[2].partition("'")[0]
    assert train(*options, "--set", setting)[0] == 0
