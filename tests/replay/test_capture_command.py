"""`townlet capture`, from the command line to the dataset."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from townlet_core.cli.capture_progress import capture_progress, duration
from townlet_core.cli.main import main
from townlet_core.config.load import load_config
from townlet_core.environments.build import make_environment
from townlet_core.orchestrator.capture import Amount, capture_dataset
from townlet_core.plugins.registry import Registry
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument, Provenance
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.replay.dataset import Dataset

CARTPOLE = ("--env", "gymnasium:CartPole-v1")
BREAKFAST = ("--set", "environment.scenario=kitchen_breakfast", "--set", "environment.max_episode_steps=30")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def capture(here, capsys):
    def run(*arguments, code=0):
        capsys.readouterr()
        assert main(["capture", *arguments]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    return run


@pytest.fixture
def artefact(here):
    """A policy that nobody trained, for CartPole, as a run would keep it."""
    config = load_config(None, sets=["environment.name=gymnasium:CartPole-v1"]).config
    environment = make_environment(config.environment, num_worlds=1)
    spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    environment.close()
    provenance = Provenance(strategy="ppo", environment="gymnasium:CartPole-v1", config_digest="ab" * 32)
    document = PolicyDocument(spec=spec, critic_trained=False, provenance=provenance)
    made = PolicyArtefact(document=document, weights=initial_weights(spec, FlattenEncoder(), seed=1))
    (here / "clever").mkdir()
    return made.save(here / "clever" / "policy")


def entries(path):
    dataset = Dataset(path)
    dataset.require_intact()
    return [entry for shard in dataset.shards for entry in shard.entries()]


def test_the_towns_script_is_recorded_and_the_result_says_what_there_is(here, capture):
    result = json.loads(capture(*BREAKFAST, "--episodes", "3", "--out", "demos", "--tag", "a", "--tag", "b", "--json"))
    dataset = Dataset(here / "demos")
    assert dataset.manifest.complete
    assert result["dataset"] == "demos"
    assert result["dataset_digest"] == dataset.digest
    assert result["dataset_bytes"] == dataset.num_bytes
    assert (result["environment"], result["policy"], result["policy_digest"]) == ("town", "scripted", "")
    assert (result["world_episodes"], result["episodes"]) == (3, dataset.num_episodes) == (3, 6)
    assert result["agent_steps"] == dataset.num_rows == 180
    assert (result["terminated"], result["truncated"], result["cut"]) == (0, 6, 0)
    found = entries(here / "demos")
    assert result["return_mean"] == pytest.approx(sum(entry.episode_return for entry in found) / 6)
    assert {entry.tags for entry in found} == {("a", "b")}
    (source,) = dataset.manifest.sources
    assert (source.kind, source.environment, source.policy, source.deterministic) == (
        "capture",
        "town",
        "scripted",
        True,
    )
    assert source.scenario == source.environment_config["scenario"] == "kitchen_breakfast"
    assert source.environment_config["max_episode_steps"] == 30
    assert len(source.scenario_digest) == 64
    assert source.config_digest == ""


def test_the_table_says_what_comes_next(capture):
    shown = capture(*CARTPOLE, "--policy", "random", "--episodes", "4", "--out", "my demos")
    rows = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert rows["environment"] == "gymnasium:CartPole-v1"
    assert rows["episodes"].startswith("4 of 4 world-episodes, each under its own seed: 4 terminated")
    assert "deviation" in rows["return"]
    assert rows["next"] == "townlet replay summary 'my demos'"


def test_the_command_writes_the_same_bytes_whatever_the_number_of_worlds(here, capture):
    for worlds in ("1", "3"):
        capture(*CARTPOLE, "--policy", "random", "--episodes", "7", "--worlds", worlds, "--out", worlds)
    assert Dataset(here / "1").digest == Dataset(here / "3").digest
    more = ("--set", "environment.num_worlds=3", "--set", "environment.worlds_per_shard=3")
    capture(*CARTPOLE, *more, "--policy", "random", "--episodes", "7", "--out", "more")
    assert Dataset(here / "more").digest == Dataset(here / "1").digest
    batched = ("--set", "environment.vectorization=entry_point")  # whose worlds share a generator: not taken
    capture(*CARTPOLE, *batched, "--policy", "random", "--episodes", "7", "--out", "batched")
    assert Dataset(here / "batched").digest == Dataset(here / "1").digest
    capture(*CARTPOLE, "--policy", "random", "--episodes", "7", "--seed", "1", "--out", "other")
    assert Dataset(here / "other").digest != Dataset(here / "1").digest


def test_a_policy_of_a_run_is_recorded_in_its_own_environment_greedily_unless_told_otherwise(here, capture, artefact):
    for path, out in (("clever", "a"), ("clever/policy", "b")):
        result = json.loads(capture("--policy", path, "--steps", "50", "--out", out, "--json"))
        assert (result["environment"], result["policy"]) == ("gymnasium:CartPole-v1", "clever")
        assert (result["policy_digest"], result["deterministic"]) == (artefact, True)
    assert Dataset(here / "a").digest == Dataset(here / "b").digest
    sampled = json.loads(capture("--policy", "clever", "--steps", "50", "--stochastic", "--out", "s", "--json"))
    assert sampled["deterministic"] is False
    greedy, loose = Dataset(here / "b").manifest.sources[0], Dataset(here / "s").manifest.sources[0]
    assert greedy.config_digest == loose.config_digest == "ab" * 32
    rows = [next(Dataset(here / name).trajectories())[1].steps for name in ("b", "s")]
    assert (rows[0]["log_probs"] < 0).all()
    assert rows[0]["actions"].tobytes() != rows[1]["actions"].tobytes()


def test_a_pettingzoo_environment_is_recorded(here, capture):
    pytest.importorskip("mpe2", reason="needs the environments of PettingZoo")
    capture("--env", "pettingzoo:mpe2.simple_spread_v3", "--policy", "random", "--episodes", "2", "--out", "d")
    assert [(entry.group, entry.agent, entry.ending) for entry in entries(here / "d")] == [
        (group, agent, "truncated") for group in range(2) for agent in range(3)
    ]


def test_appended_episodes_have_further_seeds_and_the_ones_before_are_untouched(here, capture):
    capture(*CARTPOLE, "--policy", "random", "--episodes", "3", "--out", "d")
    before = entries(here / "d")
    assert "is not empty" in capture(*CARTPOLE, "--policy", "random", "--episodes", "1", "--out", "d", code=64)
    capture(*CARTPOLE, "--policy", "idle", "--episodes", "2", "--out", "d", "--append")
    capture(*CARTPOLE, "--policy", "random", "--episodes", "1", "--seed", "9", "--out", "d", "--append")
    capture(*CARTPOLE, "--policy", "random", "--episodes", "1", "--out", "d", "--append")
    found = entries(here / "d")
    assert found[:3] == before
    assert [entry.group for entry in found] == list(range(7))
    assert len({entry.seed for entry in found}) == 7
    assert [entry.source for entry in found] == [0, 0, 0, 1, 1, 0, 0]
    assert Dataset(here / "d").manifest.complete
    capture(*CARTPOLE, "--policy", "random", "--episodes", "4", "--out", "more")
    assert entries(here / "more")[3].seed == found[3].seed  # the list of seeds goes on where it stopped


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 64, "either --episodes or --steps"),
        (["--episodes", "1", "--steps", "1"], 64, "either --episodes or --steps"),
        (["--episodes", "1", "--policy", "scriptd"], 64, "did you mean 'scripted'"),
        (["--episodes", "1", "--policy", "runs/none"], 66, "there is no policy and no run runs/none"),
        (["--episodes", "1", "--append"], 66, "out is not a dataset"),
        (["--episodes", "1", "--env", "gymnasium:Pendulum-v1", "--policy", "scripted"], 64, "has no script 'scripted'"),
        (["--episodes", "1", "--policy", "clever", "--env", "town"], 65, "does not fit town"),
    ],
)
def test_what_cannot_be_captured_is_an_error_that_leaves_no_files(here, capture, artefact, arguments, code, says):
    assert says in capture(*arguments, "--out", "out", code=code)
    assert not (here / "out").exists() or not any((here / "out").iterdir())


def test_a_dataset_of_another_environment_is_not_gone_on_with(here, capture):
    capture(*CARTPOLE, "--policy", "random", "--episodes", "1", "--out", "d")
    digest = Dataset(here / "d").digest
    shown = capture(*BREAKFAST, "--episodes", "1", "--out", "d", "--append", code=64)
    assert "d was recorded with other observations than environment 'town' has" in shown
    assert Dataset(here / "d").digest == digest


CHILD = """
import sys
sys.modules["torch"] = None  # a capture needs none
from townlet_core.cli.capture_progress import capture_progress, duration
from townlet_core.cli.main import main
from townlet_core.services import capture_run
capture_run.ROWS_AT_RISK = 200
sys.exit(main(["capture", "--env", "gymnasium:CartPole-v1", "--policy", "random", "--episodes", "1000000",
               "--out", sys.argv[1]]))
