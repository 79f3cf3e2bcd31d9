"""One sample of the earlier format: an archive of arrays and the JSON file beside it, as records that keep every byte.

What a file holds stays as it is there, in shape, dtype and unknown keys, so that it can be written back; `steps` gives
the same with one axis of steps in front.

Legend: T steps, F features, C, H, W map channels and window.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.checkpoint.manifest import read_file
from townlet_core.errors import DatasetError
from townlet_core.replay.files import MAX_JSON_BYTES, parse_json
from townlet_core.replay.npz import MAX_ARCHIVE_BYTES, npz_bytes, npz_shapes, read_npz

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic import JsonValue

    from townlet_core.arrays import Array

OBSERVATIONS = ("map", "features")
REQUIRED: dict[str, np.dtype[Any]] = {
    "map": np.dtype(np.float32),
    "features": np.dtype(np.float32),
    "actions": np.dtype(np.int64),
    "old_log_probs": np.dtype(np.float32),
    "value_preds": np.dtype(np.float32),
    "rewards": np.dtype(np.float32),
    "dones": np.dtype(np.bool_),
}
"""The seven arrays that training needs, and their dtypes."""
RIVALRY = ("rivalry_max", "rivalry_avoid_count")
"""Features that every sample has to have."""

ROW_AXES = {"map": 3, "features": 1}
"""Axes of one step of an array that has any; written without T where T is 1."""
_KINDS = {"f": "floating-point numbers", "i": "whole numbers", "b": "truth values"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """Where a sample lies.

    Attributes:
        name: what the manifest calls it.
        path: of the archive.
        meta_path: of the JSON file.
        sha256: what a catalogue promises; empty if nothing does.
    """

    name: str
    path: Path
    meta_path: Path
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class LegacySample:
    """A sample in memory.

    Attributes:
        name: what the manifest calls it.
        arrays: as they are in the file; of some of them only the dtype and shape may have been read, see `shapes`.
        metadata: the JSON file; unknown keys are kept.
        shapes: of every array in the file.
        sha256: over the bytes of the archive followed by those of the JSON file; empty if it is from no file.
        path: where it lies, for errors.
    """

    name: str
    arrays: Mapping[str, Array]
    metadata: Mapping[str, JsonValue]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sha256: str = ""
    path: Path = Path()

    def __post_init__(self) -> None:
        if not self.shapes:
            object.__setattr__(self, "shapes", {name: array.shape for name, array in self.arrays.items()})

    @property
    def is_trainable(self) -> bool:
        """Whether it has more than observations."""
        return any(name in self.shapes for name in REQUIRED if name not in OBSERVATIONS)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features in the order of the file's columns."""
        names = self.metadata["feature_names"]
        assert isinstance(names, list)  # checked when it was read
        return tuple(map(str, names))

    @property
    def map_shape(self) -> tuple[int, ...]:
        """(C, H, W); () where there is no map, or one without cells."""
        shape = self.shapes.get("map", (0, 0, 0))[-3:]
        return shape if 0 not in shape else ()

    @property
    def num_steps(self) -> int:
        """T."""
        return self.shapes["actions"][0] if self.is_trainable else 1 if len(self._features) == 1 else self._features[0]

    @property
    def _features(self) -> tuple[int, ...]:
        return self.shapes["features"]

    @cached_property
    def steps(self) -> dict[str, Array]:
        """The arrays with T in front, in the dtypes of `REQUIRED`; `value_preds` has T or T + 1."""
        rows = {}
        for name, array in self.arrays.items():
            if name in REQUIRED:
                full = array[None] if array.ndim == ROW_AXES.get(name, -1) else array
                rows[name] = np.asarray(full, REQUIRED[name])
        return rows


def load_sample(files: SampleFiles, *, names: Collection[str] | None = None) -> LegacySample:
    """Read and check a sample.

    Args:
        files: where it lies.
        names: the arrays that are wanted; None for all.

    Raises:
        DatasetError: a file is missing, damaged, not of the format, or not the one that the catalogue promises.
    """
    data = read_file(files.path, MAX_ARCHIVE_BYTES, DatasetError)
    meta = read_file(files.meta_path, MAX_JSON_BYTES, DatasetError)
    digest = hashlib.sha256(data)
    digest.update(meta)
    if files.sha256 not in ("", digest.hexdigest()):
        raise DatasetError(f"{files.path} and its JSON file do not match the SHA-256 that the catalogue gives")
    metadata = parse_json(meta, files.meta_path)
    specs = npz_shapes(data, files.path)
    _check_arrays(specs, files.path)
    _check_metadata(metadata, specs, files.meta_path)
    return LegacySample(
        name=files.name,
        arrays=read_npz(data, files.path, names=names),
        metadata=metadata,
        shapes={name: shape for name, (_, shape) in specs.items()},
        sha256=digest.hexdigest(),
        path=files.path,
    )


