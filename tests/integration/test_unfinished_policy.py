"""A run that was killed stands for the policy of its newest intact checkpoint, and says so."""

import shutil

import pytest

from townlet_core import TrainingOrchestrator
from townlet_core.cli.main import main
from townlet_core.config.load import load_config
from townlet_core.errors import MissingInputError, TownletWarning
from townlet_core.policy.artefact import load_artefact
from townlet_core.policy.unfinished import load_policy, policy_path
from townlet_core.runs.layout import RunDirectory

SETTINGS = [
    "environment.name=gymnasium:CartPole-v1",
    "training.strategy=ppo",
    "training.checkpoint_every=1",
    "tracking.progress=off",
    "strategies.ppo={total_steps: 512, num_steps: 32, num_epochs: 1, hidden: [8]}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    TrainingOrchestrator(load_config(None, sets=SETTINGS).config, run_dir=run).run()
    return run


@pytest.fixture
def killed(finished, tmp_path):
    """The run as it was when it was killed after its last checkpoint."""
    run = RunDirectory(tmp_path / "my runs" / "killed")
    shutil.copytree(finished, run.path)
    shutil.rmtree(run.policy_dir)
    run.write_record(run.record().revised(clock=lambda: 0, status="running"))
    return run


def test_the_policy_of_the_newest_checkpoint_is_the_one_that_the_run_would_have_written_then(finished, killed):
    with pytest.warns(TownletWarning, match=r"has not finished: .* after 512 agent-steps; .* --resume"):
        artefact = load_policy(policy_path(killed.path))
    assert artefact.digest == load_artefact(finished / "policy").digest


def test_a_damaged_checkpoint_is_passed_over(killed):
    *_, older, newest = killed.checkpoints().steps()
    (killed.checkpoints_dir / f"{newest:012d}" / "state.safetensors").write_bytes(b"")
    with pytest.warns(TownletWarning, match="after 256 agent-steps"):
        load_policy(policy_path(killed.path))
    assert older == newest - 1


@pytest.mark.filterwarnings("always::townlet_core.errors.TownletWarning")
def test_a_killed_run_is_evaluated_and_begun_from_and_is_not_promoted(killed, tmp_path, capfd):
    run = str(killed.path)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    assert main(["evaluate", run, "--episodes", "2"]) == 0
    assert "killed has not finished" in capfd.readouterr().err
    assert main(["train", *sets, "--from", run, "--run-dir", str(tmp_path / "next")]) == 0
    assert main(["promote", run, "--releases", str(tmp_path / "releases")]) == 66
    said = capfd.readouterr().err
    assert "killed has not finished: a release is kept with the result of its run" in said
    assert f"townlet train --resume --run-dir '{run}'" in said


def test_a_run_without_a_checkpoint_and_one_that_lost_its_policy_say_so(killed, finished, tmp_path):
    shutil.rmtree(killed.checkpoints_dir)
    with pytest.raises(MissingInputError, match="has no policy yet"):
        policy_path(killed.path)
    lost = tmp_path / "lost"
    shutil.copytree(finished, lost)
    shutil.rmtree(lost / "policy")
    with pytest.raises(MissingInputError, match="has no policy yet"):
        policy_path(lost)


def test_a_run_of_stages_names_the_newest_that_has_a_policy(killed, finished):
    shutil.rmtree(killed.checkpoints_dir)
    for number in (1, 2):
        shutil.copytree(finished / "policy", killed.stage(number, "bc").policy_dir)
    with pytest.raises(MissingInputError, match=r"newest policy of its stages is that of .*/stages/002-bc\)"):
        policy_path(killed.path)


@pytest.fixture
def killed_stage(killed, tmp_path):
    """A run of stages that was killed in its second one, of which the checkpoints of `killed` are."""
    run = RunDirectory(tmp_path / "staged")
    stage = run.stage(2, "ppo")
    shutil.copytree(killed.checkpoints_dir, stage.checkpoints_dir)
    run.write_record(killed.record().revised(clock=lambda: 0, id="staged", strategy="anneal"))
    return stage


@pytest.mark.filterwarnings("always::townlet_core.errors.TownletWarning")
def test_a_stage_that_was_killed_is_taken_like_a_killed_run(finished, killed_stage, tmp_path, capfd):
    with pytest.warns(TownletWarning, match="002-ppo has not finished: .* after 512 agent-steps; .*/staged$"):
        artefact = load_policy(policy_path(killed_stage.path))
    assert artefact.weights.keys() == load_artefact(finished / "policy").weights.keys()
    assert (artefact.document.provenance.strategy, artefact.document.provenance.environment) == (
        "ppo",
        "gymnasium:CartPole-v1",
    )
    assert main(["evaluate", str(killed_stage.path), "--episodes", "2"]) == 0
    assert main(["promote", str(killed_stage.path), "--releases", str(tmp_path / "releases")]) == 66
    assert f"a checkpoint has none. Let it finish first: townlet train --resume --run-dir {tmp_path}/staged" in (
        capfd.readouterr().err
    )


def test_a_stage_without_a_checkpoint_says_what_goes_on_with_its_run(killed_stage, tmp_path):
    shutil.rmtree(killed_stage.checkpoints_dir)
    with pytest.raises(MissingInputError, match=rf"002-ppo has no policy yet; .* --resume --run-dir {tmp_path}/staged"):
        policy_path(killed_stage.path)