"""


def started(path):
    """Return a capture that has written at least two shards."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (path / "shard-000001").exists():
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return child


def test_a_killed_capture_leaves_a_valid_dataset_that_can_be_gone_on_with(here, capture):
    for moment in (0.0, 0.03, 0.07):
        path = here / f"killed-{moment}"
        child = started(path)
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
        found = entries(path)
        assert [entry.group for entry in found] == list(range(len(found)))
        assert not Dataset(path).manifest.complete
        capture(*CARTPOLE, "--policy", "random", "--episodes", "2", "--out", os.fspath(path), "--append")
        assert entries(path)[: len(found)] == found
        assert len(entries(path)) == len(found) + 2
        assert Dataset(path).manifest.complete


def test_ctrl_c_keeps_what_is_finished_and_ends_with_75(here):
    child = started(here / "d")
    child.send_signal(signal.SIGINT)
    shown = child.communicate(timeout=60)[1]
    assert child.returncode == 75, shown
    assert "keeping the episodes that are finished" in shown
    assert "the same command with --append records further ones" in shown
    found = entries(here / "d")
    assert not any(entry.ending == "cut" for entry in found)
    assert f"{len(found):,} world-episode" in shown


def test_a_stop_before_anything_is_finished_says_so(capture, monkeypatch):
    def stopped(signals):
        signals.requested = True
        return signals

    monkeypatch.setattr("townlet_core.orchestrator.signals.StopOnSignal.__enter__", stopped)
    assert "nothing was added" in capture(*CARTPOLE, "--policy", "random", "--episodes", "1", "--out", "d", code=75)


