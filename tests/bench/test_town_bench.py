"""The town's figures count who is there, time what they say, and score what happened to everybody."""

import inspect
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from townlet_core.bench import town_score
from townlet_core.bench.town import Workload, crowded_scenario, measure_town
from townlet_core.bench.town_ppo import measure_town_ppo
from townlet_core.bench.town_profile import profile_town
from townlet_core.bench.town_score import _live, measure_score
from townlet_core.cli.main import main
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.environments.town import TownEnvironment
from townlet_core.errors import MissingInputError, UsageError
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.plugins.registry import Registry
from townlet_core.services.evaluation import episode_seeds
from townlet_core.services.rollout import Rollout
from townlet_core.simulation.scenarios import load_scenario
from townlet_core.simulation.town import Town


@pytest.fixture(scope="module")
def registry():
    return Registry.discover({})


class StepClock:
    """A clock that goes on by one second whenever it is read, and by more when a test says so."""

    def __init__(self):
        self.time = 0.0

    def monotonic(self):
        self.time += 1.0
        return self.time


def test_a_step_and_what_is_seen_are_timed_and_the_choice_of_actions_is_not(monkeypatch):
    clock, drawn = StepClock(), Workload.actions

    def slowly(work):
        clock.time += 1e6
        return drawn(work)

    monkeypatch.setattr(Workload, "actions", slowly)
    row = measure_town(load_scenario("default"), num_worlds=3, seconds=0, warmup=0, clock=clock)
    assert row["ticks"] == 2
    assert row["step_per_sec"] == row["step_per_sec_median"] == 3 * 8
    assert row["observed_per_sec"] == row["observed_per_sec_median"] == 3 * 8 / 2


def test_who_is_absent_is_not_counted(monkeypatch):
    def one_dies(work, ticks):
        work.town.state.present[0, 5] = False
        work.town.state.empty_ticks[0, 5] = 99

    monkeypatch.setattr(Workload, "warm_up", one_dies)
    row = measure_town(load_scenario("default"), num_worlds=2, seconds=0, warmup=0, clock=StepClock())
    assert row["step_per_sec"] == 15


def test_the_workload_has_newcomers_and_perturbations_and_no_end():
    work = Workload(EnvironmentConfig().town, load_scenario("default"), 2)
    work.town.state.hunger[0] = 0.031
    work.warm_up(40)
    assert work.town.state.life[0].min() >= 1
    assert work.town.state.present[0].any()
    assert work.town.config.perturbations.enabled
    assert work.town.num_ticks > 10**6


def test_a_larger_crowd_lives_among_the_same_objects_with_the_same_shares_of_jobs():
    small, large = crowded_scenario(8), crowded_scenario(64)
    assert (small.num_agents, large.num_agents) == (8, 64)
    assert small.objects == large.objects
    assert len(small.objects) == 4 * len(load_scenario("default").objects)
    assert small.size == large.size == (48, 48)
    assert [agent.count / 8 for agent in large.agents] == [agent.count for agent in small.agents]


@pytest.mark.parametrize("number", [0, 12, 72])
def test_a_crowd_that_cannot_be_shared_out_is_refused(number):
    with pytest.raises(UsageError, match="8, 16, 24"):
        crowded_scenario(number)


def test_the_profile_has_every_system_of_a_tick_and_adds_up():
    rows = profile_town(load_scenario("default"), num_worlds=2, ticks=5, warmup=0)
    calls = re.findall(r"(\w+)\.(\w+)\(tick", inspect.getsource(Town.advance))
    systems = {f"{module}.{name}" for module, name in calls if module != "self"}
    systems |= {"lives.bury", "lives.welcome", "masks.action_mask", "observations.write_map"}
    assert len(systems) > 15
    assert systems <= {row["system"] for row in rows}
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.02)
    assert [row["us_per_tick"] for row in rows] == sorted((row["us_per_tick"] for row in rows), reverse=True)
    assert not {"town.advance", "town.step", "observations.observe"} & {row["system"] for row in rows}


