"""Who was cloned: a script that runs the suite itself, or whoever the recordings show, counted from their events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.services.run_dataset import DATA_DIR
from townlet_core.simulation.events import FAINT

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

RECORDED = "recorded"
"""Name of a demonstrator that is known by its recordings alone."""


def demonstrator_of(path: Path | None, stage_dir: Path, scripts: Collection[str]) -> tuple[str, dict[str, float]]:
    """Return the name of a demonstrator and, where it is `RECORDED`, its events in a step of a world, by metric.

    Args:
        path: what was cloned; None for nothing that is known.
        stage_dir: directory of the stage that cloned it, in which the earlier format was imported.
        scripts: that run the suite.
    """
    found = next((one for one in (path, stage_dir / DATA_DIR) if one is not None and is_dataset(one)), None)
    if found is None:
        return "", {}
    dataset = Dataset(found)
    policies = {(source.policy, source.policy_digest) for source in dataset.manifest.sources}
    name, digest = next(iter(policies)) if len(policies) == 1 else ("", "")
    if name in scripts and not digest:
        return name, {}
    rates = recorded_rates(dataset)
    return (RECORDED, rates) if rates else ("", {})


def recorded_rates(dataset: Dataset) -> dict[str, float]:
    """Return how many events, and how large a sum of their values, a step of a recorded world has on average.

    An event `x` counts for the metric `x_events`, and its values for the metric `x`, which is the name itself where an
    environment counts its events. Faints and the intensity of conflicts have names of their own in the town.
    """
    table = dataset.episodes
    slots, place = np.unique(np.stack([table.group, table.agent]), axis=1, return_inverse=True)
    lived = np.bincount(place.ravel(), weights=table.num_steps * table.accepted)  # steps of each slot, all its lives
    worlds, world = np.unique(slots[0], return_inverse=True)
    steps = np.zeros(len(worlds))
    np.maximum.at(steps, world, lived)
    sums: dict[str, float] = {}
    for events in dataset.events():
        counted = np.isin(events["event.group"], worlds[steps > 0])
        for number, kind in enumerate(dataset.manifest.event_kinds):
            values = events["event.value"][counted & (events["event.kind"] == number)].astype(np.float64)
            measured = {f"{kind}_events": float(len(values)), kind: float(values.sum())}
            if kind == "queue_conflict":
                measured["queue_conflict_intensity_sum"] = measured.pop(kind)
            if kind == "agent_exit":
                measured["faint_events"] = float(np.count_nonzero(values == FAINT))
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + value
    return {name: value / float(steps.sum()) for name, value in sorted(sums.items())}
