"""Anneal in the town: whose conflicts count, and which social stage each stage of a schedule lives in."""

import json

import pytest
from annealing import CLONE, anneal, anneal_config, ppo
from run_outcome import telemetry

from townlet_core import TrainingOrchestrator
from townlet_core.cli.main import main
from townlet_core.environments.build import make_environment
from townlet_core.environments.town import TownEnvironment
from townlet_core.errors import RunInterrupted
from townlet_core.replay.dataset import Dataset
from townlet_core.services.contender import script_contender
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.suites import Part, Suite
from townlet_strategies_anneal.demonstrator import RECORDED, demonstrator_of

TOWN = {
    "environment.name": "town",
    "environment.max_episode_steps": 200,
    "environment.num_worlds": 4,
    "environment.town.variant": "compact",
}
EASY = {"accuracy_threshold": 0.0, "return_share": None, "margin": 1000.0, "hold_repeats": 0}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    """Four short days of the script."""
    path = tmp_path_factory.mktemp("town") / "demonstrations"
    sets = [word for key, value in TOWN.items() if key != "environment.name" for word in ("--set", f"{key}={value}")]
    assert main(["capture", "--episodes", "4", *sets, "--out", str(path)]) == 0
    return path


def test_a_script_that_was_cloned_is_known_by_its_name_and_others_by_what_they_did(demonstrations, tmp_path):
    assert demonstrator_of(demonstrations, tmp_path, {"random", "scripted"}) == ("scripted", {})
    name, rates = demonstrator_of(demonstrations, tmp_path, {"random"})
    assert name == RECORDED
    config = anneal_config(tmp_path, [ppo(0)], **TOWN).environment
    seeds = tuple(dict.fromkeys(entry.seed for shard in Dataset(demonstrations).shards for entry in shard.entries()))
    part = Part(environment=config, scenario_digest="", seeds=seeds)
    suite = Suite(name="recorded", score_name="reward_mean", parts=(part,))
    same = EvaluationService().evaluate_suite(script_contender("scripted"), suite, make_environment)
    for metric in ("queue_conflict_events", "queue_conflict_intensity_sum", "faint_events", "chat_success_events"):
        assert rates[metric] * 200 == pytest.approx(same.metrics[metric]), metric
    assert rates["queue_conflict_events"] > 0


def test_what_was_imported_is_found_where_the_stage_has_it_and_nothing_is_nobody(demonstrations, tmp_path):
    (tmp_path / "data").symlink_to(demonstrations)
    assert demonstrator_of(tmp_path / "manifest.json", tmp_path, {"scripted"}) == ("scripted", {})
    assert demonstrator_of(None, tmp_path / "data", {"scripted"}) == ("", {})


def test_guardrails_are_held_against_the_script_where_it_does_worse_than_its_clone(demonstrations, tmp_path):
    rails = [{"metric": "queue_conflict_events"}, {"metric": "attendance", "direction": "lower"}]
    schedule = [CLONE, ppo(1, 1, 0.5, learning_rate=1e-9)]
    result, _ = anneal(tmp_path, schedule, dataset=demonstrations, guardrails=rails, **EASY, **TOWN)
    clone, stage = result.stages[:2]
    (scripted,) = [baseline for baseline in result.baselines if baseline.name == "scripted"]
    assert clone.demonstrator == "scripted"
    for check, worst in zip(stage.checks[1:], (max, min), strict=True):
        levels = {"the clone": clone.metrics[check.name], "scripted, who was cloned": scripted.metrics[check.name]}
        assert check.baseline == worst(levels.values())
        assert levels[check.against] == check.baseline
    assert stage.checks[1].against == "scripted, who was cloned", "a clone of so little has no conflicts"
    assert "--against scripted --suite suites/anneal-8.yaml" in stage.checks[1].command


def test_a_clone_is_held_against_what_its_script_does_in_the_same_episodes_and_not_in_other_ones(
    demonstrations, tmp_path
):
    """The suite is half as long as what was recorded."""
    short = {**TOWN, "environment.max_episode_steps": 100}
    easy = {"accuracy_threshold": 0.0, "return_share": 0.01, "margin": 1000.0}
    result, _ = anneal(tmp_path, [CLONE], dataset=demonstrations, **easy, **short)
    (scripted,) = [baseline for baseline in result.baselines if baseline.name == "scripted"]
    (check,) = [check for check in result.stages[0].checks if check.name == "score of the clone"]
    assert (check.against, check.baseline) == ("scripted", scripted.score.mean)
    recorded = json.loads((tmp_path / "run" / "stages" / "001-bc" / "result.json").read_text())
    assert check.baseline != pytest.approx(recorded["demonstrator_reward_mean"], rel=1e-3)


SOCIAL = {**TOWN, "environment.town.social_reward_schedule": [{"cycle": 5, "stage": "C1"}]}
SLOWLY = {"learning_rate": 1e-9, "num_steps": 50}
STAGES = [ppo(3, 2, **SLOWLY), ppo(5, 2, **SLOWLY)]


def learned(run):
    """Return what the rewards of each update came to, by stage."""
    return {stage.name: [line["adv_mean"] for line in telemetry(stage)] for stage in sorted(run.glob("stages/*"))}


@pytest.fixture(scope="module")
def social(tmp_path_factory):
    """A run whose second stage reaches the cycle in which chats begin to pay."""
    return anneal(tmp_path_factory.mktemp("social"), STAGES, **EASY, **SOCIAL)[1]


def test_a_stage_lives_in_the_social_stage_of_its_cycle(social, tmp_path):
    _, plain = anneal(tmp_path, STAGES, **EASY, **TOWN)
    without, staged = learned(plain), learned(social)
    assert staged["001-ppo"] == without["001-ppo"], "cycle 3 is before the change"
    is_paid = [one != other for one, other in zip(staged["002-ppo"], without["002-ppo"], strict=True)]
    chats = [line["chat_success_events"] for line in telemetry(social / "stages" / "002-ppo")]
    assert is_paid == [number > 0 for number in chats]
    assert any(is_paid)
    assert all(line["chat_success_events"] > 0 for line in telemetry(social / "stages" / "001-ppo"))
    cycles = [line["cycle_id"] for stage in ("001-ppo", "002-ppo") for line in telemetry(social / "stages" / stage)]
    assert cycles == [3, 3, 5, 5]


@pytest.mark.parametrize("update", [3, 4], ids=["between the stages", "within the stage"])
def test_a_run_that_is_resumed_lives_in_the_social_stage_of_its_cycle(social, tmp_path, monkeypatch, update):
    told = []
    begin = TownEnvironment.begin_cycle

    def begin_and_stop(environment, cycle):
        told.append(cycle)
        if len(told) == update:
            raise RunInterrupted("stopped")
        begin(environment, cycle)

    monkeypatch.setattr(TownEnvironment, "begin_cycle", begin_and_stop)
    config = anneal_config(tmp_path, STAGES, **EASY, **SOCIAL)
    with pytest.raises(RunInterrupted):
        TrainingOrchestrator(config, run_dir=tmp_path / "run").run()
    TrainingOrchestrator(config, run_dir=tmp_path / "run", resume=True).run()
    assert told[update:] == [5] * (5 - update)
    assert learned(tmp_path / "run") == learned(social)
    scores = [json.loads((run / "result.json").read_text())["stages"][1]["score"] for run in (social, tmp_path / "run")]
    assert scores[0] == scores[1]