def test_a_score_is_the_mean_over_worlds_of_what_present_agents_earn_per_tick():
    """World 0 earns 1 + 3 in 2 agent-ticks, world 1 earns 6 in 1; what stands in absent rows is nobody's."""
    here = [np.array([[True, True], [True, False]]), np.array([[False, False], [False, False]])]
    earned = [np.array([[1.0, 3.0], [6.0, 100.0]]), np.full((2, 2), 100.0)]
    counted = ("faint_events", "queue_conflict_events", "shift_ticks_scheduled", "shift_ticks_attended")
    events = {name: np.array([1.0, 3.0]) for name in counted} | {"shift_ticks_attended": np.array([1.0, 0.0])}
    steps = iter(zip(here, here, [SimpleNamespace(rewards=each, events=events) for each in earned], strict=True))
    town = SimpleNamespace(num_ticks=2, config=SimpleNamespace(day_ticks=4))
    figures = _live(SimpleNamespace(step=lambda: next(steps)), SimpleNamespace(num_worlds=2, town=town))
    assert figures == {
        "reward_mean": 4.0,
        "reward_stderr": 2.0,
        "faints_per_day": 8.0,
        "attendance": 0.25,
        "conflicts_per_day": 8.0,
    }


def test_the_score_of_idleness_is_that_of_waiting_in_the_worlds_of_evaluation(registry):
    row = measure_score(registry, "idle", num_worlds=3, seed=7, scenario="observation_baseline")
    environment = TownEnvironment(EnvironmentConfig(scenario="observation_baseline"), num_worlds=3)
    environment.reset(episode_seeds(7, 3))
    total = sum(environment.step(np.zeros((3, 1), np.int64)).rewards[:, 0].astype(float) for _ in range(20)) / 20
    assert row["reward_mean"] == pytest.approx(total.mean(), abs=6e-6)
    assert row["reward_stderr"] == pytest.approx(total.std(ddof=1) / 3**0.5, abs=6e-6)


def test_the_same_seed_gives_the_same_score_and_another_seed_another(registry):
    first, again, other = (
        measure_score(registry, "random", num_worlds=4, seed=seed, max_ticks=20) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["reward_mean"] != other["reward_mean"]


@pytest.mark.parametrize("seen", [{"variant": "compact"}, {"variant": "full", "map_dtype": "float32"}])
def test_a_policy_sees_what_it_was_trained_on_and_may_be_greedy(registry, tmp_path, monkeypatch, seen):
    config = SimulationConfig.model_validate(
        {
            "environment": {"num_worlds": 2, "town": seen},
            "strategies": {"ppo": {"total_steps": 128, "num_steps": 8, "hidden": [4]}},
        }
    )
    TrainingOrchestrator(config, registry=registry, run_dir=tmp_path / "run").run_ppo()
    rollouts = []

    class Watched(Rollout):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            rollouts.append((self.environment.town.config, named["deterministic"]))

    monkeypatch.setattr(town_score, "Rollout", Watched)
    for greedy, actions in ((False, "sampled"), (True, "greedy")):
        row = measure_score(registry, str(tmp_path / "run"), num_worlds=2, max_ticks=3, deterministic=greedy)
        config, deterministic = rollouts.pop()
        assert (row["actions"], deterministic) == (actions, greedy)
        assert seen == {name: getattr(config, name) for name in seen}


def test_what_is_neither_a_script_nor_an_artefact_is_refused(registry, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'scripted'"):
        measure_score(registry, "scriptde", num_worlds=2)
    with pytest.raises(MissingInputError):
        measure_score(registry, str(tmp_path / "nothing"), num_worlds=2)


def test_the_phases_of_learning_in_the_town_are_apart(registry):
    row = measure_town_ppo(registry, num_worlds=2, num_steps=8, variant="compact", seconds=0)
    shares = [row[f"share_{phase}"] for phase in ("environment", "acting", "learning")]
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert all(0 < share < 1 for share in shares)
    assert row["updates"] == 2


def test_the_command_has_a_row_for_each_view_and_number_of_worlds_and_each_crowd(capsys):
    arguments = "bench town --worlds 1 --worlds 2 --variants full --variants compact --agents 16 --seconds 0 --json"
    assert main(arguments.split()) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["variant"], row["map"], row["num_worlds"], row["num_agents"]) for row in rows] == [
        ("full", "uint8", 1, 8),
        ("full", "uint8", 2, 8),
        ("full", "float32", 1, 8),
        ("full", "float32", 2, 8),
        ("compact", "none", 1, 8),
        ("compact", "none", 2, 8),
        ("full", "uint8", 64, 16),
    ]


def test_without_a_name_the_command_scores_all_three_scripts(capsys):
    assert main(["bench", "town-score", "--worlds", "2", "--ticks", "5"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["random", "idle", "scripted"]
    assert "attendance" not in shown, "no shift falls into the first ticks, so nobody has a share of them"
