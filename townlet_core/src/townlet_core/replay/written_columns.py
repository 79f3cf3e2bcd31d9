"""The columns that a dataset of such trajectories has, and how they differ from those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.checkpoint.manifest import is_plain_name
from townlet_core.errors import DatasetError
from townlet_core.replay.columns import EVENT_COLUMNS
from townlet_core.replay.schema import DTYPES, FINAL_PREFIX, ColumnSpec

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.replay.trajectory import Trajectory


def columns_of(trajectory: Trajectory, *, has_events: bool) -> tuple[ColumnSpec, ...]:
    """Return the columns that a dataset of such trajectories has; raises `DatasetError` where it cannot have them."""
    rows: list[tuple[str, Any, Any, tuple[int, ...]]] = []
    for name, array in sorted(trajectory.steps.items()):
        if len(array) != trajectory.num_steps:
            raise DatasetError(f"column '{name}' has {len(array)} rows, and 'actions' has {trajectory.num_steps}")
        rows.append((name, "step", _dtype(name, array), array.shape[1:]))
    for name, array in sorted(trajectory.final.items()):
        if not name.startswith(FINAL_PREFIX) and name != "bootstrap_values":
            raise DatasetError(f"'{name}' is not a column of an episode")
        rows.append((name, "episode", _dtype(name, np.asarray(array)), np.shape(array)))
    if has_events:
        rows += [(name, "event", dtype, ()) for name, dtype in EVENT_COLUMNS.items()]
    files: dict[str, None] = {}
    for index, (name, *_) in enumerate(rows):
        plain = f"{name}.npy"
        is_free = is_plain_name(plain) and plain.lower() not in {file.lower() for file in files}
        files[plain if is_free else f"column-{index}.npy"] = None
    return tuple(
        ColumnSpec(name=name, axis=axis, dtype=dtype, shape=shape, file=file)
        for (name, axis, dtype, shape), file in zip(rows, files, strict=True)
    )


def _dtype(name: str, array: Array) -> str:
    text = array.dtype.newbyteorder("<").str
    if text not in DTYPES:
        raise DatasetError(
            f"column '{name}' is {array.dtype}, and datasets hold booleans, integers, float32 and float64"
        )
    return text


def difference(before: tuple[ColumnSpec, ...], now: tuple[ColumnSpec, ...]) -> str:
    """Return the first difference between the columns of an episode and those before it, in words."""
    had = {column.name: column for column in before}
    has = {column.name: column for column in now}
    for name in sorted(had.keys() ^ has.keys()):
        return f"an episode {'lacks' if name in had else 'has'} the column '{name}', unlike those before it"
    for name, column in has.items():
        other = had[name]
        if column != other:
            return f"column '{name}' is {column.dtype}{column.shape} here, and {other.dtype}{other.shape} before"
    raise AssertionError  # equal names, equal columns: equal tuples
