"""A policy at rest: equal bytes after a round trip, and every kind of damage refused with the file and the reason."""

import hashlib
import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from gymnasium import spaces

from townlet_core.checkpoint.atomic import write_directory
from townlet_core.checkpoint.manifest import files_digest
from townlet_core.errors import ArtefactError, MissingInputError
from townlet_core.policy.artefact import (
    DOCUMENT_FILE,
    MAX_DOCUMENT_BYTES,
    WEIGHTS_FILE,
    PolicyArtefact,
    PolicyDocument,
    Provenance,
    load_artefact,
)
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.inputs import Moments
from townlet_core.policy.spec import EncoderSpec, PolicySpec
from townlet_core.policy.weights import initial_weights

OBSERVATION = {"observation": spaces.Box(-np.inf, np.inf, (2,), np.float32)}


def make_artefact(*, seed=0, action=None, hidden=(3,), **spec_fields):
    spec = PolicySpec.for_spaces(
        OBSERVATION,
        spaces.Discrete(2) if action is None else action,
        actor_hidden=hidden,
        critic_hidden=hidden,
        normalize_observations=True,
        **spec_fields,
    )
    rows = np.random.default_rng(seed).normal(size=(20, 2)).astype(np.float32)
    return PolicyArtefact(
        document=PolicyDocument(spec=spec, critic_trained=True, provenance=Provenance(strategy="ppo", agent_steps=7)),
        weights=initial_weights(spec, FlattenEncoder(), seed=seed),
        normalizer={"observation": Moments.empty((2,)).merged(rows)},
    )


@pytest.fixture
def saved(tmp_path):
    artefact = make_artefact()
    artefact.save(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.mark.parametrize("action", [spaces.Discrete(2), spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))])
def test_a_round_trip_gives_equal_bytes_digest_and_decisions(tmp_path, action):
    artefact = make_artefact(action=action)
    digest = artefact.save(tmp_path / "policy")
    loaded = load_artefact(tmp_path / "policy")
    assert loaded.files() == artefact.files()
    assert loaded.document == artefact.document
    assert digest == artefact.digest == loaded.digest == files_digest(artefact.files())
    rows = {"observation": np.random.default_rng(1).normal(size=(4, 1, 2)).astype(np.float32)}
    present, noise = np.ones((4, 1), bool), np.random.default_rng(2).random((4, 1, artefact.spec.head.noise_size))
    first, second = (kept.policy().act(rows, None, present, noise) for kept in (artefact, loaded))
    assert first.actions.tobytes() == second.actions.tobytes()
    assert first.log_probs.tobytes() == second.log_probs.tobytes()


def test_a_digest_depends_on_every_weight_moment_and_field_but_not_on_order():
    artefact = make_artefact()
    assert make_artefact().digest == artefact.digest
    digests = {make_artefact(seed=1).digest, make_artefact(activation="relu").digest, artefact.digest}
    assert len(digests) == 3
    reordered = PolicyArtefact(
        document=artefact.document,
        weights=dict(reversed(artefact.weights.items())),
        normalizer=artefact.normalizer,
    )
    assert reordered.digest == artefact.digest


def test_saving_replaces_what_was_there_whole(saved):
    other = make_artefact(seed=5)
    assert other.save(saved) == load_artefact(saved).digest
    assert sorted(path.name for path in saved.parent.iterdir()) == ["policy"]


def test_only_an_artefact_or_nothing_is_ever_replaced(tmp_path, saved):
    mine = tmp_path / "mine"
    mine.mkdir()
    make_artefact().save(mine)
    assert load_artefact(mine).digest == load_artefact(saved).digest
    for files in ({"thesis.txt": b"words"}, {"manifest.json": b'{"name": "a web page"}'}):
        theirs = tmp_path / next(iter(files))[:4]
        theirs.mkdir()
        for name, data in files.items():
            (theirs / name).write_bytes(data)
        with pytest.raises(ArtefactError, match=r"is not a policy artefact and would be deleted"):
            make_artefact().save(theirs)
        assert {path.name: path.read_bytes() for path in theirs.iterdir()} == files
    write_directory(tmp_path / "checkpoint", {"state.json": b"{}"})
    for name in ("checkpoint", "mine/policy.json"):
        with pytest.raises(ArtefactError, match="is not a policy artefact"):
            make_artefact().save(tmp_path / name)
    assert (tmp_path / "checkpoint" / "state.json").read_bytes() == b"{}"


