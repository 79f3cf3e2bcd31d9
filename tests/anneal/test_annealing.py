"""Whole schedules, run the way a user runs them."""

import json

import numpy as np
import pytest
from annealing import CLONE, anneal, anneal_config, balanced_poles, ppo
from run_outcome import telemetry

from townlet_core import TrainingOrchestrator
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.dto.base import without_clock
from townlet_core.errors import ConfigError, PluginError, RunInterrupted
from townlet_core.orchestrator.evaluate import evaluate_policies
from townlet_core.orchestrator.stages import ChildStages
from townlet_core.plugins.registry import Registry
from townlet_core.policy.artefact import load_artefact
from townlet_core.policy.heads import masked_log_softmax
from townlet_core.services.lineage import lineage
from townlet_core.services.promotion import PromotionService
from townlet_strategies_anneal.judgement import Judgement


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return balanced_poles(tmp_path_factory.mktemp("poles") / "demonstrations")


@pytest.fixture(scope="module")
def passed(tmp_path_factory, demonstrations):
    """A run whose three stages pass: (result, directory)."""
    return anneal(
        tmp_path_factory.mktemp("passed"), [ppo(2), CLONE, ppo(1, 2, 0.5)], dataset=demonstrations, margin=5.0
    )


def verdicts(result):
    return [(stage.mode, stage.verdict) for stage in result.stages]


def test_stages_run_in_the_order_of_their_cycles_and_pass(passed):
    result, _ = passed
    assert verdicts(result) == [("bc", "PASS"), ("ppo", "PASS"), ("ppo", "PASS")]
    assert [stage.bc_weight for stage in result.stages] == [1.0, 0.5, 0.0]
    assert (result.status, result.reason) == ("PASS", "every stage passed")
    assert [stage.updates for stage in result.stages] == [4, 2, 4], "updates of one strategy are counted on"
    assert result.agent_steps == sum(stage.agent_steps for stage in result.stages) - result.stages[1].agent_steps


def test_each_stage_begins_with_the_policy_that_the_one_before_ended_with(passed):
    result, run = passed
    for before, after in zip(result.stages, result.stages[1:], strict=False):
        assert after.initial_digest == before.digest == load_artefact(run / before.policy).digest
    assert [(stage.begins_from, stage.continues) for stage in result.stages] == [(None, None), (1, None), (2, 2)]


def test_the_result_is_the_best_policy_byte_by_byte(passed):
    result, run = passed
    best = result.stages[result.best_stage - 1]
    assert best.is_best
    assert result.artefact.digest == best.digest
    for path in (run / "policy").iterdir():
        assert path.read_bytes() == (run / best.policy / path.name).read_bytes()


def test_a_policy_leads_back_through_the_stages_to_the_demonstrations(passed, demonstrations):
    result, run = passed
    last = result.stages[-1]
    node, found = lineage(run / last.policy), []
    while node.kind == "policy":
        found.append(node.digest)
        (node,) = node.made_from
    assert found == [stage.digest for stage in reversed(result.stages)]
    assert (node.kind, node.state, node.path) == ("dataset", "verified", str(demonstrations))


def test_every_verdict_has_its_rule_numbers_interval_seeds_and_command(passed):
    result, _ = passed
    for stage in result.stages:
        assert stage.checks
        assert len(set(stage.seeds)) == 8
        assert all(check.rule and check.reason for check in stage.checks)
    assert all(stage.seeds == result.stages[0].seeds for stage in result.stages)
    for stage in result.stages[1:]:
        (check,) = [check for check in stage.checks if check.name == "score beside the clone"]
        assert check.difference.low <= check.difference.mean <= check.difference.high
        assert check.command.startswith(f"townlet evaluate {stage.policy} --against stages/001-bc/policy --suite ")


