"""The policy of a run that has not finished: that of its newest checkpoint, which needs nobody who can train it."""

from __future__ import annotations

import json
import shlex
import warnings
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from townlet_core.errors import ArtefactError, TownletWarning
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
from townlet_core.runs.layout import RECORD_NAME, RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.checkpoint.store import LoadedCheckpoint

LEARNER_FILES = (SPEC_FILE, ARRAYS_FILE, COUNTERS_FILE)


def policy_path(path: Path) -> Path:
    """Return what `artefact_path` does; for a run that has not finished, where its policy is going to be.

    Raises:
        MissingInputError: it is a run that has neither a policy nor a checkpoint of one, or a dataset.
    """
    return path / POLICY_DIR if _checkpoint(path / POLICY_DIR) is not None else artefact_path(path)


def load_policy(path: Path, *, encoders: EncoderResolver = built_in_encoder) -> PolicyArtefact:
    """Return the policy at `path`, which `policy_path` returned; that of a checkpoint with a warning.

    Raises:
        MissingInputError: there is none.
        ArtefactError: it is damaged.
    """
    loaded = _checkpoint(path)
    if loaded is None:
        return load_artefact(path, encoders=encoders)
    try:
        artefact = _policy(loaded, RunDirectory(path.parent), encoders)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ArtefactError(f"{loaded.path} holds no policy that can be read: {error}") from error
    steps = artefact.document.provenance.agent_steps
    go_on = f"townlet train --resume --run-dir {shlex.quote(str(path.parent))}"
    text = f"{path.parent} has not finished: its policy is that of the checkpoint after {steps:,} agent-steps"
    warnings.warn(f"{text}; to go on with an interrupted run: {go_on}", TownletWarning, stacklevel=2)
    return artefact


def _checkpoint(path: Path) -> LoadedCheckpoint | None:
    """Return the newest checkpoint of a learner, of an unfinished run that has nothing at `path` yet."""
    if path.name != POLICY_DIR or path.exists() or not (path.parent / RECORD_NAME).is_file():
        return None
    run = RunDirectory(path.parent)
    if run.record().status == "finished":
        return None
    loaded = run.checkpoints().load_newest()
    return loaded if loaded is not None and loaded.files.keys() >= {*LEARNER_FILES} else None


def _policy(loaded: LoadedCheckpoint, run: RunDirectory, encoders: EncoderResolver) -> PolicyArtefact:
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
            strategy=record.strategy,
            environment=record.environment,
            agent_steps=counters.get("agent_steps", counters.get("samples", 0)),  # what a cloned row is called
            config_digest=record.config_digest,
        ),
    )
    return checked_artefact(loaded.path / ARRAYS_FILE, document, weights | moments, encoders=encoders)
