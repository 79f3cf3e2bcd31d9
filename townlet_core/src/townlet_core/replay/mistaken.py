"""What is often given where a dataset is expected, and what to do with it instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.replay.schema import DATASET_NAME, EPISODES_NAME

if TYPE_CHECKING:
    from pathlib import Path

MINARI_FILES = ("main_data.hdf5", "data/main_data.hdf5")
# A recorded dataset knows no runs and no policies, but for their names.
_RUN, _POLICY, _CAPTURE = "run.json", "policy.json", "capture"


def mistaken(path: Path) -> str:
    """Return what lies at `path` if it is something else of Townlet's or Minari's, and what helps; else ''."""
    if path.name == DATASET_NAME and path.is_file():
        return f"{path} is the manifest of a dataset: name its directory, {path.parent}"
    if (path / EPISODES_NAME).is_file() and (path.parent / DATASET_NAME).is_file():
        return f"{path} is a shard of a dataset: name the dataset, {path.parent}"
    for name, what in ((_RUN, "a run"), (_POLICY, "a policy")):
        if (path / name).is_file():
            if (path / _CAPTURE / DATASET_NAME).is_file():
                return f"{path} is {what} and no dataset: what it recorded is {path / _CAPTURE}"
            return (
                f"{path} is {what} and no dataset: 'townlet capture --policy {path}' records what it does, "
                f"'townlet replay lineage {path}' names the dataset that it was made from"
            )
    if any((path / name).is_file() for name in MINARI_FILES):
        return f"{path} is a Minari dataset: make a dataset of it first, 'townlet replay import {path} OUT'"
    return ""
