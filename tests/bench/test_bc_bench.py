"""The race of behaviour cloning: everybody learns from the same rows, in turns, and ours learns what it would alone."""

import json
import subprocess
import sys

import numpy as np
import pytest

from townlet_core.bench import bc
from townlet_core.bench.bc import LIMIT, Race, Turn, demonstrations, measure_bc, write
from townlet_core.plugins.registry import Registry
from townlet_core.replay.dataset import Dataset


@pytest.fixture(scope="module")
def registry():
    return Registry.discover({})


def test_the_dataset_holds_the_rows_that_the_others_have_in_memory(tmp_path):
    observations, actions = demonstrations(2500)
    write(tmp_path / "d", observations, actions)
    dataset = Dataset(tmp_path / "d")
    assert dataset.episodes.num_steps.tolist() == [1000, 1000, 500]
    columns = [[shard.column(name) for shard in dataset.shards] for name in ("observation", "actions")]
    assert np.array_equal(np.concatenate(columns[0]), observations)
    assert np.array_equal(np.concatenate(columns[1]), actions)


def test_contenders_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    time = np.zeros(2)
    monkeypatch.setattr(bc, "clocks", time.copy)

    def contend():
        time[:] += (5.0, 4.0)
        return Turn(100, 5.0, 4.0)

    race = Race(seconds=3.0, others={"other": contend})
    for spent in (9.0, 2.0, 1.0):
        assert not race.requested
        time[:] += spent
        race.log({"transitions": 60})
    assert race.requested
    assert [turn.rates for turn in race.turns["townlet"]] == [(30.0, 30.0), (60.0, 60.0)]
    assert [turn.rates for turn in race.turns["other"]] == [(20.0, 25.0)] * 2


def test_all_of_them_learn_and_the_limit_is_what_ratios_are_to(registry, monkeypatch):
    monkeypatch.setattr(bc, "_SLICE_SEC", 0.0)
    rows = {row["contender"]: row for row in measure_bc(registry, rows=1024, seconds=0.0, batch_size=256)}
    assert {"townlet", "bare loop", LIMIT, "DataLoader"} <= rows.keys()
    assert rows[LIMIT]["ratio"] == rows[LIMIT]["ratio_cpu"] == 1.0
    for row in rows.values():
        assert row["rounds"] == 2
        assert 0 < row["lowest"] <= row["samples_per_sec"] <= row["highest"]


@pytest.mark.parametrize("name", ["bare loop", LIMIT, "DataLoader"])
def test_a_bare_loop_learns(name, monkeypatch):
    monkeypatch.setattr(bc, "_SLICE_SEC", 0.0)
    import torch

    losses, real = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda *a: (losses.append(float(real(*a).detach())), real(*a))[1]
    )
    contend = bc.contenders(*demonstrations(2048), 256)[name]
    for _ in range(40):
        assert contend().samples == 256
    assert losses[-1] < losses[0] - 0.4


def test_the_command_prints_json_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "bc", "--rows", "600", "--batch-size", "64", "--seconds", "0", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "townlet_core", *arguments], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bench"] == "bc"
    assert report["rows"][0]["contender"] == "townlet"
    assert list(tmp_path.iterdir()) == []
