"""What the columns of a dataset have to be: in the shapes of its spaces, and those of events as everywhere.

Legend: V events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from townlet_core.replay.schema import ColumnSpec, DatasetManifest

EVENT_COLUMNS = {
    "event.group": "<i8",
    "event.step": "<i4",
    "event.kind": "<u2",
    "event.actor": "<i4",
    "event.target": "<i4",
    "event.value": "<f4",
}
"""What is kept of an event: the world-episode and its step (from 0), the place of its kind in `event_kinds`, who did it
and to whom (-1: nobody, or the environment only counts), and its value (a count where it only counts)."""

_LEAVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def _check_leaf(column: ColumnSpec, space: spaces.Space[Any]) -> None:
    name = column.name
    if not isinstance(space, _LEAVES):
        reason = f"the space of '{name}' is a {type(space).__name__}, which has no single column"
        raise ValueError(reason)  # noqa: TRY004  (what is wrong is a file, as with the other checks)
    if column.shape != tuple(space.shape or ()):
        raise ValueError(f"column '{name}' has rows of shape {column.shape}, and its space {space.shape}")
    if name != "actions" and column.kind != np.dtype(space.dtype):
        raise ValueError(f"column '{name}' is {column.dtype}, and its space {space.dtype}")
    if name == "actions" and 0 in column.shape:  # rows without a byte could be as many as somebody likes
        raise ValueError(f"an action has the shape {column.shape}: there is nothing to do")


def _check_events(manifest: DatasetManifest) -> None:
    found = {
        column.name: (column.axis, column.dtype, column.shape)
        for column in manifest.columns
        if column.axis == "event" or column.name.startswith("event.")
    }
    expected = {name: ("event", dtype, ()) for name, dtype in EVENT_COLUMNS.items()}
    for name in sorted(expected.keys() | found.keys()) if found else ():
        if found.get(name) != expected.get(name):
            raise ValueError(f"'{name}' is not as it has to be: the columns of events are {', '.join(EVENT_COLUMNS)}")
    if not found and any(shard.num_events for shard in manifest.shards):
        raise ValueError("there are events, and no columns of them")


def check_columns(manifest: DatasetManifest) -> None:
    """Check that what every dataset has is there, and in the shapes of its spaces; raises `ValueError`."""
    for field in ("observation_spaces", "action_space"):
        try:
            getattr(manifest, field)
        except ConfigError as error:
            raise ValueError(f"{field.partition('_')[0]}: {error}") from error
    steps = manifest.along("step")
    for name, space in (*manifest.observation_spaces.items(), ("actions", manifest.action_space)):
        if name not in steps:
            raise ValueError(f"there is no column '{name}'")
        _check_leaf(steps[name], space)
    for name in ("rewards", "terminations", "truncations", "log_probs", "values"):
        if name in steps and steps[name].shape != ():
            raise ValueError(f"column '{name}' has rows of shape {steps[name].shape}, expected one number")
    for name, names in manifest.feature_names.items():
        size = manifest.observation_spaces[name].shape if name in manifest.observation_spaces else None
        if size != (len(names),):
            raise ValueError(f"there are {len(names)} feature_names for '{name}', whose shape is {size}")
    count = getattr(manifest.action_space, "n", None)
    if manifest.action_names and len(manifest.action_names) != count:
        raise ValueError(f"there are {len(manifest.action_names)} action_names for {manifest.action_space}")
    _check_events(manifest)
