"""A script acts in a stage's place, less and less: who says how much, and that no verdict sees it."""

import pytest
from annealing import CLONE, anneal, anneal_config, balanced_poles, ppo
from run_outcome import telemetry

from townlet_core import TrainingOrchestrator
from townlet_core.errors import ConfigError
from townlet_core.policy.artefact import load_artefact


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return balanced_poles(tmp_path_factory.mktemp("poles") / "demonstrations")


def stage_records(run, result, number):
    return telemetry(run / result.stages[number - 1].path)


def test_the_share_follows_the_weight_and_what_an_entry_says_itself_wins(tmp_path, demonstrations):
    idle = {"blend_policy": "idle"}
    schedule = [CLONE, ppo(1, 2, 0.5, **idle), {**ppo(2, 2, 0.5, **idle), "blend": 0.1}, ppo(3, 2, 0.0, **idle)]
    result, run = anneal(tmp_path, schedule, dataset=demonstrations, blend_share=0.8, margin=1e6)
    assert [stage.blend_share for stage in result.stages] == [None, 0.4, 0.1, 0.0]
    for number, share in ((2, 0.4), (3, 0.1)):
        for record in stage_records(run, result, number):
            assert record["scripted_share"] == pytest.approx(share, abs=0.2)
            assert record["scripted_share"] > 0
    assert {record["scripted_share"] for record in stage_records(run, result, 4)} == {None}


def test_a_stage_is_judged_by_what_its_policy_does_alone(tmp_path, demonstrations):
    schedule = [CLONE, {**ppo(1, 2, blend_policy="idle"), "blend": 1.0}]
    result, run = anneal(tmp_path, schedule, dataset=demonstrations, margin=1e6, reference_kl_coef=0.0)
    clone, blended = result.stages
    before, after = (load_artefact(run / stage.policy).weights for stage in (clone, blended))
    moved = {name.partition(".")[0] for name, array in after.items() if (array != before[name]).any()}
    assert moved == {"critic"}, "only the script acted"
    assert blended.score == clone.score
    assert blended.score.mean > 12, "and whoever does nothing falls after ten steps"


def test_without_a_clone_the_weight_holds_on_to_what_the_script_does(tmp_path):
    schedule = [{**ppo(0, 2, 0.5, blend_policy="idle"), "blend": 0.5}, ppo(1, 2, 0.0, blend_policy="idle")]
    result, run = anneal(tmp_path, schedule, demonstration_coef=0.4, margin=1e6)
    first, second = (stage_records(run, result, number) for number in (1, 2))
    assert all(record["demonstration_loss"] > 0 for record in first)
    assert {record["demonstration_loss"] for record in second} == {None}
    assert {record["scripted_share"] for record in second} == {None}


@pytest.mark.parametrize(
    ("entry", "settings", "message"),
    [
        ({**CLONE, "blend": 0.5}, {}, r"schedule\[0\]\.blend: strategy 'bc' blends nothing"),
        ({**ppo(1, 1, data_mode="replay"), "blend": 0.5}, {}, r"schedule\[1\]\.blend: with data_mode 'replay' nobody"),
        ({**ppo(1, 1), "blend": 0.5}, {}, r"strategies\.ppo\.blend_policy: .* has no script 'scripted'"),
        (ppo(1, 1, 0.5), {"blend_share": 0.5}, r"strategies\.ppo\.blend_policy: .* has no script 'scripted'"),
    ],
)
def test_a_blend_that_cannot_be_is_refused_before_any_stage(tmp_path, demonstrations, entry, settings, message):
    schedule = [entry] if entry["mode"] == "bc" else [CLONE, entry]
    config = anneal_config(tmp_path, schedule, dataset=demonstrations, **settings)
    with pytest.raises(ConfigError, match=message):
        TrainingOrchestrator(config, run_dir=tmp_path / "run").run_anneal()
    assert not list((tmp_path / "run").glob("stages/*"))


def test_stages_of_one_share_are_one_run_of_their_summed_length(tmp_path):
    """The script acts at the same places, whether a stage ends between them or not."""
    digests = []
    for number, lengths in enumerate(([4], [1, 3])):
        schedule = [{**ppo(cycle, length, blend_policy="idle"), "blend": 0.5} for cycle, length in enumerate(lengths)]
        result, run = anneal(tmp_path / str(number), schedule, margin=1e6)
        digests.append([record["policy_digest"] for stage in result.stages for record in telemetry(run / stage.path)])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 4
