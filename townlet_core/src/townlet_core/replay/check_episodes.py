"""Checks of episodes as wholes: how they end, what they sum to, and whether their rows are the ones that were recorded.

Legend: R rows, E episodes of a shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.replay.schema import OBSERVATION_PREFIX
from townlet_core.replay.trajectory import content_digest

if TYPE_CHECKING:
    from townlet_core.replay.finding_log import FindingLog
    from townlet_core.replay.shard_view import ShardView

_RETURN_TOLERANCE = 1e-6  # of the sum of absolute rewards: sums in another order differ by less


def check_episodes(view: ShardView, log: FindingLog) -> None:
    """Check the episodes of a shard one by one."""
    _check_ends(view, log)
    _check_returns(view, log)
    _check_contents(view, log)


def _check_ends(view: ShardView, log: FindingLog) -> None:
    endings = np.array([entry.ending for entry in view.entries])
    for name in ("terminations", "truncations"):
        if view.has(name):
            ends = np.flatnonzero(view.column(name))
            log.rows("D301", view, name, ends[~np.isin(ends, view.lasts, assume_unique=True)])
    if view.has("terminations"):
        terminated = view.column("terminations")[view.lasts]
        wrong = np.flatnonzero(terminated != (endings == "terminated"))
        log.episodes("D302", view, "terminations", wrong, lambda index: f"ending is '{endings[index]}'")
    if view.has("truncations"):
        truncated = view.column("truncations")[view.lasts]
        # Both may be true of one step; what counts then is that the process ended.
        wrong = np.flatnonzero((truncated != (endings == "truncated")) & (endings != "terminated"))
        log.episodes("D302", view, "truncations", wrong, lambda index: f"ending is '{endings[index]}'")
    if view.has("bootstrap_values"):
        values = view.column("bootstrap_values")
        wrong = np.flatnonzero((endings == "terminated") & (values != 0))
        log.episodes("D305", view, "bootstrap_values", wrong, lambda index: f"it is {values[index]:g}")


def _check_returns(view: ShardView, log: FindingLog) -> None:
    if not view.has("rewards"):
        return
    rewards = view.column("rewards").astype(np.float64)
    recorded = np.array([entry.episode_return for entry in view.entries])
    with np.errstate(invalid="ignore", over="ignore"):
        sums, sizes = (np.add.reduceat(numbers, view.starts) for numbers in (rewards, np.abs(rewards)))
        wrong = np.abs(sums - recorded) > _RETURN_TOLERANCE * np.maximum(1.0, sizes)
    log.episodes(
        "D303",
        view,
        None,
        np.flatnonzero(wrong),
        lambda index: f"episode_return is {recorded[index]:g}, the sum {sums[index]:g}",
    )


def _check_contents(view: ShardView, log: FindingLog) -> None:
    names = [
        name
        for name in view.manifest.along("step")
        if name in ("actions", "rewards") or name.partition(".")[0] == OBSERVATION_PREFIX
    ]
    if not view.has(*names):
        return
    columns = {name: view.column(name) for name in names}
    for index, entry in enumerate(view.entries):
        rows = slice(int(view.starts[index]), int(view.lasts[index]) + 1)
        if entry.content and content_digest({name: column[rows] for name, column in columns.items()}) != entry.content:
            log.add("D304", **view.place_of_episode(None, index))
