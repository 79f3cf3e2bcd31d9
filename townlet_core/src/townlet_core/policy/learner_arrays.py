"""The files of a learner's checkpoint: arrays, counters and network; read back only as those of this run."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import safetensors.numpy

from townlet_core.arrays import is_finite
from townlet_core.errors import DivergenceError
from townlet_core.policy.beginning import SPEC_FILE
from townlet_core.policy.inputs import Moments

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from _typeshed import DataclassInstance

    from townlet_core.arrays import Array
    from townlet_core.policy.spec import PolicySpec

    StateT = TypeVar("StateT", bound=DataclassInstance)

ARRAYS_FILE = "state.safetensors"
COUNTERS_FILE = "state.json"


def learner_files(
    arrays: Mapping[str, Array], state: DataclassInstance, spec: PolicySpec, *, when: str
) -> dict[str, bytes]:
    """Return the files of a checkpoint, name -> contents.

    Args:
        arrays: everything that is learned.
        state: a dataclass of counters.
        spec: the network.
        when: such as ``update 7``, for the message.

    Raises:
        DivergenceError: a number is not finite; such a state is never kept.
    """
    for name, array in arrays.items():
        if not is_finite(array):
            raise DivergenceError(f"'{name}' is not finite after {when}; nothing was written")
    counters = json.dumps(asdict(state), indent=1, sort_keys=True) + "\n"
    return {
        ARRAYS_FILE: safetensors.numpy.save(dict(arrays)),
        COUNTERS_FILE: counters.encode(),
        SPEC_FILE: spec.model_dump_json(indent=1).encode() + b"\n",
    }


def read_learner_files(
    files: Mapping[str, bytes], expected: Mapping[str, Array], state: type[StateT]
) -> tuple[dict[str, Array], StateT]:
    """Return the arrays and the counters that `learner_files` wrote.

    Args:
        files: of a checkpoint.
        expected: arrays of the names, types and shapes that this run has.
        state: type of the counters.

    Raises:
        ValueError: they are not those of such a run.
        KeyError: a file is missing.
        SafetensorError: the arrays cannot be read.
    """
    arrays = safetensors.numpy.load(files[ARRAYS_FILE])
    counters = json.loads(files[COUNTERS_FILE])
    if set(counters) != {field.name for field in fields(state)} or not all(
        type(value) is int and value >= 0 for value in counters.values()
    ):
        raise ValueError(f"{COUNTERS_FILE} does not hold the counters of such a run")
    require_alike(arrays, expected)
    return arrays, state(**counters)


def require_alike(arrays: Mapping[str, Array], expected: Mapping[str, Array], *, growing: Collection[str] = ()) -> None:
    """Raise `ValueError` where the names, types or shapes of two sets of arrays differ.

    Args:
        arrays: what is given.
        expected: what it is to be like.
        growing: names of arrays whose first axis may have any length.
    """
    for name in sorted(arrays.keys() ^ expected.keys()):
        raise ValueError(f"'{name}' is {'missing' if name in expected else 'not part of this run'}")
    for name, array in arrays.items():
        wanted = expected[name]
        free = int(name in growing and array.ndim > 0)
        if array.shape[free:] != wanted.shape[free:] or array.dtype != wanted.dtype:
            raise ValueError(f"'{name}' is {array.dtype}{array.shape}, expected {wanted.dtype}{wanted.shape}")


def moment_arrays(prefix: str, moments: Moments) -> dict[str, Array]:
    """Return `moments` as arrays whose names begin with `prefix`."""
    return {
        f"{prefix}.count": np.array([moments.count]),
        f"{prefix}.mean": np.asarray(moments.mean, order="C"),
        f"{prefix}.variance": np.asarray(moments.variance, order="C"),
    }


def moments_of(arrays: Mapping[str, Array], prefix: str) -> Moments:
    """Return the moments that `moment_arrays` wrote; raises `KeyError` where they are missing."""
    return Moments(float(arrays[f"{prefix}.count"][0]), arrays[f"{prefix}.mean"], arrays[f"{prefix}.variance"])
