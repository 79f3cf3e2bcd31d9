"""Results: frozen, closed, versioned, and with every name of the earlier telemetry."""

import json
import math

import pytest
from pydantic import ValidationError

from townlet_core import dto
from townlet_core.dto.base import CLOCK_FIELDS, ResultBase, TrainingResultBase, without_clock
from townlet_core.dto.ppo import PPOTelemetry, PPOTrainingResultDTO, flatten_record

VERSION_1_0 = [
    "epoch",
    "updates",
    "transitions",
    "loss_policy",
    "loss_value",
    "loss_entropy",
    "loss_total",
    "clip_fraction",
    "adv_mean",
    "adv_std",
    "grad_norm",
    "kl_divergence",
    "lr",
    "steps",
    "adv_zero_std_batches",
    "adv_min_std",
    "clip_triggered_minibatches",
    "clip_fraction_max",
    "baseline_sample_count",
    "baseline_reward_mean",
    "baseline_reward_sum",
    "baseline_reward_sum_mean",
    "baseline_log_prob_mean",
]
VERSION_1_1 = [
    "epoch_duration_sec",
    "data_mode",
    "cycle_id",
    "batch_entropy_mean",
    "batch_entropy_std",
    "grad_norm_max",
    "kl_divergence_max",
    "reward_advantage_corr",
    "rollout_ticks",
    "log_stream_offset",
    "queue_conflict_events",
    "queue_conflict_intensity_sum",
    "shared_meal_events",
    "late_help_events",
    "shift_takeover_events",
    "chat_success_events",
    "chat_failure_events",
    "chat_quality_mean",
]
VERSION_1_2 = [
    "anneal_cycle",
    "anneal_stage",
    "anneal_dataset",
    "anneal_bc_accuracy",
    "anneal_bc_threshold",
    "anneal_bc_passed",
    "anneal_loss_baseline",
    "anneal_queue_baseline",
    "anneal_intensity_baseline",
    "anneal_loss_flag",
    "anneal_queue_flag",
    "anneal_intensity_flag",
]
VERSION_2_0 = [
    "telemetry_version",
    "episodes",
    "episode_return_mean",
    "episode_return_std",
    "episode_return_min",
    "episode_return_max",
    "episode_length_mean",
    "explained_variance",
    "agent_steps",
    "steps_per_sec",
    "clip_range",
    "entropy",
    "kl_k3",
    "num_epochs_done",
    "stop_reason",
    "policy_digest",
]

RECORD = {
    "epoch": 1,
    "updates": 4,
    "transitions": 64,
    "loss_policy": 0.1,
    "loss_value": 0.2,
    "loss_entropy": -0.5,
    "loss_total": 0.3,
    "clip_fraction": 0.25,
    "clip_fraction_max": 0.5,
    "clip_triggered_minibatches": 2,
    "adv_mean": 0.0,
    "adv_std": 1.0,
    "adv_zero_std_batches": 0,
    "adv_min_std": 0.9,
    "grad_norm": 0.4,
    "grad_norm_max": 0.6,
    "kl_divergence": -0.01,
    "kl_divergence_max": 0.02,
    "kl_k3": 0.01,
    "lr": 1e-3,
    "clip_range": 0.2,
    "steps": 4,
    "entropy": 0.5,
    "batch_entropy_mean": 0.5,
    "batch_entropy_std": 0.0,
    "reward_advantage_corr": 0.1,
    "explained_variance": None,
    "rollout_ticks": 16,
    "num_epochs_done": 1,
    "stop_reason": "epochs",
    "agent_steps": 64,
    "total_steps": 100,
    "episodes": 0,
    "policy_digest": "ab",
    "epoch_duration_sec": 0.5,
    "steps_per_sec": 128.0,
}
RESULT = RECORD | {"strategy": "ppo", "duration_sec": 1.0, "episodes_total": 0, "exact": True}


@pytest.mark.parametrize("name", VERSION_1_0 + VERSION_1_1 + VERSION_1_2 + VERSION_2_0)
def test_every_telemetry_name_is_a_field_of_the_result(name):
    assert name in PPOTrainingResultDTO.model_fields
    assert name in PPOTelemetry.model_fields