def test_a_document_that_is_too_large_is_neither_written_nor_parsed(tmp_path):
    small = make_artefact()
    provenance = Provenance(strategy="x" * MAX_DOCUMENT_BYTES)
    artefact = replace(small, document=small.document.model_copy(update={"provenance": provenance}))
    with pytest.raises(ArtefactError, match=r"policy.json: has 4,19\d,\d+ bytes, more than .*; nothing was written"):
        artefact.save(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []
    write_directory(tmp_path / "policy", {WEIGHTS_FILE: b"", DOCUMENT_FILE: b" " * (MAX_DOCUMENT_BYTES + 1)})
    with pytest.raises(ArtefactError, match=r"policy.json: has 4,194,305 bytes, more than the 4,194,304 allowed"):
        load_artefact(tmp_path / "policy")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_policy_that_is_not_finite_is_never_written(tmp_path, bad):
    artefact = make_artefact()
    artefact.weights["actor.0.weight"][1, 1] = bad
    with pytest.raises(ArtefactError, match=r"policy: 'actor.0.weight' is not finite; nothing was written"):
        artefact.save(tmp_path / "policy")
    moments = Moments(3.0, np.array([0.0, bad]), np.ones(2))
    damaged = PolicyArtefact(
        document=artefact.document, weights=make_artefact().weights, normalizer={"observation": moments}
    )
    with pytest.raises(ArtefactError, match=r"policy: 'normalizer.observation.mean' is not finite"):
        damaged.save(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_a_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="nowhere does not exist"):
        load_artefact(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DOCUMENT_FILE, "manifest.json"])
def test_every_flipped_byte_is_found_and_the_file_named(saved, name):
    """Each byte of a file is changed in turn; what still loads has to be equal in every byte."""
    path, original = saved / name, load_artefact(saved).files()
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :])
        said = None
        try:
            loaded = load_artefact(saved)
        except ArtefactError as error:
            said = str(error)
        if name == "manifest.json":  # white space and the case of a name may change without any harm
            assert said is not None or loaded.files() == original
        else:
            assert said is not None
            assert name in said
    path.write_bytes(data)
    assert load_artefact(saved).files() == original


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DOCUMENT_FILE, "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(saved, name, share):
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtefactError, match=name):
        load_artefact(saved)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DOCUMENT_FILE, "manifest.json"])
def test_a_file_that_is_missing_or_a_link_is_refused_by_name(saved, name):
    elsewhere = saved.parent / "elsewhere"
    shutil.move(saved / name, elsewhere)
    with pytest.raises(ArtefactError, match=f"{name} is missing"):
        load_artefact(saved)
    (saved / name).symlink_to(elsewhere)
    with pytest.raises(ArtefactError, match=f"{name} cannot be read"):
        load_artefact(saved)


def test_an_oversized_manifest_is_refused_unread(saved):
    (saved / "manifest.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged: it has 2097152 bytes"):
        load_artefact(saved)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DOCUMENT_FILE])
def test_a_directory_without_one_of_the_files_is_no_artefact(tmp_path, name):
    files = make_artefact().files()
    del files[name]
    write_directory(tmp_path / "policy", files)
    with pytest.raises(ArtefactError, match=f"has no {name}; this is not a policy artefact"):
        load_artefact(tmp_path / "policy")


def rewritten(tmp_path, *, arrays=None, weights=None, document=None):
    """Write an artefact with a true manifest whose contents are wrong, and return what loading it says."""
    files = make_artefact().files()
    if arrays is not None:
        kept = safetensors.numpy.load(files[WEIGHTS_FILE])
        arrays(kept)
        files[WEIGHTS_FILE] = safetensors.numpy.save(kept)
    if weights is not None:
        files[WEIGHTS_FILE] = weights
    if document is not None:
        data = json.loads(files[DOCUMENT_FILE])
        document(data)
        files[DOCUMENT_FILE] = json.dumps(data).encode()
    target = tmp_path / f"policy-{hashlib.sha256(repr(files).encode()).hexdigest()[:8]}"
    write_directory(target, files)
    with pytest.raises(ArtefactError) as caught:
        load_artefact(target)
    assert str(target) in str(caught.value)
    return str(caught.value)


