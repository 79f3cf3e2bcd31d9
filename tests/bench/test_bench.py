"""Measuring changes nothing, counts what it says, and keeps evaluation off the clock."""

import json
import os
import subprocess
import sys
import time

import pytest

from townlet_core.bench import solve as solve_module
from townlet_core.bench.machine import describe_machine
from townlet_core.bench.ppo import measure_ppo
from townlet_core.bench.probe import Probe, run_probed
from townlet_core.bench.solve import measure_solve
from townlet_core.bench.startup import measure_startup
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry():
    return Registry.discover({})


class StepClock:
    """A clock that goes on by one second whenever it is read, and by more when a test says so."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def monotonic(self):
        self.time += 1.0
        return self.time


SMALL = {"total_steps": 256, "num_steps": 16, "hidden": [8]}


def test_a_measured_run_learns_what_an_unmeasured_one_learns(registry, tmp_path):
    config = SimulationConfig(environment=EnvironmentConfig(name="gymnasium:CartPole-v1"), strategies={"ppo": SMALL})
    run = TrainingOrchestrator(config, registry=registry, run_dir=tmp_path / "run").run_ppo()
    digests = []

    class Listening(Probe):
        def log(self, record):
            digests.append(record["policy_digest"])
            super().log(record)

    run_probed(config, registry, Listening(StepClock(), lambda _: False))
    assert digests[-1] == run.policy_digest
    assert len(digests) == run.epoch == 2


def test_speed_is_steps_over_the_time_of_whole_updates_after_the_warm_up(registry):
    clock = StepClock()
    row = measure_ppo(registry, num_worlds=2, seconds=0, warmup=1, clock=clock)
    assert row["updates"] == 2
    assert row["steps_per_sec"] == pytest.approx(2 * 128 / seconds_of_one_update(), abs=0.1)
    assert row["share_environment"] + row["share_acting"] + row["share_learning"] == pytest.approx(1, abs=2e-3)
    assert row["share_environment"] == pytest.approx(128 / seconds_of_one_update(), abs=1e-3)


def test_what_is_done_after_an_update_is_off_the_clock():
    clock, processor = StepClock(), []

    def dawdle(probe):
        clock.time += 1e6
        processor.append(burnt())
        return False

    probe = Probe(clock, dawdle)
    for steps in (10, 20, 30):
        probe.log({"agent_steps": steps})
    assert probe.ends == [1, 2, 3]
    assert probe.aside == 3e6 + 3
    assert probe.cpu_sec[2] - probe.cpu_sec[0] < min(processor) / 2


def burnt():
    """Use some processor time, and return how much."""
    begin = time.process_time()
    while time.process_time() < begin + 0.05:
        pass
    return time.process_time() - begin


def seconds_of_one_update():
    """The clock is read twice around each of 128 steps, twice around the rollout, thrice elsewhere in an update."""
    return 2 * 128 + 2 + 3


def test_the_phases_are_apart_and_none_is_empty(registry):
    row = measure_ppo(registry, num_worlds=4, seconds=0, warmup=1)
    for share in ("share_environment", "share_acting", "share_learning"):
        assert 0.02 < row[share] < 0.96


def test_evaluation_is_off_the_clock_and_the_first_good_one_is_the_mark(registry, monkeypatch):
    clock, means = StepClock(), iter([20.0, 474.9, 475.0, 123.0])

    def evaluate(probe, **_):
        assert probe.policy is not None
        clock.time += 1e6
        return next(means), 9.0

    monkeypatch.setattr(solve_module, "_evaluate", evaluate)
    row = measure_solve(registry, seed=0, evaluate_every=128, settings=SMALL | {"total_steps": 640}, clock=clock)
    assert (row["solved_steps"], row["end_steps"]) == (384, 640)
    assert 0 < row["solved_sec"] < row["end_sec"] < 1e4
    assert (row["final_return_mean"], row["final_return_min"]) == (123.0, 9.0)


def test_a_run_that_solves_nothing_says_so_and_is_scored_on_fresh_episodes(registry):
    row = measure_solve(registry, seed=0, evaluate_every=10**9, settings=SMALL)
    assert (row["solved_sec"], row["solved_steps"]) == (None, None)
    assert 8 <= row["final_return_min"] <= row["final_return_mean"] < 475


def test_start_up_is_measured_beside_a_click_program():
    rows = measure_startup(runs=2)
    assert [row["command"] for row in rows] == ["click hello --help", "townlet --help", "townlet plugins"]
    assert rows[0]["ratio"] == 1.0
    assert all(0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"] for row in rows)


def test_a_figure_says_what_it_was_measured_on():
    machine = describe_machine()
    assert machine["usable_processors"] >= 1
    assert {"python", "numpy", "torch", "townlet-core"} <= machine["versions"].keys()


def townlet(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "townlet_core", *arguments],
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_json_is_all_that_stands_on_standard_output_and_no_run_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = townlet("bench", "ppo", "--envs", "2", "--envs", "4", "--vectorization", "sync", "--seconds", "0", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bench"] == "ppo"
    assert [row["num_worlds"] for row in report["rows"]] == [2, 4]
    assert list(tmp_path.iterdir()) == []


def test_without_the_plugin_a_measurement_is_unavailable():
    done = townlet("--no-plugins", "bench", "ppo", "--seconds", "0")
    assert done.returncode == 69
    assert "ppo" in done.stderr


def test_the_table_has_a_line_for_each_row():
    done = townlet("bench", "ppo", "--envs", "2", "--vectorization", "sync", "--seconds", "0")
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "worlds",
        "stepping",
        "threads",
        "steps/s",
        "median",
        "/cpu",
        "s",
        "updates",
        "env",
        "act",
        "learn",
    ]
    assert lines[1].split()[:2] == ["2", "sync"]
    assert max(map(len, lines)) <= 80
