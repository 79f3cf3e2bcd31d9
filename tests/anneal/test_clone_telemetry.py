"""A cloning stage says where in the schedule it stands, as a PPO stage does; a run of its own says nothing of that."""

from annealing import CLONE, anneal, balanced_poles
from run_outcome import telemetry

from townlet_core.dto.anneal_fields import AnnealFields


def test_the_records_of_a_cloning_stage_have_the_fields_of_the_schedule(tmp_path):
    demonstrations = balanced_poles(tmp_path / "demonstrations")
    result, run = anneal(tmp_path, [{**CLONE, "cycle": 3}, {**CLONE, "cycle": 7}], dataset=demonstrations)
    first, second = (telemetry(run / stage.path) for stage in result.stages)
    assert AnnealFields.model_fields.keys() <= first[0].keys()
    assert [(line["anneal_cycle"], line["anneal_stage"]) for line in second] == [(7, "bc")] * len(second)
    assert first[0]["anneal_dataset"] == "demonstrations"
    assert (first[0]["anneal_bc_accuracy"], first[0]["anneal_bc_passed"]) == (None, None)
    assert second[0]["anneal_bc_accuracy"] == result.stages[0].accuracy
    assert second[0]["anneal_bc_passed"] is True
