"""PPO in the town as a user runs it: the default environment, its events, its empty slots, its curriculum."""

import json
import signal

import numpy as np
import pytest

from townlet_core.dto.base import without_clock
from townlet_core.dto.ppo import TownFields

SHORT = ("--set", "strategies.ppo.num_epochs=2", "--set", "strategies.ppo.num_steps=50")


def records(run):
    return [json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines()]


def test_without_a_further_argument_ppo_trains_in_the_town_and_reports_its_events(townlet):
    """Hunger falls fast here, so that lives end and slots are empty within a short run."""
    sets = ("--set", "strategies.ppo.total_steps=6000", "--set", "environment.town.needs.hunger_decay=0.02")
    done = townlet("train", "--strategy", "ppo", *SHORT, *sets, "--run-dir", "run", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    telemetry = records(townlet.directory / "run")
    for record in (result, *telemetry):
        assert all(record[name] is not None for name in TownFields.model_fields if name != "chat_quality_mean")
    chats = sum(record["chat_success_events"] for record in telemetry)
    assert chats > 0
    assert sum(record["chat_failure_events"] for record in telemetry) > 0
    assert all(0.4 <= record["chat_quality_mean"] <= 1.0 for record in telemetry if record["chat_success_events"] > 0)
    slots = 50 * 8 * 8
    lost = sum(record["environment.agent_exit"] for record in telemetry)
    assert lost == sum(record["environment.faint_events"] for record in telemetry) > 0
    assert any(record["transitions"] < slots for record in telemetry)
    assert result["agent_steps"] == sum(record["transitions"] for record in telemetry)
    assert "name: town" in (townlet.directory / "run" / "config.yaml").read_text()


def test_the_same_seed_gives_the_same_bytes(townlet):
    for name in ("one", "two"):
        sets = ("--set", "strategies.ppo.total_steps=3000", "--set", "environment.scenario=queue_conflict")
        assert townlet("train", *SHORT, *sets, "--run-dir", name).returncode == 0
    one, two = townlet.directory / "one", townlet.directory / "two"
    assert [without_clock(record) for record in records(one)] == [without_clock(record) for record in records(two)]
    for file in sorted((one / "policy").iterdir()):
        assert file.read_bytes() == (two / "policy" / file.name).read_bytes()


def test_a_policy_of_the_town_is_evaluated_without_torch(townlet):
    sets = ("--set", "strategies.ppo.total_steps=100", "--set", "environment.scenario=queue_conflict")
    assert townlet("train", *SHORT, *sets, "--run-dir", "run").returncode == 0
    done = townlet("evaluate", "run", "--episodes", "3", "--json", torch=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["environment"] == "town"
    assert [episode["length"] for episode in result["episodes"]] == [80, 80, 80]


def test_a_users_own_scenario_trains_and_a_bad_one_is_told_by_line(townlet):
    (townlet.directory / "village.yaml").write_text("name: village\nticks: 40\nsize: [6, 6]\nagents:\n  - {count: 2}\n")
    sets = ("--set", "strategies.ppo.total_steps=100", "--set", "environment.scenario=village.yaml")
    assert townlet("train", *SHORT, *sets, "--run-dir", "run").returncode == 0
    (townlet.directory / "village.yaml").write_text("name: village\nticks: 40\nagents:\n  - {cuont: 2}\n")
    done = townlet("train", *SHORT, *sets)
    assert done.returncode == 78
    assert "village.yaml:4" in done.stderr
    assert "did you mean 'count'" in done.stderr
    assert not (townlet.directory / "runs").exists()


def test_a_run_whose_scenario_file_was_changed_is_not_resumed(townlet):
    path = townlet.directory / "village.yaml"
    path.write_text("name: village\nticks: 40\nsize: [6, 6]\nagents:\n  - {count: 2}\n")
    sets = ("--set", "strategies.ppo.total_steps=10000000", "--set", "environment.scenario=village.yaml")
    run = townlet.directory / "run"
    process = townlet.start("train", *SHORT, *sets, "--run-dir", "run")
    log = run / "telemetry.jsonl"
    townlet.stop_when(process, lambda: log.exists() and log.stat().st_size > 0, signal.SIGINT)
    assert process.returncode == 75
    path.write_text(path.read_text().replace("ticks: 40", "ticks: 50"))
    done = townlet("train", "--resume", "--run-dir", "run")
    assert done.returncode == 78
    assert "the scenario village.yaml is not what it was" in done.stderr


def test_settings_of_the_town_are_refused_for_another_environment(townlet, small):
    done = townlet("train", *small, "--set", "environment.scenario=storm")
    assert done.returncode == 78
    assert "only the town reads that" in done.stderr


def test_the_social_stage_follows_the_cycle():
    """Two talkative friends: nothing is paid for their chats before the stage is reached."""
    pytest.importorskip("torch", reason="PPO trains with torch")
    from townlet_core.config.load import load_config
    from townlet_core.environments.build import make_environment

    schedule = "environment.town.social_reward_schedule=[{cycle: 2, stage: C1}, {cycle: 4, stage: 'OFF'}]"
    config = load_config(None, sets=["environment.scenario=demo_story_arc", schedule]).config
    environment = make_environment(config.environment, num_worlds=8)
    environment.reset(0)
    paid = []
    for cycle in range(6):
        environment.begin_cycle(cycle)
        earned = 0.0
        for _ in range(10):
            environment.step(np.full((8, 3), 7))
            earned += float(environment.town.reward_terms["social"].sum())
        paid.append(earned > 0)
    assert paid == [False, False, True, True, False, False]


def test_ppo_tells_the_environment_its_cycle(townlet):
    schedule = "environment.town.social_reward_schedule=[{cycle: 1, stage: C1}]"
    sets = ("--set", schedule, "--set", "strategies.ppo.total_steps=9000", "--set", "strategies.ppo.learning_rate=1e-9")
    plain = sets[2:]
    for name, given in (("plain", plain), ("staged", sets)):
        assert townlet("train", *SHORT, *given, "--run-dir", name).returncode == 0
    before, after = records(townlet.directory / "plain"), records(townlet.directory / "staged")
    assert [record["cycle_id"] for record in after] == [0, 1, 2]
    assert before[0]["adv_mean"] == after[0]["adv_mean"]
    assert before[1]["adv_mean"] != after[1]["adv_mean"]
