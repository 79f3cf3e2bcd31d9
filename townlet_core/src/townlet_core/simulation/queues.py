"""Queues: who asks for an object waits in line, who is next is promised it, and who is refused resents the holder.

An object that serves one is in use by somebody (`user`), or promised to somebody in its queue who has yet to begin
(`reserved`), or free. Whoever asks joins the queue; a free object is promised to whoever waits longest.

Legend: N worlds, O objects, E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation import affordances, employment, relationships
from townlet_core.simulation.activity import fail
from townlet_core.simulation.layout import GROCER
from townlet_core.simulation.state import NOBODY
from townlet_core.simulation.tick import Action, Draw

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.tick import Tick

GHOST_INTENSITY, BLOCKED_INTENSITY, QUEUE_INTENSITY = 1.5, 0.4, 0.25
LEAST_INTENSITY, MOST_INTENSITY = 0.1, 5.0


def leave(tick: Tick) -> None:
    """Let those who chose it leave their queue, or break off what they do."""
    state = tick.state
    worlds, slots = np.nonzero(tick.actions == Action.LEAVE)
    if len(worlds) == 0:
        return
    is_using = state.using[worlds, slots] >= 0
    fail(tick, worlds[is_using], slots[is_using])
    drop_out(tick, worlds[~is_using], slots[~is_using])


def drop_out(tick: Tick, worlds: Array, slots: Array) -> None:
    """Take agents out of the queues that they are in."""
    state = tick.state
    things = state.queue[worlds, slots].astype(np.int64)
    is_queued = things >= 0
    worlds, slots, things = worlds[is_queued], slots[is_queued], things[is_queued]
    holds = state.reserved[worlds, things] == slots
    state.reserved[worlds[holds], things[holds]] = NOBODY
    state.queue[worlds, slots] = NOBODY
    state.blocked[worlds, slots] = 0


def serve(tick: Tick, things: Array, day_tick: Array) -> None:
    """Let those who chose `use` ask, promise free objects, begin uses, and settle what is refused.

    Args:
        tick: the tick.
        things: (N, A) int8, the object that `use` means for each agent.
        day_tick: (N,) tick of the day.
    """
    state, layout = tick.state, tick.layout
    worlds, slots = np.nonzero((tick.actions == Action.USE) & (state.using < 0))
    asked = things[worlds, slots].astype(np.int64)
    is_work = np.append(layout.kind, np.int8(GROCER))[asked] >= GROCER
    employment.start_work(tick, worlds[is_work], slots[is_work], asked[is_work], day_tick)
    worlds, slots, asked = worlds[~is_work], slots[~is_work], asked[~is_work]
    is_new = state.queue[worlds, slots] < 0
    state.queue[worlds, slots] = asked
    state.queue_since[worlds[is_new], slots[is_new]] = state.tick[worlds[is_new]]
    promise(tick)
    is_next = state.reserved[worlds, asked] == slots
    works = affordances.is_usable(state, layout, things)[worlds, slots]
    begins = is_next & works
    affordances.start(tick, worlds[begins], slots[begins], asked[begins])
    _disappoint(tick, worlds[is_next & ~works], slots[is_next & ~works], asked[is_next & ~works])
    is_held = (state.user[worlds, asked] >= 0) | (state.reserved[worlds, asked] >= 0)
    refused = ~is_next & is_held  # who was promised it may just have been sent away: then nobody is in the way
    if refused.any():
        _block(tick, worlds[refused], slots[refused], asked[refused])


def promise(tick: Tick) -> None:
    """Promise every free object to the one who has waited longest; older lives a little earlier, then a keyed draw."""
    state = tick.state
    worlds, slots = np.nonzero(state.queue >= 0)
    if len(worlds) == 0:
        return
    things = state.queue[worlds, slots].astype(np.int64)
    is_free = (state.user[worlds, things] < 0) & (state.reserved[worlds, things] < 0)
    worlds, slots, things = worlds[is_free], slots[is_free], things[is_free]
    if len(worlds) == 0:
        return
    days = state.age[worlds, slots] / tick.config.day_ticks
    waited = state.tick[worlds] - state.queue_since[worlds, slots] + tick.config.queues.age_priority * days
    places = worlds * tick.layout.num_objects + things
    order = np.lexsort((slots, tick.draw(Draw.QUEUE, worlds, slots), waited, places))
    is_last = np.append(places[order][1:] != places[order][:-1], True)
    winners = order[is_last]
    worlds, slots, things = worlds[winners], slots[winners], things[winners]
    state.reserved[worlds, things] = slots
    before = state.last_user[worlds, things].astype(np.int64)
    handed = (before >= 0) & (before != slots) & (state.queue_since[worlds, slots] < state.tick[worlds])
    worlds, slots, before = worlds[handed], slots[handed], before[handed]
    tick.events.add("queue_handover", worlds, ticks=state.tick, actors=before, targets=slots)
    relationships.relate_both(tick, worlds, before, slots, relationships.HANDOVER)


def _disappoint(tick: Tick, worlds: Array, slots: Array, things: Array) -> None:
    """Send away those whose turn it is when the object has nothing for them, or they no money."""
    if len(worlds) == 0:
        return
    tick.events.add("affordance_fail", worlds, ticks=tick.state.tick, actors=slots, targets=things)
    tick.state.last_success[worlds, slots] = False
    drop_out(tick, worlds, slots)


def _block(tick: Tick, worlds: Array, slots: Array, things: Array) -> None:
    """Note the conflicts of those who asked in vain; the third attempt in a row is a ghost step.

    A ghost step takes the object from one who was promised it and has not begun, and promises it to whoever asked; it
    does not disturb one who uses it.
    """
    state, layout = tick.state, tick.layout
    state.last_success[worlds, slots] = False
    user, promised = state.user[worlds, things], state.reserved[worlds, things]
    holders = np.where(user >= 0, user, promised).astype(np.int64)
    state.blocked[worlds, slots] += 1
    is_ghost = state.blocked[worlds, slots] >= tick.config.queues.ghost_step_after
    queued = np.nonzero(state.queue >= 0)
    places = queued[0] * layout.num_objects + state.queue[queued]
    lengths = np.bincount(places, minlength=state.num_worlds * layout.num_objects)[worlds * layout.num_objects + things]
    intensity = np.where(is_ghost, GHOST_INTENSITY, BLOCKED_INTENSITY) + QUEUE_INTENSITY * (lengths - 1)
    intensity = np.clip(intensity, LEAST_INTENSITY, MOST_INTENSITY)
    tick.events.add("queue_conflict", worlds, ticks=state.tick, actors=slots, targets=holders, values=intensity)
    tick.events.add("ghost_step", worlds[is_ghost], ticks=state.tick, actors=slots[is_ghost], targets=holders[is_ghost])
    forgiveness, ambition = state.personality[worlds, slots, 1], state.personality[worlds, slots, 2]
    scale = (1 + 0.3 * np.maximum(ambition, 0)) * (1 - 0.5 * np.maximum(forgiveness, 0))
    _resent(tick, worlds, slots, holders, scale)
    state.blocked[worlds[is_ghost], slots[is_ghost]] = 0
    frees = is_ghost & (user < 0)
    _, first = np.unique((worlds * layout.num_objects + things)[frees], return_index=True)
    rows = np.flatnonzero(frees)[first]
    state.queue_since[worlds[rows], holders[rows]] = state.tick[worlds[rows]]
    state.reserved[worlds[rows], things[rows]] = slots[rows]


def _resent(tick: Tick, worlds: Array, slots: Array, holders: Array, scale: Array) -> None:
    """Apply the change of `blocked`; personality acts on the rivalry only."""
    trust, familiarity, rivalry = relationships.BLOCKED
    relationships.relate(tick, worlds, slots, holders, (trust, familiarity, 0.0))
    relationships.relate(tick, worlds, slots, holders, (0.0, 0.0, rivalry), scale)
