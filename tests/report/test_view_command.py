"""`townlet view`, from the scenario or the run to the files."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from PIL import Image

from townlet_core.cli.main import main
from townlet_core.orchestrator.view import record_town
from townlet_core.plugins.registry import Registry

TINY = ("strategies.ppo.num_steps=16", "strategies.ppo.total_steps=256", "strategies.ppo.num_minibatches=2")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_scenario_becomes_a_page_a_picture_and_an_animation(here, capsys):
    assert main(["view", "kitchen_breakfast", "--seed", "3", "--png", "60", "--png", "0", "--gif"]) == 0
    names = ["kitchen_breakfast-3.html", "kitchen_breakfast-3-60.png", "kitchen_breakfast-3-0.png"]
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [*names, "kitchen_breakfast-3.gif"]
    assert sorted(path.name for path in here.iterdir()) == sorted(printed)
    assert "kitchen_breakfast" in (here / names[0]).read_text(encoding="utf-8")
    with Image.open(here / "kitchen_breakfast-3.gif") as animation:
        assert animation.n_frames == 31


@pytest.mark.parametrize("policy", ["scripted", "random", "idle"])
def test_every_script_can_be_watched_and_a_seed_is_the_same_day(here, policy):
    arguments = ["view", "storm", "--policy", policy, "--world-ticks", "40", "--out"]
    assert main([*arguments, "one.html"]) == main([*arguments, "two.html"]) == 0
    assert (here / "one.html").read_bytes() == (here / "two.html").read_bytes()
    assert main([*arguments, "three.html", "--seed", "9"]) == 0
    assert (here / "one.html").read_bytes() != (here / "three.html").read_bytes()


def test_more_ticks_than_an_episode_has_go_on_in_the_same_episode():
    recording = record_town("kitchen_breakfast", registry=Registry.discover({}, no_plugins=True), num_ticks=150)
    assert recording.num_frames == 151
    assert (np.abs(np.diff(recording.agents["y"].astype(int), axis=0)) <= 1).all()


def test_a_users_scenario_and_the_constants_of_the_town_can_be_set(here, capsys):
    (here / "mine.yaml").write_text("name: mine\nticks: 9\nsize: [4, 5]\nagents: [{hunger: [1, 1]}]\n")
    assert main(["view", "mine.yaml", "--set", "environment.town.needs.hunger_decay=0.1"]) == 0
    recording = record_town(
        "mine.yaml",
        registry=Registry.discover({}, no_plugins=True),
        sets=["environment.town.needs.hunger_decay=0.1"],
    )
    np.testing.assert_allclose(recording.agents["hunger"][:, 0], 1 - 0.1 * np.arange(10), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["kitchen_brekfast"], 66, "did you mean 'kitchen_breakfast'?"),
        (["runs/nothing"], 66, "there is no run, no dataset and no scenario file"),
        (["kitchen_breakfast", "--policy", "nowhere"], 66, "nowhere"),
        (["kitchen_breakfast", "--png", "121"], 64, "no tick 121: the recording goes from 0 to 120"),
        (["kitchen_breakfast", "--world-ticks", "0"], 64, "--world-ticks"),
        (["kitchen_breakfast", "--out", "no/where/page.html"], 74, "no/where"),
    ],
)
def test_what_cannot_be_viewed_is_an_error_that_says_why_and_leaves_no_file(here, capsys, arguments, code, text):
    assert main(["view", *arguments]) == code
    assert text in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "trained"
    sets = [word for value in TINY for word in ("--set", value)]
    scenario = ["--set", "environment.scenario=kitchen_breakfast", "--set", "environment.num_worlds=2"]
    with redirect_stdout(io.StringIO()):
        assert main(["train", "--strategy", "ppo", *scenario, *sets, "--run-dir", str(run)]) == 0
    return run


def test_the_day_of_a_run_is_the_episode_that_an_evaluation_of_that_seed_reports(trained, here, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--episodes", "2", "--json"]) == 0
    for episode in json.loads(capsys.readouterr().out)["episodes"]:
        recording = record_town(str(trained), registry=Registry.discover({}), seed=episode["seed"])
        assert recording.policy.startswith("trained (")
        life = recording.agents["life"]
        is_first = np.vstack([life[:1], life[:-1]]) == 0  # the tick in which a life ends still belongs to it
        rewards = np.where(is_first, recording.agents["reward"], 0).sum(axis=0, dtype=np.float64)
        assert rewards.mean() == pytest.approx(episode["episode_return"], abs=1e-5)
        assert recording.num_frames == episode["length"] + 1


def test_a_trained_policy_can_be_watched_in_another_scenario(trained, here, capsys):
    assert main(["view", "queue_conflict", "--policy", str(trained / "policy"), "--world-ticks", "5"]) == 0
    assert main(["view", str(trained), "--policy", "random", "--world-ticks", "5", "--out", "random.html"]) == 0
    assert "random" in (here / "random.html").read_text(encoding="utf-8")


def test_a_run_of_another_environment_is_refused(trained, here, capsys):
    assert main(["view", str(trained), "--set", "environment.name=gymnasium:CartPole-v1"]) == 64
    assert "is a run of the environment 'gymnasium:CartPole-v1': only the town can be viewed" in capsys.readouterr().err