def test_the_command_of_a_verdict_gives_the_same_difference(passed, monkeypatch):
    result, run = passed
    stage = result.stages[2]
    (check,) = [check for check in stage.checks if check.name == "score beside the clone"]
    words = check.command.split()
    monkeypatch.chdir(run)
    report = evaluate_policies(
        words[2],
        registry=Registry.discover({}),
        against=[words[4]],
        suite=words[6],
        margin=float(words[8]),
        deterministic="--stochastic" not in words,
    )
    assert report.against[0].difference == check.difference
    assert report.suite.digest == stage.suite_digest
    assert tuple(episode.seed for episode in report.episodes) == stage.seeds


def test_telemetry_says_where_in_the_schedule_an_update_was(passed):
    result, run = passed
    lines = telemetry(run / result.stages[1].path)
    assert [line["anneal_cycle"] for line in lines] == [1, 1]
    assert {line["anneal_stage"] for line in lines} == {"ppo"}
    assert {line["anneal_dataset"] for line in lines} == {"demonstrations"}
    assert {line["anneal_bc_passed"] for line in lines} == {True}
    assert {line["anneal_bc_threshold"] for line in lines} == {0.7}
    assert lines[0]["anneal_loss_baseline"] is None
    last = telemetry(run / result.stages[2].path)[-1]
    assert last["anneal_loss_baseline"] == result.stages[1].loss_total
    assert last["anneal_loss_flag"] == result.stages[2].loss_flag
    assert [line["verdict"] for line in telemetry(run)] == ["PASS", "PASS", "PASS"]


def test_the_verdict_of_a_run_counts_once_in_the_streak(passed):
    result, run = passed
    assert (result.promotion_streak, result.promotion_ready, result.promotion_note) == (1, False, "")
    service = PromotionService(releases_dir=run.parent / "releases")
    assert service.status().streak == 1
    event = service.store.history().events[-1]
    assert event.policy == result.artefact.digest
    origin = json.loads((service.store.bundle_path(event.release) / "origin-run.json").read_text())
    assert origin["agent_steps"] == result.agent_steps > 0
    assert (origin["id"], origin["strategy"]) == (run.name, "anneal")


def test_a_finished_run_that_is_resumed_gives_its_result(passed, demonstrations):
    result, run = passed
    config = anneal_config(run.parent, [ppo(2), CLONE, ppo(1, 2, 0.5)], dataset=demonstrations, margin=5.0)
    assert TrainingOrchestrator(config, run_dir=run, resume=True).run() == result


def test_a2_with_a_weight_of_1_the_policy_stays_the_clone(tmp_path, demonstrations):
    result, run = anneal(tmp_path, [CLONE, ppo(1, 3, 1.0), ppo(2, 2, 1.0)], dataset=demonstrations)
    clone, last = (load_artefact(run / stage.policy) for stage in (result.stages[0], result.stages[2]))
    observations = np.random.default_rng(0).normal(size=(500, 1, 4)).astype(np.float32)
    one, other = (masked_log_softmax(a.policy().outputs({"observation": observations}), None) for a in (clone, last))
    assert (np.exp(one) * (one - other)).sum(axis=-1).mean() < 1e-3
    names = [name for name in clone.weights if name.startswith("critic")]
    assert any((clone.weights[name] != last.weights[name]).any() for name in names), "the critic has learned"


