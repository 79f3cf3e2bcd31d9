"""A lineage leads from a policy to the datasets it was cloned from, and from those to what recorded them."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from datasets import ACTION_SPACE, HASTY, OBSERVATION_SPACES, SCRIPT, edit_manifest, write_dataset

from townlet_core.cli.main import main
from townlet_core.errors import ArtefactError, DatasetError, MissingInputError
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument, Provenance
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.replay.curate import curate as curate_on_disk
from townlet_core.replay.curation_plan import Curation
from townlet_core.replay.curation_rules import CurationRules
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.lineage import dataset_lineage
from townlet_core.runs.status import RunRecord, timestamp
from townlet_core.services.lineage import lineage

curate = partial(curate_on_disk, filesystem=HASTY)


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A dataset, one curated from it, and one curated from that."""
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "first")
    for parent, child, rules in (("first", "second", {"agent": (0,)}), ("second", "third", {"max_length": 6})):
        curation = Curation(rules=CurationRules(**rules))
        curate([Dataset(Path(parent))], Path(child), curation=curation)
    return tmp_path


def chain(node):
    """Return (path's name, state) from a node down its first parents."""
    names = [(node.path.rpartition("/")[2], node.state)]
    return names + (chain(node.made_from[0]) if node.made_from else [])


def test_each_dataset_leads_to_its_parent_and_the_first_to_its_source(family):
    tree = lineage(family / "third")
    assert chain(tree) == [("third", "verified"), ("second", "verified"), ("first", "verified"), ("", "recorded")]
    assert (tree.how, tree.facts["agent_steps"]) == ("", Dataset(family / "third").num_rows)
    (second,) = tree.made_from
    assert (second.how, second.options) == ("curate", {"max_length": 6})
    (source,) = second.made_from[0].made_from
    assert (source.kind, source.how) == ("source", "capture")
    assert source.facts == {"kind": "capture", "environment": "town", "scenario": "quiet", "policy": "scripted"}


def test_a_parent_that_is_gone_leaves_the_sources_that_the_child_knows(family):
    shutil.rmtree(family / "first")
    second = lineage(family / "second")
    parent, source = second.made_from
    assert (parent.state, parent.made_from, source.kind) == ("missing", (), "source")
    assert parent.digest == Dataset(family / "second").manifest.parents[0].digest


def test_a_parent_that_was_changed_is_told(family):
    edit_manifest(Dataset(family / "first"), lambda document: document.update(action_names=["a", "b", "c", "d"]))
    assert lineage(family / "second").made_from[0].state == "changed"
    (family / "first" / "dataset.json").write_text("{")
    assert lineage(family / "second").made_from[0].state == "changed"


def test_datasets_that_were_moved_together_find_each_other(family):
    moved = family / "elsewhere"
    moved.mkdir()
    for name in ("first", "second", "third"):
        (family / name).rename(moved / name)
    assert [state for _, state in chain(lineage(moved / "third"))] == ["verified"] * 3 + ["recorded"]
    assert lineage(moved / "third").made_from[0].path == str(moved / "second")


def test_a_relative_path_is_seen_from_the_working_directory(family, monkeypatch):
    curate([Dataset((family / "first").relative_to(family))], family / "sub" / "fourth", curation=Curation())
    assert Dataset(family / "sub" / "fourth").manifest.parents[0].path == "first"
    assert lineage(family / "sub" / "fourth").made_from[0].state == "verified"
    monkeypatch.chdir("/")
    assert lineage(family / "sub" / "fourth").made_from[0].state == "missing"


def test_a_chain_is_followed_so_far_and_no_further(family, monkeypatch):
    monkeypatch.setattr("townlet_core.replay.lineage._MAX_DEPTH", 1)
    assert chain(lineage(family / "third")) == [("third", "verified"), ("second", "verified"), ("", "recorded")]


def test_datasets_that_name_each_other_end(family):
    def name_itself(document):
        document["parents"][0]["path"] = str(family / "second")

    edit_manifest(Dataset(family / "second"), name_itself)
    assert lineage(family / "second").made_from[0].state == "changed"


