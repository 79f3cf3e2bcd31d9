"""What a stage cannot work with is said before anybody is run: not after baselines, and not after cloning."""

import json

import gymnasium
import numpy as np
import pytest
from annealing import CLONE, anneal, anneal_config, balanced_poles, ppo
from datasets import write_dataset

from townlet_core import TrainingOrchestrator
from townlet_core.cli.main import main
from townlet_core.errors import ConfigError, DatasetError, MissingInputError, RunWarning
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.trajectory import Trajectory
from townlet_strategies_anneal.evaluations import Evaluations


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return balanced_poles(tmp_path_factory.mktemp("poles") / "demonstrations")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Recordings of who sees three numbers, and chooses from three actions."""
    steps = {"observation": np.zeros((4, 3), np.float32), "actions": np.zeros(4, np.int64)}
    lives = [Trajectory(steps=steps, final={}, ending="truncated", group=group) for group in range(4)]
    path = tmp_path_factory.mktemp("others") / "others"
    space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    write_dataset(
        path,
        lives,
        observation_spaces={"observation": space},
        action_space=gymnasium.spaces.Discrete(3),
        action_names=(),
        feature_names={},
        event_kinds=(),
    )
    return path


@pytest.fixture
def nobody_runs(monkeypatch):
    """Fail where anybody is run on the suite."""

    def run(*_arguments):
        raise AssertionError("somebody was run")

    monkeypatch.setattr(Evaluations, "script", run)
    monkeypatch.setattr(Evaluations, "policy", run)


def refused(tmp_path, error, told, schedule, **settings):
    with pytest.raises(error, match=told):
        anneal(tmp_path, schedule, **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nobody_runs")
class TestRefusals:
    def test_recordings_that_are_not_there(self, tmp_path):
        missing = tmp_path / "missing"
        told = r"^strategies\.bc\.dataset: .*missing is not a dataset: it does not exist"
        refused(tmp_path, MissingInputError, told, [CLONE, ppo(1)], dataset=missing)
        own = {**CLONE, "options": {"dataset": str(missing)}}
        told = r"^strategies\.anneal\.schedule\[1\]\.options\.dataset: .*missing is not a dataset"
        refused(tmp_path, MissingInputError, told, [ppo(1), own])

    def test_something_else_than_recordings(self, tmp_path, demonstrations):
        told = r"^strategies\.ppo\.dataset: .*is a file"
        sets = {"strategies.ppo.data_mode": "replay", "strategies.ppo.dataset": __file__}
        refused(tmp_path, MissingInputError, told, [CLONE, ppo(1)], dataset=demonstrations, **sets)

    def test_recordings_that_nobody_names(self, tmp_path, demonstrations):
        told = r"schedule\[0\]: a stage that clones learns from recordings, .*set strategies\.bc\.dataset"
        refused(tmp_path, ConfigError, told, [CLONE, ppo(1)])
        told = r"schedule\[1\]: data_mode 'replay' learns from recordings, .*set strategies\.ppo\.dataset"
        replayed = ppo(1, data_mode="replay")
        refused(tmp_path, ConfigError, told, [CLONE, replayed], dataset=demonstrations)
        told = r"schedule\[0\]\.options\.demonstration_coef is 0\.1, and there are no demonstrations"
        refused(tmp_path, ConfigError, told, [ppo(0, demonstration_coef=0.1)])

    def test_recordings_that_a_later_stage_does_not_learn_from(self, tmp_path, demonstrations):
        told = r"^strategies\.ppo\.dataset is .*, and strategies\.anneal\.schedule\[2\], of bc_weight 0, learns from no"
        sets = {"strategies.ppo.dataset": demonstrations}
        refused(tmp_path, ConfigError, told, [CLONE, ppo(1, 1, 0.5), ppo(2)], dataset=demonstrations, **sets)

    def test_recordings_of_another_environment(self, tmp_path, others, demonstrations):
        told = (
            r"(?s)^strategies\.bc\.dataset: .*others does not fit environment 'gymnasium:CartPole-v1':.*"
            r"observation: .*\(3,\).* was recorded, and the environment shows .*\(4,\).*"
            r"actions: Discrete\(3\) was recorded, and the environment takes Discrete\(2\)\n  try --env town, or"
        )
        refused(tmp_path, DatasetError, told, [CLONE, ppo(1)], dataset=others)
        mixed = ppo(1, data_mode="mixed", dataset=str(others))
        told = r"^strategies\.anneal\.schedule\[1\]\.options\.dataset: .*others does not fit"
        refused(tmp_path, DatasetError, told, [CLONE, mixed], dataset=demonstrations)

    def test_town_recordings_of_another_variant_name_the_setting_that_fits(self, tmp_path):
        compact = ["--set", "environment.town.variant=compact", "--set", "environment.max_episode_steps=8"]
        assert main(["capture", "--episodes", "1", *compact, "--out", str(tmp_path / "days")]) == 0
        town = {"environment.name": "town", "environment.max_episode_steps": 8}
        told = r"(?s)observation\.map.*try --set environment\.town\.variant=compact, or name other recordings"
        refused(tmp_path, DatasetError, told, [CLONE, ppo(1)], dataset=tmp_path / "days", **town)

    def test_another_network_than_that_of_the_policy_that_is_taken_over(self, tmp_path, demonstrations):
        told = r"(?s)^strategies\.anneal\.schedule\[0\], with strategies\.ppo: .*hidden: \(8,\) is set.*\(16,\)"
        wide = ppo(1, hidden=[8])
        refused(tmp_path, ConfigError, told, [wide, CLONE], dataset=demonstrations)

    def test_a_length_that_is_given_twice(self, tmp_path, demonstrations):
        told = r"schedule\[1\]\.options\.num_updates: .*use epochs"
        refused(tmp_path, ConfigError, told, [CLONE, ppo(1, num_updates=3)], dataset=demonstrations)
        told = r"^strategies\.ppo\.num_updates: .*use epochs"
        sets = {"strategies.ppo.num_updates": 3}
        refused(tmp_path, ConfigError, told, [CLONE, ppo(1)], dataset=demonstrations, **sets)

    def test_releases_that_cannot_be(self, tmp_path, demonstrations):
        (tmp_path / "file").write_text("")
        told = r"^promotion\.releases_dir: .*file is not a directory"
        for place in ("file", "file/releases"):
            sets = {"promotion.releases_dir": tmp_path / place}
            refused(tmp_path, ConfigError, told, [CLONE, ppo(1)], dataset=demonstrations, **sets)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter").write_text("")
        told = r"^promotion\.releases_dir: .*letter does not belong to releases"
        sets = {"promotion.releases_dir": tmp_path / "mine"}
        refused(tmp_path, ConfigError, told, [CLONE, ppo(1)], dataset=demonstrations, **sets)


def test_releases_of_another_environment(tmp_path, demonstrations):
    result, run = anneal(tmp_path, [CLONE], dataset=demonstrations)  # of the town, as their manifest has it
    assert result.promotion_streak == 1
    told = r"^promotion\.releases_dir: .* of this run is of environment gymnasium:CartPole-v1, and .* is of town"
    with pytest.raises(ConfigError, match=told):
        anneal(tmp_path / "next", [ppo(0)], **{"promotion.releases_dir": run.parent / "releases"})


def test_the_network_of_a_policy_that_a_run_begins_from_counts(tmp_path, demonstrations):
    _, start = anneal(tmp_path, [CLONE], dataset=demonstrations)
    config = anneal_config(tmp_path / "next", [ppo(0)], **{"strategies.ppo.hidden": [8]})
    with pytest.raises(ConfigError, match=r"(?s)schedule\[0\], with strategies\.ppo: .*hidden: \(8,\) is set"):
        TrainingOrchestrator(config, run_dir=tmp_path / "next" / "run", initial_policy=start).run_anneal()


def test_no_shard_is_read_to_tell_whether_recordings_fit(tmp_path, others, monkeypatch):
    monkeypatch.setattr(Dataset, "__init__", lambda *_: pytest.fail("a dataset was opened"))
    with pytest.raises(DatasetError, match="does not fit"):
        anneal(tmp_path, [CLONE], dataset=others)


@pytest.mark.parametrize(("weight", "is_told"), [(0.5, True), (0.0, False)])
def test_a_weight_that_pulls_towards_nothing_is_told(tmp_path, recwarn, weight, is_told):
    anneal(tmp_path, [ppo(0, 1, weight)], margin=1e6, hold_repeats=0)
    told = [str(one.message) for one in recwarn if issubclass(one.category, RunWarning)]
    assert any("schedule[0].bc_weight is 0.5 and pulls towards nothing" in text for text in told) == is_told
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("pulls towards nothing" in text for text in record["warnings"]) == is_told


def test_a_weight_that_pulls_to_a_script_or_to_what_an_earlier_stage_learned_is_not_told(tmp_path, recwarn):
    blended = {**ppo(0, 1, 0.5, blend_policy="idle"), "blend": 0.5}
    anneal(tmp_path, [blended], margin=1e6, hold_repeats=0)
    assert not [one for one in recwarn if "towards nothing" in str(one.message)]
