"""Employment: who is on shift, late or absent, who may work where, wages, and covering for a colleague.

Legend: N worlds, A agent slots, E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation import relationships
from townlet_core.simulation.activity import begin, finish
from townlet_core.simulation.layout import GROCER
from townlet_core.simulation.state import NOBODY

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.town import TownConfig
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick

NO_JOB, PRE_SHIFT, ON_TIME, LATE, ABSENT, POST_SHIFT = range(-1, 5)
"""Values of `shift_state`."""


def is_scheduled(state: TownState, layout: Layout, day_tick: Array) -> Array:
    """Return (N, A) bool: the agent's shift runs at the tick of the day (N,)."""
    now = day_tick[:, None]
    return state.present & (layout.job >= 0) & (now >= layout.shift_start) & (now < layout.shift_end)


def is_working(state: TownState, layout: Layout) -> Array:
    """Return (N, A) bool: the agent works its own shift."""
    return _is_at_work(state, layout) & (state.covering < 0)


def _is_at_work(state: TownState, layout: Layout) -> Array:
    kinds = np.append(layout.kind, np.int8(-1))
    return kinds[state.using] >= GROCER


def may_work(state: TownState, layout: Layout, config: TownConfig, things: Array, day_tick: Array) -> Array:
    """Return (N, A) bool: the workplace in `things` (N, A) takes the agent, for its own shift or to cover another's."""
    kinds = np.append(layout.kind, np.int8(-1))[things]
    is_workplace = (kinds >= GROCER) & state.present
    allowed = np.zeros(is_workplace.shape, np.bool_)
    if not is_workplace.any():
        return allowed
    scheduled = is_scheduled(state, layout, day_tick)
    allowed = is_workplace & scheduled & (kinds == layout.job + GROCER)
    worlds, agents = np.nonzero(is_workplace & ~scheduled & (layout.job >= 0))
    covered = cover_for(state, layout, config, day_tick, worlds, agents, kinds[worlds, agents])
    allowed[worlds, agents] = covered >= 0
    rows = np.arange(state.num_worlds)[:, None]
    has_room: Array = (_workers(state, layout) < layout.capacity)[rows, things]
    return np.asarray(allowed & has_room)


def _workers(state: TownState, layout: Layout) -> Array:
    """Return (N, O): how many use each object."""
    worlds, slots = np.nonzero(state.using >= 0)
    places = worlds * layout.num_objects + state.using[worlds, slots]
    return np.bincount(places, minlength=state.num_worlds * layout.num_objects).reshape(state.num_worlds, -1)


def cover_for(
    state: TownState, layout: Layout, config: TownConfig, day_tick: Array, worlds: Array, agents: Array, kinds: Array
) -> Array:
    """Return (E,) the first slot whose shift each agent may work at a workplace of `kinds` (E,), or -1.

    A friend (trust > 0) is covered as soon as late, anybody else only once absent. Each colleague is covered by one.
    """
    found = np.full(len(worlds), NOBODY, np.int64)
    if len(worlds) == 0:
        return found
    limits = config.employment
    is_missing = (
        is_scheduled(state, layout, day_tick) & ~is_working(state, layout) & (state.missed > limits.grace_ticks)
    )
    is_missing &= ~is_covered(state)
    is_absent = is_missing & (state.missed > limits.absent_ticks)
    is_friend = state.trust[worlds, agents] > 0
    fits = (is_missing[worlds] & is_friend) | is_absent[worlds]
    fits &= layout.job + GROCER == kinds[:, None]
    fits[np.arange(len(worlds)), agents] = False
    has_any = fits.any(axis=1)
    found[has_any] = fits[has_any].argmax(axis=1)
    return found


def is_covered(state: TownState) -> Array:
    """Return (N, A) bool: somebody works the slot's shift."""
    covered = np.zeros(state.present.shape, np.bool_)
    worlds, agents = np.nonzero(state.covering >= 0)
    covered[worlds, state.covering[worlds, agents]] = True
    return covered


def start_work(tick: Tick, worlds: Array, slots: Array, things: Array, day_tick: Array) -> None:
    """Let those who asked for a workplace begin: their own shift, or that of a colleague."""
    if len(worlds) == 0:
        return
    state, layout = tick.state, tick.layout
    kinds = layout.kind[things]
    owns = is_scheduled(state, layout, day_tick)[worlds, slots] & (kinds == layout.job[slots] + GROCER)
    room = (layout.capacity - _workers(state, layout))[worlds, things]
    own = owns & (_rank(worlds, things, owns) < room)
    begin(tick, worlds[own], slots[own], things[own], layout.shift_end[slots[own]] - day_tick[worlds[own]])
    state.covering[worlds[own], slots[own]] = NOBODY
    _send_home(tick, is_working(state, layout))
    rest = np.flatnonzero(~owns)
    colleagues = cover_for(state, layout, tick.config, day_tick, worlds[rest], slots[rest], kinds[rest])
    rest, colleagues = rest[colleagues >= 0], colleagues[colleagues >= 0]
    _, first = np.unique(worlds[rest] * layout.num_agents + colleagues, return_index=True)
    rest, colleagues = rest[first], colleagues[first]
    room = (layout.capacity - _workers(state, layout))[worlds[rest], things[rest]]
    fits = _rank(worlds[rest], things[rest], np.ones(len(rest), np.bool_)) < room
    _cover(tick, worlds[rest[fits]], slots[rest[fits]], things[rest[fits]], colleagues[fits], day_tick)


