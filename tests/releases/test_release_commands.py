"""`townlet releases`, `promote` and `rollback`: what they print, what they end with, and where a release came from."""

import json
import shutil

import numpy as np
import pytest
from datasets import write_dataset

from townlet_core.cli.main import main
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.environments.build import make_environment
from townlet_core.policy.artefact import DOCUMENT_FILE, WEIGHTS_FILE, PolicyArtefact, PolicyDocument, Provenance
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.releases.bundle import POLICY_FILES
from townlet_core.runs.status import RunRecord, timestamp

CARTPOLE = "gymnasium:CartPole-v1"
FEW = ("--set", "promotion.episodes=10")


def save_run(path, *, gain, initial="", **provenance):
    """Write a run that has finished; its policy balances the pole if `gain` is above 0, the better the larger."""
    environment = make_environment(EnvironmentConfig(name=CARTPOLE), num_worlds=1)
    spec = PolicySpec.for_spaces(
        environment.observation_spaces, environment.action_space, actor_hidden=(), critic_hidden=()
    )
    environment.close()
    weights = initial_weights(spec, FlattenEncoder(), seed=0)
    push = np.array([0.0, 0.2, 1.0, 0.6], np.float32) * gain
    weights["actor.0.weight"] = np.stack([-push, push], axis=1)
    provenance = Provenance(strategy="bc", environment=CARTPOLE, **provenance)
    artefact = PolicyArtefact(
        document=PolicyDocument(spec=spec, critic_trained=False, provenance=provenance), weights=weights
    )
    path.mkdir(parents=True)
    artefact.save(path / "policy")
    record = RunRecord(
        id=path.name,
        status="finished",
        strategy="bc",
        environment=CARTPOLE,
        seed=0,
        versions={},
        num_threads=1,
        created=timestamp(0),
        updated=timestamp(0),
        config_digest="",
        initial_policy=initial,
    )
    (path / "run.json").write_text(record.model_dump_json())
    (path / "config.yaml").write_text(f"environment: {{name: {CARTPOLE}}}\nstrategies: {{bc: {{dataset: demos}}}}\n")
    (path / "result.json").write_text("{}")
    return artefact.digest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory with runs: two good ones, a better one, and one that does harm."""
    monkeypatch.chdir(tmp_path)
    dataset = write_dataset(tmp_path / "demos")
    for name, gain in (("good", 30.0), ("other", 31.0), ("better", 60.0), ("bad", -30.0)):
        save_run(tmp_path / "runs" / name, gain=gain, dataset_digest=dataset.digest)
    return tmp_path


@pytest.fixture
def townlet(capsys):
    """Run a command and return its exit code and what it printed."""

    def townlet(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return townlet


def as_json(townlet, *arguments):
    code, text = townlet(*arguments, "--json")
    assert code in (0, 1, 65), text
    return json.loads(text)


def test_from_two_good_runs_to_a_champion_and_back(home, townlet):
    code, text = townlet("promote", "runs/good")
    assert code == 1
    assert "a promotion takes 2 policies that pass in a row, and 0 did" in text
    for name in ("good", "other"):
        code, text = townlet("releases", "record", f"runs/{name}", *FEW)
        assert code == 0
        assert "compared     with random: episode_return +" in text
    code, text = townlet("promote", "candidate", *FEW, "--reason", "it balances")
    assert code == 0
    assert "promoted, 0 of 2 passed in a row" in text
    shown = townlet("releases", "show", "champion")[1].splitlines()
    compared = [line for line in shown if " compared with random: episode_return +" in line]
    assert [line.split(" compared")[0] for line in compared] == ["event 2", "event 3"], "what each of them rests on"
    assert townlet("rollback")[0] == 1
    swapped = townlet("promote", "runs/better", "--force", "--reason", "by hand")
    assert swapped[0] == 0
    assert "policy_swap" in swapped[1]
    assert townlet("rollback", "--to", "previous")[0] == 0
    listed = as_json(townlet, "releases")
    assert listed["champion"] == as_json(townlet, "releases", "show", "champion")["release"]
    assert [row["run"] for row in listed["releases"]] == ["other", "better", "good"]
    assert listed["events"][2]["evidence"]["against"] == "random"
    assert listed["events"][2]["reason"] == "it balances"


def test_a_first_champion_with_continuous_actions_is_compared_with_chance(tmp_path, monkeypatch, townlet):
    monkeypatch.chdir(tmp_path)
    name = "gymnasium:Pendulum-v1"
    environment = make_environment(EnvironmentConfig(name=name), num_worlds=1)
    spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    environment.close()
    document = PolicyDocument(spec=spec, critic_trained=False, provenance=Provenance(strategy="ppo", environment=name))
    PolicyArtefact(document=document, weights=initial_weights(spec, FlattenEncoder(), seed=0)).save(tmp_path / "swing")
    settings = ("--set", "promotion={episodes: 8, margin: 10000, required_passes: 1}")
    code, text = townlet("releases", "record", "swing", *settings)
    assert (code, "compared     with random: episode_return" in text) == (0, True)
    code, text = townlet("promote", "swing", *settings)
    assert (code, "compared     with random: episode_return" in text) == (0, True)
    assert as_json(townlet, "releases")["champion"]


def test_the_next_champion_is_compared_with_the_present_one(home, townlet):
    assert townlet("promote", "runs/good", "--force", "--reason", "the first")[0] == 0
    outcome = as_json(townlet, "releases", "record", "runs/bad", *FEW)
    assert (outcome["event"]["verdict"], outcome["event"]["policy"]) == ("FAIL", outcome["event"]["evidence"]["policy"])
    assert outcome["event"]["evidence"]["against"] == as_json(townlet, "releases")["champion"]
    allowed = ("--set", "promotion.margin=500", "--set", "promotion.required_passes=1")
    assert as_json(townlet, "releases", "record", "runs/bad", *FEW, *allowed)["event"]["event"] == "candidate"
    assert townlet("promote", "candidate", *FEW)[0] == 1, "without the margin and with a streak of 2 it is not"
    assert townlet("promote", "candidate", *FEW, *allowed)[0] == 0


def test_an_evaluation_that_was_made_before_is_taken_and_recomputed(home, townlet):
    report = ("--suite", "short.yaml", "--out", "report.json")
    (home / "short.yaml").write_text(f"name: short\nentries: [{{environment: {{name: '{CARTPOLE}'}}, count: 10}}]\n")
    assert townlet("evaluate", "runs/good", "--against", "random", *report)[0] == 0
    assert townlet("releases", "record", "runs/good", "--evidence", "report.json")[0] == 0
    kept = home / "releases" / "evidence"
    assert json.loads(next(kept.iterdir()).read_text())["policy"] == "runs/good"
    code, text = townlet("releases", "record", "runs/other", "--evidence", "report.json")
    assert (code, "and not of policy" in text) == (64, True)
    document = json.loads((home / "report.json").read_text())
    for episode in document["episodes"]:
        episode["episode_return"] = 0.0
    (home / "forged.json").write_text(json.dumps(document))
    outcome = as_json(townlet, "releases", "record", "runs/good", "--evidence", "forged.json")
    assert outcome["event"]["verdict"] == "FAIL", "what the report says of its verdict does not count"
    (home / "no.json").write_text("{}")
    assert townlet("releases", "record", "runs/good", "--evidence", "no.json")[0] == 65
    assert townlet("evaluate", "runs/good", *report)[0] == 0
    code, text = townlet("releases", "record", "runs/good", "--evidence", "report.json")
    assert (code, "against nobody, and not against scripted or random" in text) == (64, True)


def test_a_release_leads_to_its_run_and_on_to_the_dataset_and_what_recorded_it(home, townlet):
    assert townlet("promote", "runs/good", "--force", "--reason", "the first")[0] == 0
    chain = _chain(as_json(townlet, "releases", "lineage", "champion"))
    assert chain == [("release", "verified"), ("run", "verified"), ("dataset", "verified"), ("source", "recorded")]
    shutil.rmtree(home / "runs")
    (home / "demos").rename(home / "lost")
    chain = _chain(as_json(townlet, "releases", "lineage", "champion"))
    assert chain == [("release", "verified"), ("run", "missing"), ("dataset", "missing")]
    code, text = townlet("releases", "lineage", "champion")
    assert code == 0
    assert "<- bc: run" in text
    assert "which was not found" in text


def test_a_release_that_began_from_another_policy_leads_to_it(home, townlet):
    first = as_json(townlet, "releases", "record", "runs/good", "--verdict", "PASS", "--reason", "seen")["event"][
        "policy"
    ]
    save_run(home / "runs" / "later", gain=40.0, initial=first)
    townlet("promote", "runs/later", "--force", "--reason", "the first")
    chain = _chain(as_json(townlet, "releases", "lineage", "champion"))
    assert chain[:3] == [("release", "verified"), ("run", "verified"), ("policy", "verified")]


def test_a_run_that_lies_beside_the_releases_is_found_there(home, townlet):
    (home / "runs" / "good").rename(home / "good")
    townlet("promote", "good", "--force", "--reason", "the first")
    tree = as_json(townlet, "releases", "lineage", "champion")
    assert (tree["made_from"][0]["state"], tree["made_from"][0]["path"]) == ("verified", "good")


def _chain(node):
    return [(node["kind"], node["state"])] + [pair for child in node["made_from"][:1] for pair in _chain(child)]


def test_a_bundle_holds_the_exact_files_of_the_policy_and_of_its_run(home, townlet):
    townlet("promote", "runs/good", "--force", "--reason", "the first")
    named = as_json(townlet, "releases", "record", "runs/good/policy", "--verdict", "HOLD", "--reason", "again")
    assert named["event"]["run"] == "good"
    bundle, run = next((home / "releases" / "bundles").iterdir()), home / "runs" / "good"
    for name in POLICY_FILES:
        assert (bundle / name).read_bytes() == (run / "policy" / name).read_bytes()
    for name in ("run.json", "config.yaml", "result.json"):
        assert (bundle / f"origin-{name}").read_bytes() == (run / name).read_bytes()
    assert set(POLICY_FILES) == {DOCUMENT_FILE, WEIGHTS_FILE}
    assert townlet("evaluate", bundle, "--episodes", "2")[0] == 0, "a bundle is a policy like any other"


def test_tables_fit_into_80_columns(home, townlet):
    for name in ("good", "other", "better"):
        save_run(home / "runs" / f"20261123-064108-a-rather-long-name-{name}", gain=50.0, agent_steps=len(name))
        townlet("releases", "record", f"runs/20261123-064108-a-rather-long-name-{name}", *FEW)
    townlet("promote", "candidate", *FEW, "--by", "somebody with a long name")
    for arguments in (("releases",), ("releases", "list", "--events"), ("releases", "verify")):
        code, text = townlet(*arguments)
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("releases",), 0, "no releases yet"),
        (("releases", "show", "champion"), 66, "has no champion"),
        (("releases", "show", "abc"), 66, "'abc' is no release"),
        (("releases", "verify"), 66, "no releases yet"),
        (("releases", "--json", "list"), 64, "options stand after 'list'"),
        (("promote", "runs/nowhere"), 66, "no run and no policy at runs/nowhere"),
        (("promote", "runs/good", "--force"), 64, "needs --reason"),
        (("releases", "record", "runs/good", "--verdict", "PASS"), 64, "needs --reason"),
        (("rollback",), 1, "there is no champion"),
        (("rollback", "--set", "promotion.required_pases=1"), 78, "did you mean"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(home, townlet, arguments, code, says):
    got, text = townlet(*arguments)
    assert (got, says in text) == (code, True), text
    assert not (home / "releases").exists()