def test_a3_several_ppo_stages_without_a_clone_are_one_plain_run_bit_for_bit(tmp_path):
    result, run = anneal(tmp_path, [ppo(0, 2), ppo(1, 1), ppo(2, 2)], margin=1000.0, hold_repeats=0)
    assert verdicts(result) == [("ppo", "PASS"), ("ppo", "PASS"), ("ppo", "HOLD")], "it is no better than random yet"
    config = anneal_config(tmp_path, [CLONE])
    TrainingOrchestrator(config, run_dir=tmp_path / "plain").run_ppo(num_updates=5)
    annealed = CheckpointStore(run / result.stages[2].path / "checkpoints").load_newest().files
    plain = CheckpointStore(tmp_path / "plain" / "checkpoints").load_newest().files
    differing = {name for name in annealed | plain if annealed.get(name) != plain.get(name)}
    assert differing <= {"state.json", "telemetry.json"}, "weights, optimiser and running episodes are equal"
    ignored = {"telemetry_offset"}
    states = [json.loads(files["state.json"]) for files in (annealed, plain)]
    assert {k: v for k, v in states[0].items() if k not in ignored} == {
        k: v for k, v in states[1].items() if k not in ignored
    }
    lines = [line for stage in result.stages for line in telemetry(run / stage.path)]
    of_schedule = {"total_steps", "cycle_id", "best_update"}
    for line, one in zip(lines, telemetry(tmp_path / "plain"), strict=True):
        assert {k: v for k, v in line.items() if not k.startswith("anneal_") and k not in of_schedule} == {
            k: v for k, v in one.items() if not k.startswith("anneal_") and k not in of_schedule
        }


def break_learning(monkeypatch, *, attempts):
    """Make advantages infinite in the third stage of a schedule, in these attempts."""
    from townlet_strategies_ppo import strategy

    right = strategy._Run._advantages

    def wrong(run, experience):
        advantages = right(run, experience)
        anneal_context = run.context.anneal_context
        is_broken = anneal_context.cycle == 2 and run.context.attempt in attempts
        return advantages * np.float32("inf") if is_broken else advantages

    monkeypatch.setattr(strategy._Run, "_advantages", wrong)


def test_a4_a_stage_that_is_not_finite_fails_and_the_next_attempt_begins_from_the_best(
    tmp_path, demonstrations, monkeypatch
):
    break_learning(monkeypatch, attempts={0})
    result, _ = anneal(tmp_path, [CLONE, ppo(1), ppo(2)], dataset=demonstrations, margin=40.0)
    assert verdicts(result) == [("bc", "PASS"), ("ppo", "PASS"), ("ppo", "FAIL"), ("ppo", "PASS")]
    failed, again = result.stages[2:]
    best = max((stage for stage in result.stages[:2] if stage.is_best), key=lambda stage: stage.number)
    assert (failed.digest, failed.policy, failed.score) == ("", "", None)
    assert "finite" in failed.reason
    assert again.initial_digest == best.digest
    assert (again.attempt, again.learning_rate) == (1, failed.learning_rate / 2)
    assert result.status == "PASS"


def test_a4_a_failure_goes_back_to_all_of_the_best_and_tries_more_gently_at_the_weight_before(
    tmp_path, demonstrations, monkeypatch
):
    break_learning(monkeypatch, attempts={0})
    begun = []
    run_stage = ChildStages.run

    def run_and_tell(stages, name, options, initial=None, continuation=None, *args, **kwargs):
        begun.append((initial, continuation))
        return run_stage(stages, name, options, initial, continuation, *args, **kwargs)

    monkeypatch.setattr(ChildStages, "run", run_and_tell)
    fields = Judgement.fields

    def every_pass_is_best(judged):
        return {**fields(judged), "is_best": fields(judged)["verdict"] == "PASS"}

    monkeypatch.setattr(Judgement, "fields", every_pass_is_best)  # so that the best has a checkpoint of PPO
    schedule = [CLONE, ppo(1, 2, 0.5), ppo(2, 2, 0.25)]
    result, run = anneal(tmp_path, schedule, dataset=demonstrations, margin=40.0, reference_kl_coef=0.4)
    stages = result.stages
    assert [(stage.cycle, stage.verdict) for stage in stages] == [
        (0, "PASS"),
        (1, "PASS"),
        (2, "FAIL"),
        (1, "PASS"),
        (2, "PASS"),
    ]
    assert [stage.attempt for stage in stages] == [0, 0, 0, 1, 1]
    assert [stage.bc_weight for stage in stages[1:]] == [0.5, 0.25, 0.5, 0.25]
    assert [stage.reference_kl_coef for stage in stages[1:]] == pytest.approx([0.2, 0.1, 0.4, 0.2])
    rate = stages[1].learning_rate
    assert [stage.learning_rate for stage in stages[2:]] == [rate, rate / 2, rate / 2]
    initial, continuation = begun[3]
    assert initial.digest == stages[1].digest, "the weights and normalisers"
    assert continuation == CheckpointStore(run / stages[1].path / "checkpoints").load_newest().files, "and all else"


