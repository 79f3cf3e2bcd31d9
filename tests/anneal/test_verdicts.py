"""Verdicts follow from numbers: rules in a table, and how often they are wrong where the truth is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from townlet_core.dto.evaluation import EpisodeResult, EvaluationResultDTO
from townlet_core.errors import ConfigError
from townlet_core.services.comparison import compare, judge
from townlet_core.services.statistics import estimate
from townlet_strategies_anneal.guardrails import check_guardrails, chosen_guardrails, level_of, recorded_level
from townlet_strategies_anneal.settings import AnnealSettings, Guardrail
from townlet_strategies_anneal.verdict import check_flags, check_gate, check_learning, check_return, decide, not_worse

NUM_DRAWS = 2_000


def evaluation(scores, resamples=200, **metrics):
    """Return an evaluation with these scores, and these metrics by name, of one episode each."""
    episodes = tuple(
        EpisodeResult(
            seed=seed,
            episode_return=float(score),
            length=1,
            truncated=False,
            reward_mean=float(score),
            num_steps=1,
            agent_steps=1,
            metrics={name: float(values[seed]) for name, values in metrics.items()},
        )
        for seed, score in enumerate(scores)
    )
    return EvaluationResultDTO(
        environment="made-up",
        artefact_digest="",
        deterministic=True,
        episodes=episodes,
        score_name="episode_return",
        score=estimate(scores, resamples=resamples),
        return_mean=float(np.mean(scores)),
        return_std=float(np.std(scores)),
        return_min=float(np.min(scores)),
        return_max=float(np.max(scores)),
        reward_mean=float(np.mean(scores)),
        length_mean=1.0,
        metrics={name: float(np.mean(values)) for name, values in metrics.items()},
        duration_sec=0.0,
    )


def guarded(own, other, **fields):
    """Return the check of one guardrail over the metric `falls`."""
    one, two = (evaluation(np.zeros(len(values)), falls=values) for values in (own, other))
    level = level_of("the clone", compare(one, two), command="look")
    (check,) = check_guardrails([Guardrail(metric="falls", **fields)], one, [level])
    return check


WORSE = np.array([3.0, 5.0, 4.0, 6.0, 5.0, 4.0, 3.0, 6.0, 5.0, 4.0])
NONE, SAME = np.zeros(10), np.full(10, 10.0)


@pytest.mark.parametrize(
    ("own", "other", "fields", "verdict"),
    [
        (SAME, SAME, {}, "PASS"),
        (SAME + WORSE, SAME, {"tolerance": 0.1}, "FAIL"),  # worse by 4.5 of 10
        (SAME + WORSE, SAME, {"tolerance": 0.8}, "PASS"),
        (SAME + WORSE, SAME, {"tolerance": 0.45}, "HOLD"),
        (SAME - WORSE, SAME, {"tolerance": 0.1}, "PASS"),  # less is better
        (SAME - WORSE, SAME, {"tolerance": 0.1, "direction": "lower"}, "FAIL"),
        (SAME + WORSE, SAME, {"tolerance": 0.1, "direction": "lower"}, "PASS"),
        (WORSE, NONE, {"tolerance": 9.0}, "FAIL"),  # a share of nothing is nothing
        (WORSE, NONE, {"tolerance": 9.0, "slack": 8.0}, "PASS"),
        (SAME + WORSE, SAME, {"tolerance": 0.45, "confirm": False}, "PASS"),  # the mean is 4.5
        (SAME + WORSE, SAME, {"tolerance": 0.44, "confirm": False}, "FAIL"),
        (SAME[:5] + WORSE[:5], SAME[:5], {"tolerance": 0.1}, "HOLD"),  # too few episodes
        (NONE[:5], NONE[:5], {}, "PASS"),  # the same in each
    ],
)
def test_a_guardrail_fails_by_its_interval_in_the_direction_that_is_worse(own, other, fields, verdict):
    check = guarded(own, other, **fields)
    assert check.verdict == verdict, check.reason
    assert check.command == "look"
    assert check.difference.num_episodes == len(own)


@pytest.mark.parametrize(
    ("direction", "clone", "script", "against"),
    [
        ("higher", 40.0, 53.0, "the script"),
        ("higher", 53.0, 40.0, "the clone"),
        ("lower", 40.0, 53.0, "the clone"),
        ("lower", 53.0, 40.0, "the script"),
        ("higher", 53.0, 53.0, "the clone"),
    ],
)
def test_of_the_clone_and_its_demonstrator_the_worse_one_is_the_baseline(direction, clone, script, against):
    own = evaluation(np.zeros(10), falls=np.full(10, 53.0))
    levels = [
        level_of(name, compare(own, evaluation(np.zeros(10), falls=np.full(10, falls))), command=name)
        for name, falls in (("the clone", clone), ("the script", script))
    ]
    (check,) = check_guardrails([Guardrail(metric="falls", direction=direction)], own, levels)
    assert (check.against, check.command) == (against, against)
    assert check.baseline == {"the clone": clone, "the script": script}[against]
    assert check.allowed == pytest.approx(0.15 * check.baseline)
    assert check.verdict == "PASS", "it does what one of them did"
    assert f"{against}, {check.baseline:.4g}" in check.rule
    assert f"beside {against} with {check.baseline:.4g}" in check.reason


def test_a_demonstrator_that_was_only_recorded_is_held_against_by_what_a_step_of_it_has():
    own = evaluation(np.zeros(10), falls=np.full(10, 6.0), other=NONE)  # in one step each
    level = recorded_level("the recorded demonstrator", {"falls": 5.0, "unknown": 1.0}, own)
    assert (level.means, level.differences.keys()) == ({"falls": 5.0}, {"falls"})
    checks = check_guardrails([Guardrail(metric="falls"), Guardrail(metric="other")], own, [level])
    assert [(check.name, check.verdict, check.baseline, check.command) for check in checks] == [
        ("falls", "FAIL", 5.0, "")
    ]
    assert checks[0].difference.mean == 1.0


def test_default_guardrails_hold_where_their_metric_is_measured():
    metrics = {"faint_events": 0.0, "attendance": 1.0, "other": 2.0}
    assert [one.metric for one in chosen_guardrails(AnnealSettings(), metrics)] == ["faint_events", "attendance"]


def test_a_guardrail_over_what_nobody_measures_is_an_error_that_lists_what_there_is():
    settings = AnnealSettings(guardrails=[{"metric": "faint_event"}])
    with pytest.raises(ConfigError, match=r"'faint_event'.*did you mean 'faint_events'.*attendance, faint_events"):
        chosen_guardrails(settings, {"faint_events": 0.0, "attendance": 1.0})


@pytest.mark.parametrize(
    ("passed", "accuracy", "verdict"), [(True, 0.95, "PASS"), (False, 0.5, "FAIL"), (None, None, "HOLD")]
)
def test_the_gate_of_a_clone_is_that_of_its_strategy(passed, accuracy, verdict):
    result = SimpleNamespace(gate_passed=passed, accuracy=accuracy, gate_reason="")
    assert check_gate(result, 0.9).verdict == verdict


@pytest.mark.parametrize(
    ("score", "random", "verdict"),
    [
        (60.0, 20.0, "PASS"),  # half of the way from 20 to 100
        (59.0, 20.0, "FAIL"),
        (50.0, None, "PASS"),
        (49.0, None, "FAIL"),
        (99.0, 100.0, "FAIL"),  # the demonstrator is no better than random: it has to be reached
    ],
)
def test_a_clone_must_come_a_share_of_the_way_to_its_demonstrator(score, random, verdict):
    assert check_return(score, demonstrator=100.0, random=random, share=0.5).verdict == verdict


def test_a_share_of_the_way_means_the_same_where_scores_are_negative():
    assert check_return(-60.0, demonstrator=-20.0, random=-100.0, share=0.5).verdict == "PASS"
    assert check_return(-61.0, demonstrator=-20.0, random=-100.0, share=0.5).verdict == "FAIL"


def test_entropy_and_divergence_fail_beyond_their_limits_and_only_where_they_are_known():
    settings = AnnealSettings(entropy_floor=0.5, kl_cap=0.1)
    good = check_learning(SimpleNamespace(entropy=0.5), settings, divergence=0.1)
    assert [check.verdict for check in good] == ["PASS", "PASS"]
    bad = check_learning(SimpleNamespace(entropy=0.4), settings, divergence=float("nan"))
    assert [check.verdict for check in bad] == ["FAIL", "FAIL"]
    assert check_learning(SimpleNamespace(), settings, divergence=None) == []
    assert check_learning(SimpleNamespace(entropy=0.4), AnnealSettings(), divergence=9.0) == []


def test_a_flag_that_is_raised_holds_and_one_without_a_baseline_does_not():
    checks = check_flags({"loss_flag": True, "queue_flag": False, "intensity_flag": None})
    assert [check.verdict for check in checks] == ["HOLD", "PASS", "PASS"]
    assert decide(checks) == ("HOLD", "loss_flag: raised")
    assert decide([]) == ("PASS", "nothing to compare with")


def share_of(verdict, *, difference, margin, is_strict, episodes=16, noise=1.0):
    """Return how often policies that differ by `difference` on average get a verdict."""
    rng = np.random.default_rng(episodes)
    base = evaluation(np.zeros(episodes))
    count = 0
    for _ in range(NUM_DRAWS):
        scores = rng.normal(difference, noise, episodes)
        own = base.model_copy(
            update={
                "episodes": tuple(
                    episode.model_copy(update={"episode_return": float(score)})
                    for episode, score in zip(base.episodes, scores, strict=True)
                )
            }
        )
        comparison = compare(own, base, margin=margin, resamples=400)
        count += not_worse("clone", comparison, margin, command="", is_strict=is_strict).verdict == verdict
    return count / NUM_DRAWS


def test_a6_a_policy_that_is_worse_by_the_margin_passes_in_at_most_5_percent_of_2000_draws():
    assert share_of("PASS", difference=-1.0, margin=1.0, is_strict=True) <= 0.05


def test_a6_a_policy_that_is_as_good_fails_in_at_most_5_percent_and_passes_mostly():
    assert share_of("FAIL", difference=0.0, margin=0.0, is_strict=True) <= 0.05
    assert share_of("PASS", difference=0.0, margin=1.0, is_strict=True) >= 0.9


def test_a6_beside_the_best_a_policy_fails_only_by_evidence():
    assert share_of("FAIL", difference=0.0, margin=0.0, is_strict=False) <= 0.05
    assert share_of("FAIL", difference=-2.0, margin=0.0, is_strict=False) >= 0.99


def test_a6_asking_once_more_where_the_first_episodes_cannot_tell_adds_one_chance_of_being_wrong():
    rng, count = np.random.default_rng(1), {"PASS": 0, "HOLD": 0, "FAIL": 0}
    for _ in range(NUM_DRAWS):
        differences = rng.normal(-0.5, 1.0, 64)
        verdict, _ = judge(estimate(differences[:16], resamples=400), 0.5)
        if verdict == "HOLD":
            verdict, _ = judge(estimate(differences, resamples=400), 0.5)
        count[verdict] += 1
    assert max(count["PASS"], count["FAIL"]) / NUM_DRAWS <= 0.06