def shown_by(monkeypatch, capsys, world_episodes, *calls):
    """Return what a terminal shows of calls that are 1 s apart."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    show = capture_progress(world_episodes, clock=iter(range(100)).__next__)
    for call in calls:
        show(*call)
    return [line.strip() for line in capsys.readouterr().err.split("\r")[1:]]


def test_progress_of_worlds_in_step_is_told_in_agent_steps_with_the_time_left(monkeypatch, capsys):
    assert shown_by(monkeypatch, capsys, 20, (0, 1000, 10_000), (0, 3000, 10_000), (10, 4500, 10_000)) == [
        "1,000 agent-steps, 0/20 world-episodes, 1,000/s, about 9 s left",
        "3,000 agent-steps, 0/20 world-episodes, 1,500/s, about 5 s left",
        "4,500 agent-steps, 10/20 world-episodes, 1,500/s, about 3 s left",  # lives were shorter than they may be
    ]


def test_progress_without_a_known_length_tells_the_time_left_once_an_episode_has_ended(monkeypatch, capsys):
    assert shown_by(monkeypatch, capsys, 4, (0, 10, None), (1, 30, None)) == [
        "10 agent-steps, 0/4 world-episodes, 10/s",
        "30 agent-steps, 1/4 world-episodes, 15/s, about 6 s left",
    ]
    assert shown_by(monkeypatch, capsys, None, (3, 10, 100))[0].endswith("3 world-episodes, 10/s, about 9 s left")


def test_a_capture_of_the_town_knows_how_many_agent_steps_it_will_be_at_most(here):
    told = []
    capture_dataset(
        "scripted",
        here / "d",
        Amount(episodes=3),
        registry=Registry.discover({}, no_plugins=True),
        sets=["environment.scenario=kitchen_breakfast", "environment.max_episode_steps=30"],
        on_progress=lambda *numbers: told.append(numbers),
    )
    assert told[0][2] == told[-1][2] == told[-1][1] == 180


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (600, "10 min"), (5000, "83 min"), (12_600, "3.5 h")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