def save_policy(path, **provenance):
    spec = PolicySpec.for_spaces(OBSERVATION_SPACES, ACTION_SPACE, actor_hidden=(3,), critic_hidden=(3,))
    artefact = PolicyArtefact(
        document=PolicyDocument(spec=spec, critic_trained=False, provenance=Provenance(strategy="bc", **provenance)),
        weights=initial_weights(spec, FlattenEncoder(), seed=0),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    artefact.save(path)
    return artefact


def test_a_policy_leads_to_its_dataset_if_the_run_says_where_that_is(family):
    digest = Dataset(family / "third").digest
    run = family / "runs" / "r"
    artefact = save_policy(run / "policy", dataset_digest=digest)
    lost = lineage(run)
    assert (lost.kind, lost.digest) == ("policy", artefact.digest)
    assert [(node.state, node.digest, node.how) for node in lost.made_from] == [("missing", digest, "bc")]
    (run / "config.yaml").write_text("strategies: {bc: {dataset: third}}\n")
    for path in (run, run / "policy"):
        assert [state for _, state in chain(lineage(path))] == ["verified"] * 4 + ["recorded"]


def save_run(path, *, initial="", **provenance):
    """Write a run that has finished, and return the digest of its policy."""
    digest = save_policy(path / "policy", **provenance).digest
    record = RunRecord(
        id=path.name,
        status="finished",
        strategy="ppo",
        environment="town",
        seed=0,
        versions={},
        num_threads=1,
        created=timestamp(0),
        updated=timestamp(0),
        config_digest="",
        initial_policy=initial,
    )
    (path / "run.json").write_text(record.model_dump_json())
    return digest


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_warm_start_leads_on_to_the_run_that_it_began_from(family, elsewhere):
    first = save_run(family / "runs" / "clone", agent_steps=1, dataset_digest=Dataset(family / "third").digest)
    (family / "runs" / "clone" / "config.yaml").write_text("strategies: {bc: {dataset: third}}\n")
    better = family / ("other" if elsewhere else "runs") / "better"
    save_run(better, initial=first, agent_steps=2)
    tree = lineage(better.relative_to(family))
    (earlier,) = tree.made_from
    assert (earlier.how, earlier.state, earlier.path, earlier.digest) == (
        "continued",
        "verified",
        "runs/clone/policy",
        first,
    )
    assert [name for name, _ in chain(earlier)] == ["policy", "third", "second", "first", ""]


def test_the_dataset_of_a_run_is_found_from_another_directory(family, monkeypatch):
    save_run(family / "runs" / "clone", agent_steps=1, dataset_digest=Dataset(family / "third").digest)
    (family / "runs" / "clone" / "config.yaml").write_text("strategies: {bc: {dataset: third}}\n")
    monkeypatch.chdir("/")
    assert lineage(family / "runs" / "clone").made_from[0].state == "verified"
    (family / "third").rename(family / "runs" / "third")
    assert lineage(family / "runs" / "clone").made_from[0].state == "verified"


def test_a_capture_leads_on_to_the_run_that_acted(family, monkeypatch):
    digest = save_run(family / "runs" / "pole", agent_steps=1)
    source = SCRIPT.model_copy(update={"policy": "pole", "policy_digest": digest})
    write_dataset(family / "demos", sources=[source])
    for place in (family, "/"):  # beside the dataset, wherever one stands
        monkeypatch.chdir(place)
        ((acted,),) = (source.made_from for source in lineage(family / "demos").made_from)
        assert (acted.kind, acted.how, acted.digest) == ("policy", "acted", digest)


def test_another_policy_of_the_same_name_and_a_damaged_one_are_not_taken(family):
    digest = save_run(family / "runs" / "pole", agent_steps=1)
    save_run(family / "runs" / "a-other", agent_steps=2)
    source = SCRIPT.model_copy(update={"policy": "a-other", "policy_digest": digest})
    write_dataset(family / "demos", sources=[source])
    (acted,) = lineage(family / "demos").made_from[0].made_from
    assert acted.path.endswith("runs/pole/policy")
    weights = family / "runs" / "pole" / "policy" / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert lineage(family / "demos").made_from[0].made_from == ()


def test_runs_that_name_themselves_or_each_other_end(family):
    one, two = (save_policy(family / "runs" / name / "policy", agent_steps=n).digest for n, name in enumerate("ab"))
    save_run(family / "runs" / "a", initial=two, agent_steps=0)
    save_run(family / "runs" / "b", initial=one, agent_steps=1)
    assert [state for _, state in chain(lineage(family / "runs" / "a"))] == ["verified"] * 3
    save_run(family / "runs" / "a", initial=one, agent_steps=0)
    assert [state for _, state in chain(lineage(family / "runs" / "a"))] == ["verified"] * 2


def test_a_directory_is_searched_so_far_and_no_further(family, monkeypatch):
    monkeypatch.setattr("townlet_core.services.policy_search.MOST_PLACES", 0)
    first = save_run(family / "runs" / "clone", agent_steps=1)
    save_run(family / "runs" / "better", initial=first, agent_steps=2)
    (earlier,) = lineage(family / "runs" / "better").made_from
    assert (earlier.state, earlier.digest, earlier.path) == ("recorded", first, "")


def test_a_policy_that_was_not_cloned_is_made_from_nothing(tmp_path):
    save_policy(tmp_path / "p")
    assert lineage(tmp_path / "p").made_from == ()


def test_what_is_neither_is_an_error_that_says_so(tmp_path):
    with pytest.raises(MissingInputError, match="neither a dataset nor a run nor a policy"):
        lineage(tmp_path)
    with pytest.raises(MissingInputError, match="no directory"):
        lineage(tmp_path / "none")
    save_policy(tmp_path / "p")
    (tmp_path / "p" / "policy.json").write_text("{")
    with pytest.raises(ArtefactError):
        lineage(tmp_path / "p")
    write_dataset(tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text("{")
    with pytest.raises(DatasetError):
        dataset_lineage(tmp_path / "d")


def test_the_command_prints_the_tree(family, capsys):
    shutil.rmtree(family / "first")
    assert main(["replay", "lineage", "third"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("dataset third sha256 ")
    assert lines[1].startswith("  <- curate (max_length=6): dataset second sha256 ")
    assert lines[2].startswith("    <- curate (agent=[0]): dataset first sha256 ")
    assert lines[2].endswith(", which was not found")
    assert lines[3] == "    <- capture: scripted in town/quiet"


def test_the_command_prints_the_tree_as_json(family, capsys):
    assert main(["replay", "lineage", "second", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["made_from"][0]["digest"] == Dataset(family / "first").digest


def test_the_command_names_the_digest_of_the_artefact_that_acted(tmp_path, capsys):
    source = SCRIPT.model_copy(update={"policy": "runs/x", "policy_digest": "ab" * 32})
    write_dataset(tmp_path / "d", sources=[source])
    assert main(["replay", "lineage", str(tmp_path / "d")]) == 0
    assert "runs/x (sha256 abababababab) in town/quiet" in capsys.readouterr().out


def test_the_command_ends_with_66_without_anything(tmp_path):
    assert main(["replay", "lineage", str(tmp_path)]) == 66
