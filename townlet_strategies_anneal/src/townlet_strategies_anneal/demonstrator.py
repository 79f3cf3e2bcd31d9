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

    from townlet_core.arrays import Array

RECORDED = "recorded"
"""Name of a demonstrator that is known by its recordings alone."""

_SPAN = 1 << 40
"""More steps than a world has."""


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

    Of a world of which a curator has left some lives only, the steps of these count, and what happened in them. An
    event `x` counts for the metric `x_events`, and its values for the metric `x`, which is the name itself where an
    environment counts its events. Faints and the intensity of conflicts have names of their own in the town.
    """
    worlds, begins, ends = _recorded_steps(dataset)
    sums: dict[str, float] = {}
    for events in dataset.events():
        of = np.minimum(np.searchsorted(worlds, events["event.group"]), len(worlds) - 1)
        places = of * _SPAN + events["event.step"]
        stretch = np.searchsorted(begins, places, side="right") - 1
        counted = (worlds[of] == events["event.group"]) & (stretch >= 0) & (places < ends[stretch])
        for number, kind in enumerate(dataset.manifest.event_kinds):
            values = events["event.value"][counted & (events["event.kind"] == number)].astype(np.float64)
            measured = {f"{kind}_events": float(len(values)), kind: float(values.sum())}
            if kind == "queue_conflict":
                measured["queue_conflict_intensity_sum"] = measured.pop(kind)
            if kind == "agent_exit":
                measured["faint_events"] = float(np.count_nonzero(values == FAINT))
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + value
    return {name: value / float((ends - begins).sum()) for name, value in sorted(sums.items())}


def _recorded_steps(dataset: Dataset) -> tuple[Array, Array, Array]:
    """Return the worlds in which an accepted life was, (W,), and the stretches of steps in which one was.

    Step t of world w is at the place w * _SPAN + t; stretches are (S,) first places and (S,) places behind the last.
    """
    table = dataset.episodes
    first_steps = np.array([entry.start_step for shard in dataset.shards for entry in shard.entries()])
    worlds, of = np.unique(table.group[table.accepted], return_inverse=True)
    begins = of * _SPAN + first_steps[table.accepted]
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], (begins + table.num_steps[table.accepted])[order]
    reached = np.maximum.accumulate(ends)
    is_first = np.concatenate([[True], begins[1:] > reached[:-1]])
    return worlds, begins[is_first], reached[np.concatenate([is_first[1:], [True]])]
