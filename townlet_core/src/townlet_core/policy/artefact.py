"""The policy artefact: what passes between strategies, and what is evaluated, promoted and run.

A directory of `policy.safetensors` (weights, normaliser moments), `policy.json` (the spec and where it came from) and a
manifest with sizes and SHA-256. Nothing in it is executable.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townlet_core.arrays import Array, is_finite
from townlet_core.checkpoint.atomic import write_directory
from townlet_core.checkpoint.manifest import MANIFEST_NAME, Manifest, files_digest, read_directory
from townlet_core.errors import ArtefactError, ConfigError, MissingInputError
from townlet_core.policy.encoder import EncoderResolver, built_in_encoder
from townlet_core.policy.inputs import Moments, empty_normalizer
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEIGHTS_FILE = "policy.safetensors"
DOCUMENT_FILE = "policy.json"
POLICY_DIR = "policy"
MAX_BYTES = 4 << 30
MAX_DOCUMENT_BYTES = 4 << 20


class Provenance(BaseModel):
    """Where an artefact came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str = Field(description="Name of the strategy that wrote it.")
    environment: str = Field(default="", description="Name of the environment that it was trained in.")
    agent_steps: int = Field(default=0, ge=0, description="Agent-steps that it was trained for.")
    config_digest: str = Field(default="", description="SHA-256 of the resolved configuration.")
    dataset_digest: str = Field(
        default="", description="SHA-256 that stands for the recorded dataset that it learned from; empty for none."
    )


class PolicyDocument(BaseModel):
    """The contents of `policy.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    spec: PolicySpec
    critic_trained: bool = Field(description="Whether the critic's values mean anything.")
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyArtefact:
    """A policy at rest.

    Attributes:
        document: the spec and where it came from.
        weights: name -> float32 array, exactly the names and shapes of the spec's layout.
        normalizer: name -> moments of the observations that are normalised; empty when none are.
    """

    document: PolicyDocument
    weights: Mapping[str, Array]
    normalizer: Mapping[str, Moments] = field(default_factory=dict)

    @property
    def spec(self) -> PolicySpec:
        """The network."""
        return self.document.spec

    def files(self) -> dict[str, bytes]:
        """Return the artefact's files, name -> bytes; equal artefacts give equal bytes."""
        document = self.document.model_dump(mode="json")
        text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"
        return {WEIGHTS_FILE: safetensors.numpy.save(self._arrays()), DOCUMENT_FILE: text.encode()}

    def _arrays(self) -> dict[str, Array]:
        arrays = {name: np.asarray(array, dtype=np.float32, order="C") for name, array in self.weights.items()}
        for name, moments in self.normalizer.items():
            arrays[f"normalizer.{name}.count"] = np.array([moments.count])
            arrays[f"normalizer.{name}.mean"] = np.asarray(moments.mean, order="C")
            arrays[f"normalizer.{name}.variance"] = np.asarray(moments.variance, order="C")
        return arrays

    @property
    def digest(self) -> str:
        """SHA-256 over the files, as hexadecimal digits."""
        return files_digest(self.files())

    def save(self, path: Path) -> str:
        """Write the artefact to the directory `path`, replacing it whole, and return its digest.

        Raises:
            ArtefactError: a weight or a moment is not finite, which is never written; or `path` is something else than
                an artefact or an empty directory, which is never replaced.
            StorageError: the operating system refused.
        """
        if not _may_be_replaced(path):
            raise ArtefactError(f"{path} is not a policy artefact and would be deleted; nothing was written: move it")
        for name, array in self._arrays().items():
            if not is_finite(array):
                raise ArtefactError(f"{path}: '{name}' is not finite; nothing was written")
        files = self.files()
        if len(files[DOCUMENT_FILE]) > MAX_DOCUMENT_BYTES:
            raise ArtefactError(f"{path / DOCUMENT_FILE}: {_too_large(files[DOCUMENT_FILE])}; nothing was written")
        write_directory(path, files, replace=True)
        return files_digest(files)

    def policy(self, *, worlds_per_shard: int = 1, encoders: EncoderResolver = built_in_encoder) -> NumpyPolicy:
        """Return the policy ready to act, without torch."""
        encoder = encoders(self.spec.encoder.name)
        shape = layout(self.spec, encoder)  # laid out as the learner does it, so that products have the same bytes
        weights = shape.views(shape.flatten(self.weights))
        return NumpyPolicy(self.spec, encoder, weights, self.normalizer, worlds_per_shard=worlds_per_shard)


def _too_large(document: bytes) -> str:
    return f"has {len(document):,} bytes, more than the {MAX_DOCUMENT_BYTES:,} allowed"