def test_a4_a_run_that_fails_for_good_gives_the_bytes_of_the_best(tmp_path, demonstrations, monkeypatch):
    break_learning(monkeypatch, attempts={0, 1, 2})
    result, run = anneal(tmp_path, [CLONE, ppo(1), ppo(2)], dataset=demonstrations, margin=40.0)
    assert [stage.verdict for stage in result.stages] == ["PASS", "PASS", "FAIL", "FAIL", "FAIL"]
    assert [stage.attempt for stage in result.stages[2:]] == [0, 1, 2]
    assert result.status == "FAIL"
    best = result.stages[result.best_stage - 1]
    assert load_artefact(run / "policy").digest == best.digest == result.artefact.digest
    assert result.promotion_streak == 0


def test_a4_a_policy_that_became_bad_fails_by_its_interval(tmp_path, demonstrations):
    result, _ = anneal(
        tmp_path, [CLONE, ppo(1, 3, learning_rate=1.0)], dataset=demonstrations, retries=1, retry_learning_rate=1e-6
    )
    assert [stage.verdict for stage in result.stages] == ["PASS", "FAIL", "PASS"]
    (check,) = [check for check in result.stages[1].checks if check.verdict == "FAIL"]
    assert check.difference.high < -check.allowed
    assert check.command


def test_a8_another_attempt_acts_and_learns_with_other_random_numbers(tmp_path, demonstrations):
    result, run = anneal(
        tmp_path,
        [CLONE, ppo(1, 3)],
        dataset=demonstrations,
        retry_learning_rate=1.0,
        entropy_floor=100.0,
    )
    assert [stage.verdict for stage in result.stages] == ["PASS", "FAIL", "FAIL", "FAIL"]
    first, second, third = (telemetry(run / stage.path) for stage in result.stages[1:])
    for name in ("policy_digest", "loss_value"):
        assert len({lines[0][name] for lines in (first, second, third)}) == 3, name
    assert len({stage.initial_digest for stage in result.stages[1:]}) == 1
    assert len({stage.learning_rate for stage in result.stages[1:]}) == 1


def test_a7_a_stage_that_cannot_be_told_has_more_episodes_and_is_then_repeated_at_its_weight(tmp_path, demonstrations):
    result, run = anneal(
        tmp_path, [CLONE, ppo(1, 1, 0.5), ppo(2)], dataset=demonstrations, min_gain=1000.0, margin=1000.0
    )
    assert [stage.verdict for stage in result.stages] == ["PASS", "PASS", "HOLD", "HOLD", "HOLD"]
    assert [stage.score.num_episodes for stage in result.stages] == [8, 8, 32, 32, 32]
    held = result.stages[2:]
    assert [stage.common_score.num_episodes for stage in result.stages] == [8] * 5
    assert [stage.common_score for stage in result.stages[:2]] == [stage.score for stage in result.stages[:2]]
    assert [stage.tries for stage in result.stages] == [1, 1, 1, 2, 3]
    assert [(stage.entry, stage.bc_weight, stage.attempt) for stage in held] == [(2, 0.0, 0)] * 3
    assert [stage.repeat for stage in held] == [0, 1, 2]
    assert [stage.continues for stage in held] == [2, 3, 4], "it goes on from where it was held"
    assert held[0].seeds[:8] == result.stages[1].seeds
    assert result.status == "HOLD"
    assert (run / held[0].suite).is_file()
    assert {path.stem.rpartition("-")[2] for path in (run / "evaluations").iterdir()} == {"8", "32"}, "asked twice"


