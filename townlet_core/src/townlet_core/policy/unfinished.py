"""The policy of a run or stage that has not finished: that of its newest checkpoint; needs nobody who can train it."""

from __future__ import annotations

import json
import shlex
import warnings
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from townlet_core.errors import ArtefactError, MissingInputError, TownletWarning
from townlet_core.policy.artefact import (
    POLICY_DIR,
    PolicyArtefact,
    PolicyDocument,
    Provenance,
    artefact_path,
    checked_artefact,
    load_artefact,
)
from townlet_core.policy.beginning import SPEC_FILE
from townlet_core.policy.encoder import EncoderResolver, built_in_encoder
from townlet_core.policy.learner_arrays import ARRAYS_FILE, COUNTERS_FILE
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout
from townlet_core.runs.layout import RECORD_NAME, STAGES_NAME, RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.checkpoint.store import LoadedCheckpoint

LEARNER_FILES = (SPEC_FILE, ARRAYS_FILE, COUNTERS_FILE)


def policy_path(path: Path) -> Path:
    """Return what `artefact_path` does; for a run or stage that has not finished, where its policy is going to be.

    Raises:
        MissingInputError: it is a run or a stage that has neither a policy nor a checkpoint of one, or a dataset.
    """
    if _checkpoint(path / POLICY_DIR) is not None:
        return path / POLICY_DIR
    owner = _owner(path)
    is_stage = owner is not None and owner.path != path and not (path / POLICY_DIR).exists()
    if owner is not None and is_stage and owner.record().status != "finished":
        raise MissingInputError(f"{path} has no policy yet; to go on with an interrupted run: {resume_command(path)}")
    return artefact_path(path)


def load_policy(path: Path, *, encoders: EncoderResolver = built_in_encoder) -> PolicyArtefact:
    """Return the policy at `path`, which `policy_path` returned; that of a checkpoint with a warning.

    Raises:
        MissingInputError: there is none.
        ArtefactError: it is damaged.
    """
    loaded = _checkpoint(path)
    if loaded is None:
        return load_artefact(path, encoders=encoders)
    owner = _owner(path.parent)
    assert owner is not None  # whose checkpoint it is
    try:
        artefact = _policy(loaded, owner, _strategy(path.parent, owner), encoders)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ArtefactError(f"{loaded.path} holds no policy that can be read: {error}") from error
    steps = artefact.document.provenance.agent_steps
    text = f"{path.parent} has not finished: its policy is that of the checkpoint after {steps:,} agent-steps"
    warnings.warn(
        f"{text}; to go on with an interrupted run: {resume_command(path.parent)}", TownletWarning, stacklevel=2
    )
    return artefact


def resume_command(path: Path) -> str:
    """Return what goes on with the run at `path`, or with the one whose stage it is."""
    owner = _owner(path)
    return f"townlet train --resume --run-dir {shlex.quote(str(path if owner is None else owner.path))}"


def _checkpoint(path: Path) -> LoadedCheckpoint | None:
    """Return the newest checkpoint of a learner, of an unfinished run or stage that has nothing at `path` yet."""
    owner = _owner(path.parent) if path.name == POLICY_DIR and not path.exists() else None
    if owner is None or owner.record().status == "finished":
        return None
    loaded = RunDirectory(path.parent).checkpoints().load_newest()
    return loaded if loaded is not None and loaded.files.keys() >= {*LEARNER_FILES} else None


def _owner(path: Path) -> RunDirectory | None:
    """Return the run at `path`, or the one whose stage it is; None if it is neither."""
    places = (path, path.parent.parent) if path.parent.name == STAGES_NAME else (path,)
    found = next((place for place in places if (place / RECORD_NAME).is_file()), None)
    return None if found is None else RunDirectory(found)


def _strategy(path: Path, owner: RunDirectory) -> str:
    """Return whose policy it is: a stage is called `<number>-<strategy>`."""
    return owner.record().strategy if path == owner.path else path.name.partition("-")[2]


def _policy(loaded: LoadedCheckpoint, run: RunDirectory, strategy: str, encoders: EncoderResolver) -> PolicyArtefact:
    spec = PolicySpec.model_validate_json(loaded.files[SPEC_FILE])
    arrays = safetensors.numpy.load(loaded.files[ARRAYS_FILE])
    counters, record = json.loads(loaded.files[COUNTERS_FILE]), run.record()
    shape = layout(spec, encoders(spec.encoder.name))
    flat = arrays["parameters"]
    if flat.shape != (shape.size,):
        raise ValueError(f"'parameters' is {flat.dtype}{flat.shape}, expected float32({shape.size},)")
    weights = {name: np.array(view) for name, view in shape.views(flat).items()}
    moments = {name: array for name, array in arrays.items() if name.startswith("normalizer.")}
    document = PolicyDocument(
        spec=spec,
        critic_trained=counters.get("update", 0) > 0,
        provenance=Provenance(
            strategy=strategy,
            environment=record.environment,
            agent_steps=counters.get("agent_steps", counters.get("samples", 0)),  # what a cloned row is called
            config_digest=record.config_digest,
        ),
    )
    return checked_artefact(loaded.path / ARRAYS_FILE, document, weights | moments, encoders=encoders)
