"""`townlet view` of a captured episode: the same day once more, or an error that says why not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import make_trajectory

from townlet_core.checkpoint.manifest import MANIFEST_NAME
from townlet_core.cli.main import main
from townlet_core.errors import DatasetError
from townlet_core.orchestrator.view import record_town
from townlet_core.orchestrator.view_capture import replay_capture
from townlet_core.plugins.registry import Registry
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.schema import DATASET_NAME
from townlet_core.replay.writer import DatasetWriter

SHORT = ("--set", "environment.max_episode_steps=60")
REGISTRY = Registry.discover({}, no_plugins=True)


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    """Two stormy days of random people, in which lives end and begin."""
    path = tmp_path_factory.mktemp("captured") / "demos"
    town = ("--set", "environment.scenario=storm", "--set", "environment.town.needs.hunger_decay=0.02")
    assert main(["capture", *town, *SHORT, "--policy", "random", "--episodes", "2", "--out", str(path)]) == 0
    return path


def copied(demos, path, change):
    """Write the dataset once more, with what `change` makes of every trajectory."""
    dataset = Dataset(demos)
    manifest = dataset.manifest
    with DatasetWriter(
        path,
        observation_spaces=manifest.observation_spaces,
        action_space=manifest.action_space,
        event_kinds=manifest.event_kinds,
        sources=manifest.sources,
    ) as writer:
        writer.extend(made for _, one in dataset.trajectories() if (made := change(one)) is not None)
    return path


def edited(demos, path, **fields):
    """Write a dataset whose source says something else."""
    copied(demos, path, lambda one: one)
    manifest = json.loads((path / DATASET_NAME).read_text())
    manifest["sources"][0] |= fields
    (path / DATASET_NAME).write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize("episode", [0, 1])
def test_a_captured_day_is_the_day_that_its_seed_and_its_policy_give(demos, episode):
    dataset = Dataset(demos)
    lives = [pair for pair in dataset.trajectories() if pair[0].group == episode]
    assert len(lives) > 4, "a life has ended, and another one has begun in its slot"
    recording = record_town(str(demos), registry=REGISTRY, episode=episode)
    assert (recording.seed, recording.policy, recording.num_frames) == (lives[0][0].seed, "random", 61)
    for entry, one in lives:
        rows = slice(entry.start_step + 1, entry.start_step + 1 + entry.num_steps)
        np.testing.assert_array_equal(recording.agents["reward"][rows, entry.agent], one.steps["rewards"])
        np.testing.assert_array_equal(recording.agents["action"][rows, entry.agent], one.steps["actions"])
        np.testing.assert_array_equal(recording.agents["life"][rows.start - 1, entry.agent], entry.life)


def test_a_scripts_captured_day_is_what_view_shows_of_that_script_and_seed(tmp_path):
    out = tmp_path / "d"
    sets = ["environment.scenario=kitchen_breakfast"]
    assert main(["capture", "--set", *sets, "--episodes", "1", "--out", str(out)]) == 0
    (entry, *_) = Dataset(out).shards[0].entries()
    again = record_town(str(out), registry=REGISTRY)
    alone = record_town("kitchen_breakfast", registry=REGISTRY, seed=entry.seed)
    assert again.seed == alone.seed
    assert again.events == alone.events
    for name, table in alone.agents.items():
        np.testing.assert_array_equal(again.agents[name], table)


def test_the_page_of_an_episode_is_written(demos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["view", str(demos), "--episode", "1", "--world-ticks", "20"]) == 0
    seed = next(entry.seed for entry in Dataset(demos).shards[0].entries() if entry.group == 1)
    assert capsys.readouterr().out.startswith(f"storm-{seed}.html")
    assert record_town(str(demos), registry=REGISTRY, num_ticks=20).num_frames == 21


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--episode", "7"], "has no world-episode 7: there are 2, from 0 to 1"),
        (["--policy", "random"], "its own policy, seed and environment are shown"),
        (["--seed", "3"], "its own policy, seed and environment are shown"),
        (["--set", "environment.town.day_ticks=20"], "its own policy, seed and environment are shown"),
    ],
)
def test_what_a_dataset_does_not_have_is_a_usage_error(demos, capsys, arguments, says):
    assert main(["view", str(demos), *arguments]) == 64
    assert says in capsys.readouterr().err


def test_another_simulation_than_the_recorded_one_is_an_error_that_says_where(demos, tmp_path):
    def dearer(one):
        rewards = one.steps["rewards"].copy()
        if (one.group, one.agent, one.start_step) == (0, 1, 0):
            rewards[4] += 0.01
        return type(one)(steps={**one.steps, "rewards": rewards}, final=one.final, ending=one.ending, **said(one))

    with pytest.raises(DatasetError, match=r"episode 0 cannot be shown: in tick 5 agent 1 earns .* was recorded"):
        record_town(str(copied(demos, tmp_path / "a", dearer)), registry=REGISTRY)
    config = Dataset(demos).manifest.sources[0].environment_config
    hungry = {**config, "town": {**config["town"], "needs": {**config["town"]["needs"], "hunger_decay": 0.03}}}
    with pytest.raises(DatasetError, match="the simulation has changed since, or lives"):
        record_town(str(edited(demos, tmp_path / "b", environment_config=hungry)), registry=REGISTRY)
    with pytest.raises(DatasetError, match="the scenario 'storm' is not what it was"):
        record_town(str(edited(demos, tmp_path / "c", scenario_digest="0" * 64)), registry=REGISTRY)
    with pytest.raises(DatasetError, match="an agent is recorded that the scenario does not have"):
        record_town(str(edited(demos, tmp_path / "d", **breakfast(config))), registry=REGISTRY)


def said(one):
    return {name: getattr(one, name) for name in ("group", "seed", "agent", "life", "start_step", "source")}


def breakfast(config):
    from townlet_core.config.load import load_config
    from townlet_core.orchestrator.experiment import scenario_digest

    digest = scenario_digest(load_config(None, sets=["environment.scenario=kitchen_breakfast"]).config)
    return {"environment_config": {**config, "scenario": "kitchen_breakfast"}, "scenario_digest": digest}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": "training"}, "recorded while training, or imported"),
        ({"environment": "gymnasium:CartPole-v1"}, "was recorded in 'gymnasium:CartPole-v1': only the town"),
        ({"environment": ""}, "is not from the town: only the town"),
    ],
)
def test_what_was_not_captured_in_the_town_is_refused(demos, tmp_path, capsys, fields, says):
    assert main(["view", str(edited(demos, tmp_path / "d", **fields))]) == 64
    assert says in capsys.readouterr().err


def test_a_damaged_dataset_is_bad_data(demos, tmp_path, capsys):
    path = copied(demos, tmp_path / "d", lambda one: one)
    (path / "shard-000000" / MANIFEST_NAME).write_text("{}")
    assert main(["view", str(path)]) == 65
    assert "is damaged" in capsys.readouterr().err


def test_a_dataset_that_is_of_no_environment_is_refused(tmp_path, capsys):
    from datasets import SPACES

    with DatasetWriter(tmp_path / "d", **{**SPACES, "sources": ()}) as writer:
        writer.add(make_trajectory())
    assert main(["view", str(tmp_path / "d")]) == 64
    assert "does not say where world-episode 0 is from" in capsys.readouterr().err


def test_a_step_far_away_takes_no_memory(demos, tmp_path):
    far = copied(demos, tmp_path / "far", lambda one: replace(one, start_step=one.start_step + 2**52))
    assert replay_capture(far, num_ticks=5) is not None


def test_actions_of_another_space_are_no_day_of_the_town(demos, tmp_path):
    path = copied(demos, tmp_path / "other", lambda one: one)
    manifest = json.loads((path / DATASET_NAME).read_text())
    manifest["action"]["n"] += 1
    (path / DATASET_NAME).write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=r"its actions are Discrete\(\d+\), and those of the town are not"):
        replay_capture(path)