def test_a7_a_run_that_is_held_leaves_the_streak_as_it_was(tmp_path, demonstrations):
    held, _ = anneal(
        tmp_path,
        [CLONE, ppo(1)],
        dataset=demonstrations,
        min_gain=1000.0,
        margin=1000.0,
        hold_repeats=0,
        more_episodes=1,
    )
    assert (held.status, held.promotion_streak) == ("HOLD", 0)
    service = PromotionService(releases_dir=tmp_path / "releases")
    assert [event.verdict for event in service.store.history().events] == ["HOLD"]


def test_where_nothing_is_cloned_the_gain_is_said_to_be_over_chance(tmp_path):
    result, _ = anneal(tmp_path, [ppo(0, 1)], min_gain=1000.0, margin=1000.0, hold_repeats=0, more_episodes=1)
    (check,) = [check for check in result.stages[0].checks if check.name == "gain"]
    assert (check.rule, check.against) == ("at least 1000 better than random", "random")


def test_without_a_clone_a_run_does_not_pass_by_being_no_worse_than_random(tmp_path):
    nothing = ppo(0, 1, learning_rate=1e-9)
    schedule, settings = [nothing, {**nothing, "cycle": 1}], {"margin": 1000.0, "hold_repeats": 0}
    result, _ = anneal(tmp_path, schedule, min_gain=-1000.0, **settings)
    assert [stage.verdict for stage in result.stages] == ["PASS", "HOLD"], "of the last stage alone it is asked"
    assert (result.status, result.promotion_streak) == ("HOLD", 0)
    (check,) = [check for check in result.stages[1].checks if check.name == "gain"]
    assert check.rule == "all of the interval is better than random"
    assert check.difference.low <= 0


def test_without_a_clone_a_run_passes_by_being_better_than_random(tmp_path):
    learned = ppo(0, 16, learning_rate=0.01, gamma=0.9)
    result, _ = anneal(tmp_path, [learned], margin=1000.0)
    (check,) = [check for check in result.stages[-1].checks if check.name == "gain"]
    assert check.difference.low > 0
    assert (result.status, result.promotion_streak) == ("PASS", 1)
    assert result.reason == f"every stage passed, the last one {check.reason}"
    assert check.reason.startswith("better than random by +")


def test_a_policy_that_is_far_from_the_clone_fails_beyond_the_limit_and_the_critic_alone_moves_nothing(
    tmp_path, demonstrations
):
    schedule = [CLONE, ppo(1, 2, 1.0), ppo(2, 3, learning_rate=0.1)]
    result, _ = anneal(tmp_path, schedule, dataset=demonstrations, kl_cap=1e-6, retries=0, margin=1000.0)
    assert [stage.verdict for stage in result.stages] == ["PASS", "PASS", "FAIL"]
    same, far = (next(check for check in stage.checks if check.name == "divergence") for stage in result.stages[1:])
    assert same.value == 0.0
    assert far.value > 1e-6


def test_a_clone_that_fails_its_gate_ends_the_run_with_no_policy(tmp_path, demonstrations):
    result, run = anneal(tmp_path, [CLONE, ppo(1)], dataset=demonstrations, accuracy_threshold=1.0)
    assert verdicts(result) == [("bc", "FAIL")]
    assert (result.status, result.best_stage, result.artefact) == ("FAIL", None, None)
    assert "no policy was good enough" in result.reason
    assert not (run / "policy").exists()
    assert result.promotion_note == "there is no policy"


def test_a_clone_that_knows_the_labels_and_scores_too_little_fails_too(tmp_path, demonstrations):
    result, _ = anneal(tmp_path, [CLONE], dataset=demonstrations, **{"environment.max_episode_steps": 20})
    (stage,) = result.stages
    assert [(check.name, check.verdict) for check in stage.checks] == [("gate", "PASS"), ("score of the clone", "FAIL")]
    assert result.status == "FAIL"
    assert " is below " in result.reason
    assert "the recorded demonstrator has 40: more passes (epochs of its entry), more demonstrations" in result.reason