def test_the_two_maps_are_flattened_to_dotted_names_and_nothing_else_changes():
    record = PPOTelemetry(
        **RECORD, conflict={"rivalry_max_mean_avg": 0.5, "rivalry_max_max_avg": 1.0}, environment={"falls": 3.0}
    )
    flat = flatten_record(record)
    assert flat["conflict.rivalry_max_mean_avg"] == 0.5
    assert flat["conflict.rivalry_max_max_avg"] == 1.0
    assert flat["environment.falls"] == 3.0
    assert flat.keys() - {"conflict.rivalry_max_mean_avg", "conflict.rivalry_max_max_avg", "environment.falls"} == (
        PPOTelemetry.model_fields.keys() - {"conflict", "environment"}
    )
    assert json.loads(json.dumps(flat, allow_nan=False)) == flat


def test_fields_that_need_the_town_or_a_schedule_are_none_elsewhere():
    result = PPOTrainingResultDTO(**RESULT)
    for name in (*VERSION_1_2, *(name for name in VERSION_1_1 if name.endswith("_events")), "chat_quality_mean"):
        assert getattr(result, name) is None


EXPORTED = [
    getattr(dto, name)
    for name in dto.__all__
    if isinstance(getattr(dto, name), type) and issubclass(getattr(dto, name), ResultBase)
]


@pytest.mark.parametrize("model", EXPORTED)
def test_every_result_is_frozen_closed_finite_and_described(model):
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["allow_inf_nan"] is False
    assert all(field.description for field in model.model_fields.values())


def test_a_result_cannot_be_changed_extended_or_hold_nan():
    result = PPOTrainingResultDTO(**RESULT)
    with pytest.raises(ValidationError, match="frozen"):
        result.epoch = 2
    with pytest.raises(ValidationError, match="Extra inputs"):
        PPOTrainingResultDTO(**RESULT, loss="low")
    for bad in (math.nan, math.inf):
        with pytest.raises(ValidationError, match="finite number"):
            PPOTrainingResultDTO(**RESULT | {"loss_total": bad})
        with pytest.raises(ValidationError, match="finite number"):
            PPOTrainingResultDTO(**RESULT, environment={"falls": bad})


@pytest.mark.parametrize("field", ["schema_version", "telemetry_version"])
def test_a_result_of_another_version_is_refused(field):
    assert getattr(PPOTrainingResultDTO(**RESULT), field) == "2.0"
    with pytest.raises(ValidationError, match=field):
        PPOTrainingResultDTO(**RESULT, **{field: "3.0"})


def test_a_result_survives_json():
    result = PPOTrainingResultDTO(**RESULT, artefact={"path": "policy", "digest": "0" * 64, "kind": "last"})
    assert PPOTrainingResultDTO.model_validate_json(result.model_dump_json()) == result


def test_evaluation_results_are_versioned():
    assert "schema_version" in dto.EvaluationResultDTO.model_fields


def test_a_third_party_result_subclasses_the_base_and_inherits_its_rules():
    class OwnResult(TrainingResultBase):
        score: float

    result = OwnResult(strategy="own", duration_sec=0.0, score=1.0)
    assert result.artefact is None
    with pytest.raises(ValidationError, match="Extra inputs"):
        OwnResult(strategy="own", duration_sec=0.0, score=1.0, other=1)


def test_clock_fields_are_those_that_two_equal_runs_may_differ_in():
    known = PPOTrainingResultDTO.model_fields | dto.BCTrainingResultDTO.model_fields
    assert {name for name in known if name.endswith("_sec")} | {"log_stream_offset"} == CLOCK_FIELDS
    first, second = (
        without_clock(PPOTrainingResultDTO(**RESULT | {"duration_sec": seconds}).model_dump()) for seconds in (1.0, 2.0)
    )
    assert first == second
    assert "duration_sec" not in first
    assert without_clock({"a": {"steps_per_sec": 1.0, "b": 2}}) == {"a": {"b": 2}}


def test_an_evaluation_of_another_version_is_refused():
    episode = {"seed": 0, "episode_return": 1.0, "length": 1, "truncated": False, "reward_mean": 1.0}
    episode |= {"num_steps": 1, "agent_steps": 1}
    score = {"mean": 1.0, "iqm": 1.0, "low": 1.0, "high": 1.0, "confidence": 0.95, "num_episodes": 1}
    names = ("return_mean", "return_min", "return_max", "length_mean", "reward_mean")
    record = {"environment": "e", "artefact_digest": "", "deterministic": True, "episodes": [episode]}
    record |= {"return_std": 0.0, "duration_sec": 0.0, "score_name": "episode_return", "score": score}
    record |= dict.fromkeys(names, 1.0)
    assert dto.EvaluationResultDTO.model_validate(record).schema_version == "2.0"
    with pytest.raises(ValidationError, match="schema_version"):
        dto.EvaluationResultDTO.model_validate(record | {"schema_version": "1.0"})
