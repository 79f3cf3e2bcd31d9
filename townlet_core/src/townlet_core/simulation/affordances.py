"""Affordances: which object may be used, and what happens when a use begins, ends, or is broken off.

Legend: N worlds, A agent slots, O objects, E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation import relationships
from townlet_core.simulation.activity import begin, fail, finish
from townlet_core.simulation.employment import may_work
from townlet_core.simulation.layout import FRIDGE, GROCER, MEALS_COOKED, SHOWER, STOVE
from townlet_core.simulation.needs import apply_effects, wanted_kind
from townlet_core.simulation.perturbations import has_power, has_water
from townlet_core.simulation.state import NOBODY

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.town import TownConfig
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick


def target(state: TownState, layout: Layout, day_tick: Array) -> Array:
    """Return (N, A) int8, the object that `use` means for each agent, or -1: the one that is waited for, else in reach.

    Args:
        state: the town.
        layout: its tables.
        day_tick: (N,) tick of the day.
    """
    wanted = wanted_kind(state, layout, day_tick)
    in_reach = layout.in_reach.reshape(-1).take(state.cell * layout.in_reach.shape[1] + wanted)
    return np.where(state.queue >= 0, state.queue, in_reach)


def supplied(state: TownState, layout: Layout) -> Array:
    """Return (N, O) bool: the object has what its use needs (stock, power, water)."""
    kind = layout.kind
    works = (kind != FRIDGE) | (state.stock > 0)
    works &= ((kind != STOVE) & (kind != SHOWER)) | has_power(state)[:, None]
    works &= (kind != SHOWER) | has_water(state)[:, None]
    return np.asarray(works)


def is_usable(state: TownState, layout: Layout, things: Array) -> Array:
    """Return (N, A) bool: the agent can pay for the object in `things` (N, A), has no cooldown, and it is supplied.

    Workplaces are never usable by this: `employment.workers` says who may work.
    """
    usable = np.zeros(things.shape, np.bool_)
    worlds, slots = np.nonzero((things >= 0) & state.present)
    if len(worlds) == 0:
        return usable
    asked = things[worlds, slots]
    kinds = layout.kind[asked]
    price = layout.price[kinds] * state.price_factor[worlds]
    is_cool = state.cooldown_until[worlds, slots, asked] <= state.tick[worlds]
    can_pay = state.wallet[worlds, slots] >= price
    usable[worlds, slots] = supplied(state, layout)[worlds, asked] & is_cool & can_pay & (kinds < GROCER)
    return usable


def start(tick: Tick, worlds: Array, slots: Array, things: Array) -> None:
    """Begin uses of fridges, stoves, showers and beds that are promised to the agents: they pay, and stock is taken."""
    if len(worlds) == 0:
        return
    state, layout = tick.state, tick.layout
    kinds = layout.kind[things]
    state.wallet[worlds, slots] -= layout.price[kinds] * state.price_factor[worlds]
    is_fridge = kinds == FRIDGE
    state.stock[worlds[is_fridge], things[is_fridge]] -= 1
    state.user[worlds, things] = slots
    state.reserved[worlds, things] = NOBODY
    state.last_user[worlds, things] = NOBODY
    begin(tick, worlds, slots, things, layout.ticks[kinds])
    _share_meals(tick, worlds[is_fridge], slots[is_fridge])


def _share_meals(tick: Tick, worlds: Array, slots: Array) -> None:
    """Let those who begin to eat share the meal with whoever eats next to them; a pair that begins together once."""
    if len(worlds) == 0:
        return
    state, layout = tick.state, tick.layout
    near = tick.neighbours[worlds, slots].astype(np.int64)
    other_things = state.using[worlds[:, None], np.maximum(near, 0)]
    eats = (near >= 0) & (other_things >= 0) & (layout.kind[other_things] == FRIDGE)
    begins_too = state.remaining[worlds[:, None], np.maximum(near, 0)] == layout.ticks[FRIDGE]
    rows, sides = np.nonzero(eats & ~(begins_too & (near > slots[:, None])))
    pairs = worlds[rows], slots[rows], near[rows, sides]
    tick.events.add("shared_meal", pairs[0], ticks=state.tick, actors=pairs[1], targets=pairs[2])
    relationships.relate_both(tick, *pairs, relationships.SHARED_MEAL)


def progress(tick: Tick) -> None:
    """Let uses go on by a tick, and end those that are done."""
    state, layout = tick.state, tick.layout
    is_using = state.using >= 0
    state.remaining -= is_using
    worlds, slots = np.nonzero(is_using & (state.remaining <= 0))
    if len(worlds) == 0:
        return
    things = state.using[worlds, slots].astype(np.int64)
    kinds = layout.kind[things]
    apply_effects(state, worlds, slots, layout.effects[kinds])
    _store_meals(tick, worlds[kinds == STOVE])
    served = kinds < GROCER
    state.cooldown_until[worlds[served], slots[served], things[served]] = (
        state.tick[worlds[served]] + 1 + tick.config.queues.cooldown_ticks
    )
    state.last_user[worlds[served], things[served]] = slots[served]
    finish(tick, worlds, slots)


def _store_meals(tick: Tick, worlds: Array) -> None:
    """Put what was cooked into the emptiest fridge of each world, as far as there is room."""
    state, fridges = tick.state, tick.layout.fridges
    if len(worlds) == 0 or len(fridges) == 0:
        return
    cooked = np.bincount(worlds, minlength=state.num_worlds)
    rows = np.flatnonzero(cooked)
    emptiest = fridges[state.stock[rows][:, fridges].argmin(axis=1)]
    filled = state.stock[rows, emptiest] + MEALS_COOKED * cooked[rows]
    state.stock[rows, emptiest] = np.minimum(filled, tick.config.queues.fridge_limit)


def break_off_without_supply(tick: Tick) -> None:
    """Break off what lost its power or water in this tick."""
    state, layout = tick.state, tick.layout
    power, water = has_power(state), has_water(state)
    if power.all() and water.all():
        return
    kinds = np.append(layout.kind, GROCER)[state.using]
    lost = ((kinds == STOVE) | (kinds == SHOWER)) & ~power[:, None]
    lost |= (kinds == SHOWER) & ~water[:, None]
    fail(tick, *np.nonzero(lost & (state.using >= 0)))


def may_begin(state: TownState, layout: Layout, config: TownConfig, things: Array, day_tick: Array) -> Array:
    """Return (N, A) bool: `use` of `things` (N, A) could begin or join a queue; employment is looked at too."""
    usable = is_usable(state, layout, things)
    works = may_work(state, layout, config, things, day_tick)
    return (things >= 0) & (usable | works)
