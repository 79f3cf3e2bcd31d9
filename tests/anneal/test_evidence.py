"""The releases are told what a verdict rests on: how the best policy compares with the clone."""

import json

import pytest
from annealing import CLONE, anneal, balanced_poles, ppo

from townlet_core.dto.anneal import AnnealSummaryDTO
from townlet_core.dto.evaluation import EvaluationResultDTO
from townlet_core.services.comparison import compare
from townlet_core.services.promotion import PromotionService
from townlet_strategies_anneal.evidence import clone_comparison


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """A run whose best policy is that of a PPO stage: (result, directory)."""
    root = tmp_path_factory.mktemp("passed")
    falling = balanced_poles(root / "demonstrations", rule=(0.0, 0.0, 1.0, 0.0))
    free = {"reference_kl_coef": 0.0, "return_share": None}
    result, run = anneal(root, [CLONE, ppo(1, 40, learning_rate=0.003)], dataset=falling, **free)
    assert result.status == "PASS"
    assert result.best_stage > 1
    return result, run


def test_the_event_of_a_run_that_passed_has_the_comparison_with_its_clone(passed):
    result, run = passed
    event = PromotionService(releases_dir=run.parent / "releases").store.history().events[-1]
    clone, best = result.stages[0], result.stages[result.best_stage - 1]
    assert (event.evidence.policy, event.evidence.against) == (result.artefact.digest, clone.digest)
    evaluations = [
        EvaluationResultDTO.model_validate_json(
            (run / "evaluations" / f"{stage.digest[:16]}-{len(best.seeds)}.json").read_text()
        )
        for stage in (best, clone)
    ]
    found, told = compare(*evaluations, margin=result.margin), event.evidence
    numbers = found.difference
    assert (told.difference, told.low, told.high) == (numbers.mean, numbers.low, numbers.high)
    assert (told.verdict, told.margin, told.episodes) == (found.verdict, result.margin, len(best.seeds))
    assert (told.suite, told.metric) == (best.suite, result.score_name)


def test_where_the_verdict_rests_on_no_such_comparison_there_is_no_evidence_of_one(passed):
    result, _ = passed
    for changes in ({"status": "HOLD"}, {"best_stage": 1}, {"best_stage": 0}, {"best_stage": None}, {"artefact": None}):
        assert clone_comparison(result.model_copy(update=changes)) is None, changes


def test_without_a_clone_the_comparison_is_with_chance_and_with_the_policy_of_from_where_there_is_one(passed):
    result, _ = passed
    document = json.loads(result.model_dump_json())
    for stage in document["stages"]:
        stage["is_clone"] = False
        for check in stage["checks"]:
            check["name"] = check["name"].replace("beside the clone", "beside the random")
    assert clone_comparison(AnnealSummaryDTO.model_validate(document)).against == "random"
    document = json.loads(result.model_dump_json())
    document["stages"][0]["is_clone"] = False
    document["baselines"][0] |= {"name": "start", "digest": "a" * 64}
    assert clone_comparison(AnnealSummaryDTO.model_validate(document)).against == "a" * 64