def _rank(worlds: Array, things: Array, counts: Array) -> Array:
    """Return (E,) how many rows of the same world and object come before each, of those that count."""
    place = worlds * 128 + things
    order = np.argsort(place, kind="stable")
    running = np.cumsum(counts[order])
    is_first = np.append(True, place[order][1:] != place[order][:-1])
    before = np.maximum.accumulate(np.where(is_first, running - counts[order], 0))
    ranks = np.empty(len(place), np.int64)
    ranks[order] = running - counts[order] - before
    return ranks


def _cover(tick: Tick, worlds: Array, slots: Array, things: Array, colleagues: Array, day_tick: Array) -> None:
    state = tick.state
    begin(tick, worlds, slots, things, tick.layout.shift_end[colleagues] - day_tick[worlds])
    state.covering[worlds, slots] = colleagues
    helps = state.trust[worlds, slots, colleagues] > 0
    for kind, deltas, rows in (
        ("employment_helped_when_late", relationships.HELPED_WHEN_LATE, helps),
        ("employment_took_my_shift", relationships.TOOK_MY_SHIFT, ~helps),
    ):
        tick.events.add(kind, worlds[rows], ticks=state.tick, actors=slots[rows], targets=colleagues[rows])
        relationships.relate(tick, worlds[rows], colleagues[rows], slots[rows], deltas)
    relationships.relate(tick, worlds[helps], slots[helps], colleagues[helps], relationships.HELPED_WHEN_LATE)


def _send_home(tick: Tick, working: Array) -> None:
    """End the covering of those who are back at work, or gone."""
    state = tick.state
    worlds, agents = np.nonzero(state.covering >= 0)
    if len(worlds) == 0:
        return
    colleagues = state.covering[worlds, agents]
    is_over = working[worlds, colleagues] | ~state.present[worlds, colleagues]
    finish(tick, worlds[is_over], agents[is_over])


def clock(tick: Tick, day_tick: Array) -> None:
    """Pay who works, count who misses a shift, and say who is late or absent."""
    state, layout, limits = tick.state, tick.layout, tick.config.employment
    scheduled = is_scheduled(state, layout, day_tick)
    working = is_working(state, layout)
    _send_home(tick, working)
    _pay(tick, working, scheduled)
    misses = scheduled & ~working
    state.missed += misses
    state.scheduled_ticks += scheduled
    attends = scheduled & working
    state.attended_ticks += attends
    tick.events.measure("shift_ticks_scheduled", scheduled.sum(axis=1))
    tick.events.measure("shift_ticks_attended", attends.sum(axis=1))
    for kind, limit in (("shift_late_start", limits.grace_ticks), ("shift_absent", limits.absent_ticks)):
        worlds, agents = np.nonzero(misses & (state.missed == limit + 1))
        tick.events.add(kind, worlds, ticks=state.tick, actors=agents)
    is_absent = misses & (state.missed > limits.absent_ticks)
    state.wages_withheld += is_absent * layout.wage
    bonus = working & scheduled & ~state.was_punctual & (state.missed <= limits.grace_ticks)
    state.was_punctual |= bonus
    tick.punctuality += bonus * np.float32(tick.config.rewards.punctuality)


def _pay(tick: Tick, working: Array, scheduled: Array) -> None:
    state, layout = tick.state, tick.layout
    earned = (working & scheduled) * layout.wage
    worlds, agents = np.nonzero(state.covering >= 0)
    if len(worlds):
        earned[worlds, agents] = layout.wage[state.covering[worlds, agents]]
    state.wallet += earned
    np.minimum(state.wallet, np.float32(tick.config.employment.wallet_limit), out=state.wallet)
    tick.wages += earned * np.float32(tick.config.rewards.wage)


def update_shift_state(state: TownState, layout: Layout, config: TownConfig, day_tick: Array) -> None:
    """Set `shift_state` for the tick of the day (N,); where no shift runs, what belongs to one is forgotten."""
    limits = config.employment
    scheduled = is_scheduled(state, layout, day_tick)
    level = np.where(state.missed > limits.grace_ticks, np.int8(LATE), np.int8(ON_TIME))
    level[(state.missed > limits.absent_ticks) & ~is_working(state, layout)] = ABSENT
    rest = np.where(day_tick[:, None] < layout.shift_start, np.int8(PRE_SHIFT), np.int8(POST_SHIFT))
    rest[~(state.present & (layout.job >= 0))] = NO_JOB
    state.shift_state[...] = np.where(scheduled, level, rest)
    state.missed *= scheduled
    state.was_punctual &= scheduled
    state.wages_withheld *= scheduled