def test_a_run_begins_from_a_policy_and_keeps_it_where_nothing_is_better(tmp_path, passed):
    config = anneal_config(tmp_path, [ppo(0, 2, learning_rate=1.0)], retries=0)
    start = passed[1]
    trainer = TrainingOrchestrator(config, run_dir=tmp_path / "run", initial_policy=start)
    result = trainer.run_anneal()
    assert result.status == "FAIL"
    assert result.best_stage == 0
    assert load_artefact(tmp_path / "run" / "policy").digest == load_artefact(start / "policy").digest
    assert [baseline.name for baseline in result.baselines] == ["random", "start"]


def test_flags_of_the_earlier_format_decide_where_they_are_asked_to(tmp_path, demonstrations):
    schedule = [CLONE, ppo(1, 1), ppo(2, 2), ppo(3, 1)]
    flags = {"promotion.guardrails": "legacy", "loss_tolerance": 0.0}
    legacy, _ = anneal(tmp_path, schedule, dataset=demonstrations, **flags)
    assert [stage.verdict for stage in legacy.stages] == ["PASS", "PASS", "HOLD", "HOLD"], "none stops the schedule"
    assert legacy.status == "HOLD"
    assert [stage.loss_flag for stage in legacy.stages] == [None, None, True, True]


@pytest.mark.parametrize(
    ("entry", "error", "told"),
    [
        ({"cycle": 1, "mode": "pposs", "epochs": 1}, PluginError, "pposs"),
        (ppo(1, gama=0.9), ConfigError, r"schedule\[1\]\.options\.gama: there is no such key; did you mean '.*gamma'"),
        ({"cycle": 1, "mode": "anneal", "epochs": 1}, ConfigError, r"schedule\[1\]\.mode: .*neither .*num_updates"),
    ],
)
def test_what_is_wrong_with_a_stage_is_said_before_anything_is_run(tmp_path, demonstrations, entry, error, told):
    with pytest.raises(error, match=told):
        anneal(tmp_path, [CLONE, entry], dataset=demonstrations)
    assert not (tmp_path / "run").exists()


def test_evaluations_of_ppo_itself_are_refused_because_a_stage_ends_with_what_the_next_goes_on_from(
    tmp_path, demonstrations
):
    with pytest.raises(ConfigError, match=r"^training\.evaluate_every: .*judges every stage"):
        anneal(tmp_path, [CLONE, ppo(1)], dataset=demonstrations, **{"training.evaluate_every": 1})


def test_a_guardrail_that_nothing_measures_is_said_before_anything_is_learned(tmp_path, demonstrations):
    with pytest.raises(ConfigError, match="nothing measures 'faint_events' here"):
        anneal(tmp_path, [CLONE, ppo(1)], dataset=demonstrations, guardrails=[{"metric": "faint_events"}])
    assert not (tmp_path / "run" / "stages").exists()


def test_a_run_that_is_stopped_between_stages_goes_on_to_the_same_result(tmp_path, passed, demonstrations, monkeypatch):
    from townlet_strategies_anneal import strategy

    expected, _ = passed
    schedule = [ppo(2), CLONE, ppo(1, 2, 0.5)]
    config = anneal_config(tmp_path, schedule, dataset=demonstrations, margin=5.0)
    keep = strategy._Run._keep

    def keep_and_stop(run, stage):
        keep(run, stage)
        raise RunInterrupted("stopped")

    monkeypatch.setattr(strategy._Run, "_keep", keep_and_stop)
    for _ in expected.stages:
        resume = (tmp_path / "run").exists()
        with pytest.raises(RunInterrupted):
            TrainingOrchestrator(config, run_dir=tmp_path / "run", resume=resume).run()
    monkeypatch.setattr(strategy._Run, "_keep", keep)
    result = TrainingOrchestrator(config, run_dir=tmp_path / "run", resume=True).run()
    assert without_clock(result.model_dump(mode="json")) == without_clock(expected.model_dump(mode="json"))