def putting(name, array):
    return lambda arrays: arrays.__setitem__(name, array)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (putting("extra", np.zeros(1, np.float32)), "weight 'extra' is not part of the spec"),
        (lambda arrays: arrays.pop("actor.0.bias"), "weight 'actor.0.bias' is missing"),
        (putting("actor.0.bias", np.zeros(4, np.float32)), "float32(4,), expected float32(3,)"),
        (putting("actor.0.bias", np.zeros((3, 1), np.float32)), "float32(3, 1), expected float32(3,)"),
        (putting("actor.0.bias", np.zeros(3)), "float64(3,), expected float32(3,)"),
        (putting("actor.0.bias", np.zeros(3, np.int32)), "int32(3,), expected float32(3,)"),
        (putting("actor.0.bias", np.full(3, np.nan, np.float32)), "weight 'actor.0.bias' is not finite"),
        (putting("critic.1.weight", np.full((3, 1), np.inf, np.float32)), "weight 'critic.1.weight' is not finite"),
        (
            lambda arrays: arrays.pop("normalizer.observation.mean"),
            "normalizer.observation.mean must be finite float64",
        ),
        (putting("normalizer.observation.mean", np.zeros(2, np.float32)), "must be finite float64 of shape (2,)"),
        (putting("normalizer.observation.mean", np.array([0, np.nan])), "must be finite float64 of shape (2,)"),
        (putting("normalizer.observation.variance", np.array([1.0, -1.0])), "negative count or variance"),
        (putting("normalizer.observation.count", np.array([-1.0])), "negative count or variance"),
    ],
)
def test_weights_that_do_not_fit_the_spec_are_refused_by_name(tmp_path, change, reason):
    message = rewritten(tmp_path, arrays=change)
    assert WEIGHTS_FILE in message
    assert reason in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 64,
        pickle.dumps({"weight": [1.0]}),
        b"PK\x03\x04" + b"\x00" * 60,
        b"\x40" + b"\x00" * 7 + b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,39999999996]}}',
        (8).to_bytes(8, "little") + b"{{{{{{{{",
    ],
    ids=["empty", "short", "ones", "pickle", "zip", "huge-shape", "no-json"],
)
def test_bytes_that_are_no_safetensors_are_refused_and_never_run(tmp_path, data):
    assert f"{WEIGHTS_FILE}: cannot be read" in rewritten(tmp_path, weights=data)


def changing(*path, value):
    def change(document):
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changing("schema_version", value=2), "schema_version: Input should be 1"),
        (changing("spec", "schema_version", value=9), "spec.schema_version: Input should be 1"),
        (changing("extra", value=1), "extra: Extra inputs are not permitted"),
        (changing("spec", "actor_hidden", value=[0]), "spec.actor_hidden.0: Input should be greater than"),
        (
            changing("spec", "actor_hidden", value=[4]),
            "weight 'actor.0.weight' is float32(2, 3), expected float32(2, 4)",
        ),
        (changing("spec", "activation", value="gelu"), "spec.activation: Input should be 'tanh' or 'relu'"),
        (changing("spec", "observations", value={}), "spec.observations"),
        (changing("spec", "observations", "observation", "type", value="Tree"), "not a space"),
        (changing("spec", "observations", "observation", "shape", value=[2**40]), "not a space"),
        (changing("spec", "action", value={"type": "Dict", "spaces": []}), "no policy acts on Dict()"),
        (changing("spec", "encoder", "name", value="flaten"), "there is no encoder 'flaten'; did you mean 'flatten'?"),
        (changing("spec", "encoder", "options", value={"size": 3}), "takes no options, but was given size"),
        (changing("spec", "encoder", "options", value={"size": float("nan")}), "spec.encoder.options"),
        (changing("provenance", "agent_steps", value=-1), "provenance.agent_steps"),
    ],
)
def test_a_document_that_is_wrong_is_refused_with_the_field(tmp_path, change, reason):
    assert reason in rewritten(tmp_path, document=change)


def test_encoder_options_that_json_cannot_hold_are_refused_at_once():
    with pytest.raises(ValueError, match="JSON compliant"):
        EncoderSpec(options={"scale": float("inf")})