def _may_be_replaced(path: Path) -> bool:
    """Return whether nothing is lost when `path` is: nothing is there, an empty directory, or an artefact."""
    if not os.path.lexists(path):
        return True
    try:
        if next(path.iterdir(), None) is None:
            return True
        manifest = Manifest.model_validate_json((path / MANIFEST_NAME).read_bytes())
    except (OSError, ValidationError):
        return False
    return DOCUMENT_FILE in {entry.name for entry in manifest.files}


def artefact_path(path: Path) -> Path:
    """Return the directory of the artefact that `path` means: itself, or `policy/` where `path` is a run.

    Raises:
        MissingInputError: it is a run that has no policy yet, or a dataset.
    """
    if (path / POLICY_DIR).is_dir():
        return path / POLICY_DIR
    if (path / "run.json").is_file():
        raise MissingInputError(
            f"{path} has no policy yet: a run writes it when it has finished{_stages_with_policies(path)}; to go on "
            f"with an interrupted one: townlet train --resume --run-dir {shlex.quote(str(path))}"
        )
    if (path / "dataset.json").is_file():
        raise MissingInputError(
            f"{path} is a dataset and no policy: 'townlet train --strategy bc --set strategies.bc.dataset={path}' "
            "makes a policy of it"
        )
    return path


def _stages_with_policies(run: Path) -> str:
    stages = sorted(policy.parent for policy in run.glob(f"stages/*/{POLICY_DIR}"))
    return f" (the newest policy of its stages is that of {stages[-1]})" if stages else ""


def load_artefact(path: Path, *, encoders: EncoderResolver = built_in_encoder) -> PolicyArtefact:
    """Read and verify an artefact.

    Raises:
        MissingInputError: there is no such directory.
        ArtefactError: a file is missing, damaged, too large, or does not fit the spec; the message names it.
    """
    files = read_directory(path, max_bytes=MAX_BYTES, error=ArtefactError)
    for name in (WEIGHTS_FILE, DOCUMENT_FILE):
        if name not in files:
            raise ArtefactError(f"{path}: has no {name}; this is not a policy artefact")
    if len(files[DOCUMENT_FILE]) > MAX_DOCUMENT_BYTES:
        raise ArtefactError(f"{path / DOCUMENT_FILE}: {_too_large(files[DOCUMENT_FILE])}")
    try:
        document = PolicyDocument.model_validate_json(files[DOCUMENT_FILE])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtefactError(f"{path / DOCUMENT_FILE}: {where}: {first['msg']}") from error
    try:
        arrays = safetensors.numpy.load(files[WEIGHTS_FILE])
    except Exception as error:
        raise ArtefactError(f"{path / WEIGHTS_FILE}: cannot be read: {error}") from error
    return checked_artefact(path / WEIGHTS_FILE, document, arrays, encoders=encoders)


def checked_artefact(
    path: Path, document: PolicyDocument, arrays: dict[str, Array], *, encoders: EncoderResolver
) -> PolicyArtefact:
    """Return the artefact of a document and the arrays of the file `path`: weights, and moments of a normaliser.

    Raises:
        ArtefactError: they do not fit each other, or a number is not finite.
    """
    try:
        normalizer = _take_normalizer(path, document.spec, arrays)
        shapes = layout(document.spec, encoders(document.spec.encoder.name)).shapes
    except ConfigError as error:
        raise ArtefactError(f"{path.parent / DOCUMENT_FILE}: {error}") from error
    _check_weights(path, shapes, arrays)
    return PolicyArtefact(document=document, weights=arrays, normalizer=normalizer)


def _take_normalizer(path: Path, spec: PolicySpec, arrays: dict[str, Array]) -> dict[str, Moments]:
    if not spec.normalize_observations:
        return {}
    normalizer = {}
    for name, empty in empty_normalizer(spec.observation_spaces).items():
        parts = []
        for part, shape in (("count", (1,)), ("mean", empty.mean.shape), ("variance", empty.variance.shape)):
            array = arrays.pop(f"normalizer.{name}.{part}", None)
            if array is None or array.shape != shape or array.dtype != np.float64 or not is_finite(array):
                raise ArtefactError(f"{path}: normalizer.{name}.{part} must be finite float64 of shape {shape}")
            parts.append(array)
        if parts[0][0] < 0 or (parts[2] < 0).any():
            raise ArtefactError(f"{path}: normalizer.{name} has a negative count or variance")
        normalizer[name] = Moments(float(parts[0][0]), parts[1], parts[2])
    return normalizer


def _check_weights(path: Path, shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Array]) -> None:
    for name in sorted(shapes.keys() ^ arrays.keys()):
        problem = "is missing" if name in shapes else "is not part of the spec"
        raise ArtefactError(f"{path}: weight '{name}' {problem}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ArtefactError(f"{path}: weight '{name}' is {array.dtype}{array.shape}, expected float32{shape}")
        if not is_finite(array):
            raise ArtefactError(f"{path}: weight '{name}' is not finite")
