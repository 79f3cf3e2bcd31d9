"""The façade: each method runs its strategy, and returns its own DTO."""

import json

import pytest
from legacy_files import write_capture

from townlet_core import TrainingOrchestrator
from townlet_core.config.load import load_config
from townlet_core.dto.bc import BCTrainingResultDTO
from townlet_core.dto.ppo import PPOTrainingResultDTO
from townlet_core.errors import ConfigError

SHORT = (
    "tracking.progress=off",
    "environment.num_worlds=2",
    "strategies.ppo={num_steps: 4, total_steps: 32, num_epochs: 1, num_minibatches: 1}",
    "strategies.bc={num_epochs: 2, batch_size: 4, evaluate_episodes: 0}",
)


@pytest.fixture
def trainer(tmp_path):
    """Return a function that makes an orchestrator of a run in the town, with some more settings."""
    write_capture(tmp_path / "old", 3)

    def trainer(*sets):
        config = load_config(None, sets=[*SHORT, *sets]).config
        return TrainingOrchestrator(config, run_dir=tmp_path / "run")

    return trainer


def test_run_rollout_ppo_learns_in_the_environment_whatever_the_configuration_says(trainer, tmp_path):
    orchestrator = trainer("strategies.ppo.data_mode=replay", f"strategies.ppo.dataset={tmp_path / 'none'}")
    result = orchestrator.run_rollout_ppo(num_steps=2)
    assert isinstance(result, PPOTrainingResultDTO)
    record = json.loads((tmp_path / "run" / "telemetry.jsonl").read_text().splitlines()[0])
    assert record["data_mode"] == "rollout"
    assert "num_steps: 2" in (tmp_path / "run" / "config.yaml").read_text()


def test_run_rollout_ppo_is_run_ppo_where_that_learns_from_rollouts(tmp_path, trainer):
    first = trainer().run_rollout_ppo()
    (tmp_path / "run").rename(tmp_path / "first")
    assert trainer().run_ppo().policy_digest == first.policy_digest


def test_run_takes_the_strategy_of_the_configuration(trainer, tmp_path):
    result = trainer("training.strategy=bc", f"strategies.bc.dataset={tmp_path / 'old'}").run()
    assert isinstance(result, BCTrainingResultDTO)


def test_run_takes_a_strategy_by_name(trainer, tmp_path):
    result = trainer(f"strategies.bc.dataset={tmp_path / 'old'}").run("bc")
    assert isinstance(result, BCTrainingResultDTO)
    with pytest.raises(ConfigError, match="num_stps"):
        trainer().run_rollout_ppo(num_stps=1)


@pytest.mark.parametrize("strategy", ["ppo", "bc"])
def test_the_record_of_a_finished_run_has_the_threads_that_the_strategy_chose(trainer, tmp_path, strategy):
    orchestrator = trainer(f"strategies.bc.dataset={tmp_path / 'old'}")
    result = orchestrator.run(strategy)
    assert orchestrator.run_directory.record().num_threads == result.num_threads >= 1