def check_sample(sample: LegacySample, path: Path) -> None:
    """Check a sample that is to be written at `path` as one that is read is; raises `DatasetError`."""
    _check_arrays({name: (array.dtype, array.shape) for name, array in sample.arrays.items()}, path)
    _check_metadata(dict(sample.metadata), {name: (None, shape) for name, shape in sample.shapes.items()}, path)


def sample_bytes(sample: LegacySample) -> tuple[bytes, bytes]:
    """Return the contents of the archive and of the JSON file; equal samples give equal bytes."""
    return npz_bytes(sample.arrays), json_bytes(dict(sample.metadata))


def json_bytes(value: Any) -> bytes:
    """Return JSON text as files of the format have it; equal values give equal bytes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def files_digest(archive: bytes, meta: bytes) -> str:
    """Return the SHA-256 by which catalogues know a sample."""
    return hashlib.sha256(archive + meta).hexdigest()


def _check_arrays(specs: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in specs]
    if "features" in missing or (missing and any(name in specs for name in REQUIRED if name not in OBSERVATIONS)):
        raise DatasetError(
            f"{path} has no array {', '.join(map(repr, missing))}: training needs {', '.join(REQUIRED)}; a file of "
            "'map' and 'features' alone can only be inspected"
        )
    for name, kind in REQUIRED.items():
        if name in specs and specs[name][0].kind not in (kind.kind, *("u" * (kind.kind == "i"))):
            raise DatasetError(
                f"{path}: '{name}' is {specs[name][0]}; {_KINDS[kind.kind]} are expected: write it as {kind}"
            )
    for name, axes in ROW_AXES.items():
        if name in specs and len(specs[name][1]) not in (axes, axes + 1):
            raise DatasetError(
                f"{path}: '{name}' has the shape {specs[name][1]}; expected (T,{'C,H,W' if axes == 3 else 'F'}), or "
                "the same without T for one step"
            )
    _check_lengths({name: shape for name, (_, shape) in specs.items()}, path)


def _check_lengths(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    lengths = {}
    for name in REQUIRED:
        if name in shapes:
            shape, axes = shapes[name], ROW_AXES.get(name)
            if axes is None and len(shape) != 1:
                raise DatasetError(f"{path}: '{name}' has the shape {shape}; expected one number for each step, (T,)")
            lengths[name] = 1 if axes == len(shape) else shape[0]
    steps = lengths.get("actions", lengths["features"])
    if steps == 0:
        raise DatasetError(f"{path} has no steps")
    for name, length in lengths.items():
        if length != steps and not (name == "value_preds" and length == steps + 1):
            also = " (or one more, the bootstrap)" if name == "value_preds" else ""
            raise DatasetError(
                f"{path}: '{name}' has {length} steps, and '{'actions' if 'actions' in lengths else 'features'}' has "
                f"{steps}{also}; cut them to the same length"
            )


def _check_metadata(metadata: Any, specs: Mapping[str, tuple[Any, tuple[int, ...]]], path: Path) -> None:
    if not isinstance(metadata, dict):
        raise DatasetError(f"{path} holds a {type(metadata).__name__}; the metadata of a sample is an object")
    names = metadata.get("feature_names")
    if not isinstance(names, list) or not all(isinstance(name, str) and 0 < len(name) <= 256 for name in names):
        raise DatasetError(f"{path}: 'feature_names' must be a list of names, one for each column of 'features'")
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise DatasetError(f"{path}: 'feature_names' has {min(twice)!r} twice; columns are matched by name")
    columns = specs["features"][1][-1]
    if len(names) != columns:
        raise DatasetError(f"{path}: 'feature_names' has {len(names)} names, and 'features' has {columns} columns")
    missing = [name for name in RIVALRY if name not in names]
    if missing and "actions" in specs:
        raise DatasetError(
            f"{path}: 'feature_names' lacks {' and '.join(map(repr, missing))}, which every sample has: name the "
            "columns, or record the sample again"
        )
