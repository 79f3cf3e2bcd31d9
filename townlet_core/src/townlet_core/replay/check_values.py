"""Checks of single numbers: finite, inside their spaces, and possible as what they stand for.

Legend: R rows, E episodes, V events of a shard, K choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.arrays import is_finite
from townlet_core.replay.action_counts import component_sizes
from townlet_core.replay.moments import blocks
from townlet_core.replay.schema import FINAL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.arrays import Array
    from townlet_core.replay.finding_log import FindingLog
    from townlet_core.replay.shard_view import ShardView
    from townlet_core.spaces import Space

_ROUNDING = 1e-5  # a log-probability of a sure thing may be as far above 0 in float32


@dataclass(frozen=True, slots=True)
class Limits:
    """What the numbers of a space can be.

    Attributes:
        low: the smallest, one for all or in the shape of a row.
        high: the largest.
        is_category: whether anything else would mean nothing at all.
        is_open: whether every number is inside.
    """

    low: Array
    high: Array
    is_category: bool
    is_open: bool = False

    @classmethod
    def of(cls, space: Space) -> Limits:
        """Return the limits of a leaf or of an action space."""
        if isinstance(space, spaces.Box):
            low, high = (_one_if_equal(bound) for bound in (space.low, space.high))
            widest = np.iinfo(space.dtype) if space.dtype.kind in "iu" else None
            least, most = (-np.inf, np.inf) if widest is None else (widest.min, widest.max)
            return cls(low, high, is_category=False, is_open=bool((low <= least).all() and (high >= most).all()))
        if isinstance(space, spaces.MultiBinary):
            return cls(np.array(0), np.array(1), is_category=True)
        counts = space.nvec if isinstance(space, spaces.MultiDiscrete) else np.array(getattr(space, "n", 0))
        return cls(np.zeros_like(counts), counts - 1, is_category=True)


_BOOLEAN = Limits(np.array(0), np.array(1), is_category=True)


def _one_if_equal(bound: Array) -> Array:
    return bound.ravel()[0] if bound.size and (bound == bound.ravel()[0]).all() else bound


def wrong_rows(rows: Array, limits: Limits) -> tuple[Array, Array]:
    """Return the places of rows (n,) that have a number which is not finite, and of those with one outside.

    Args:
        rows: (R, ...).
        limits: of one row.
    """
    not_finite, outside, first = [], [], 0
    for block in blocks(rows):
        axes = tuple(range(1, block.ndim))
        if not is_finite(block):
            not_finite.append(first + np.flatnonzero(~np.isfinite(block).all(axis=axes)))
        if not limits.is_open:
            with np.errstate(invalid="ignore"):
                bad = (block < limits.low) | (block > limits.high)
            if bad.any():
                finite = np.isfinite(block).all(axis=axes)
                outside.append(first + np.flatnonzero(bad.any(axis=axes) & finite))
        first += len(block)
    return _joined(not_finite), _joined(outside)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def check_observations(view: ShardView, limits: dict[str, Limits], log: FindingLog) -> None:
    """Check observations, and those after the last step of an episode."""
    for name, limit in limits.items():
        codes = ("D101", "D102" if limit.is_category else "D103")
        if view.has(name):
            for code, rows in zip(codes, wrong_rows(view.column(name), limit), strict=True):
                log.rows(code, view, name, rows, _describe(view.column(name), limit))
            view.shard.forget(name)
        final = FINAL_PREFIX + name
        if view.has(final):
            for code, episodes in zip(codes, wrong_rows(view.column(final), limit), strict=True):
                log.episodes(code, view, final, episodes, _describe(view.column(final), limit))


def check_actions(view: ShardView, limits: Limits, log: FindingLog) -> None:
    """Check actions against their space, and against the masks of their rows."""
    if not view.has("actions"):
        return
    actions = view.column("actions")
    not_finite, outside = wrong_rows(actions, limits)
    log.rows("D104", view, "actions", not_finite, _describe(actions, limits))
    if limits.is_category:
        log.rows("D105", view, "actions", outside, _describe(actions, limits))
    else:
        log.rows("D106", view, "actions", view.foreign(outside), _describe(actions, limits))
    sizes = component_sizes(view.manifest.action_space)
    if not view.has("action_mask") or not len(sizes):
        return
    offsets = np.cumsum(sizes) - sizes
    masks, first, forbidden, empty = view.column("action_mask"), 0, [], []
    for mask in blocks(masks):
        chosen = actions[first : first + len(mask)].reshape(len(mask), -1).astype(np.int64)
        choices = np.clip(chosen, 0, sizes - 1) + offsets
        allowed = np.take_along_axis(mask, choices, axis=1) | (chosen != choices - offsets)
        forbidden.append(first + np.flatnonzero(~allowed.all(axis=1)))
        empty.append(first + np.flatnonzero(~np.logical_or.reduceat(mask, offsets, axis=1).all(axis=1)))
        first += len(mask)
    log.rows("D108", view, "action_mask", _joined(forbidden), lambda row: f"action {actions[row].tolist()}")
    log.rows("D109", view, "action_mask", _joined(empty))


def check_numbers(view: ShardView, log: FindingLog) -> None:
    """Check flags and masks, rewards, log-probabilities and values."""
    for name in ("terminations", "truncations", "action_mask"):
        if view.has(name) and view.column(name).dtype == np.bool_:
            stored = view.column(name).view(np.uint8)
            _, wrong = wrong_rows(stored, _BOOLEAN)
            log.rows("D110", view, name, wrong, _describe(stored, _BOOLEAN))
    for name, code in (("rewards", "D107"), ("log_probs", "D201"), ("values", "D205")):
        if view.has(name) and not is_finite(view.column(name)):
            log.rows(code, view, name, np.flatnonzero(~np.isfinite(view.column(name))))
    if view.has("bootstrap_values"):
        last = view.column("bootstrap_values")
        log.episodes("D205", view, "bootstrap_values", np.flatnonzero(~np.isfinite(last)))
    if view.has("log_probs"):
        log_probs = view.column("log_probs")
        if not isinstance(view.manifest.action_space, spaces.Box):  # a density may be above 1
            above = np.flatnonzero((log_probs > _ROUNDING) & np.isfinite(log_probs))
            log.rows("D202", view, "log_probs", above, lambda row: f"it is {log_probs[row]:g}")
        scripted = ~np.logical_or.reduceat(log_probs != 0, view.starts)
        log.episodes("D203", view, "log_probs", np.flatnonzero(scripted))


def check_events(view: ShardView, log: FindingLog) -> None:
    """Check that the kinds of events are known."""
    if view.has("event.kind") and view.shard.entry.num_events:
        kinds = view.column("event.kind")
        file = f"{view.shard.entry.name}/{view.manifest.along('event')['event.kind'].file}"
        for row in np.flatnonzero(kinds >= len(view.manifest.event_kinds)).tolist():
            log.add("D011", f"event {row} is of kind {kinds[row]}", file=file, column="event.kind")


def describe_wrong(row: Array, limits: Limits) -> str:
    """Return the first number of a row that is not finite or outside of its limits, and what is allowed there."""
    with np.errstate(invalid="ignore"):
        bad = ~np.isfinite(row) | (row < limits.low) | (row > limits.high)
    place = np.unravel_index(int(np.argmax(bad)), np.shape(row)) if np.ndim(row) else ()
    low, high = (np.broadcast_to(limit, np.shape(row))[place] for limit in (limits.low, limits.high))
    where = f"entry {[int(index) for index in place]} is " if place else "it is "
    return f"{where}{np.asarray(row)[place]:g}, allowed is {low:g} to {high:g}"


def _describe(rows: Array, limits: Limits) -> Callable[[int], str]:
    return lambda number: describe_wrong(rows[number], limits)
