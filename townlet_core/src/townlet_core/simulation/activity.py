"""Activities: an agent begins to use an object, breaks it off, or lets go of it; whatever the object is.

Legend: E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.layout import GROCER
from townlet_core.simulation.state import NOBODY

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick


def begin(tick: Tick, worlds: Array, slots: Array, things: Array, ticks: Array) -> None:
    """Let the agents at (worlds, slots) use `things` for `ticks`, (E,) each."""
    state = tick.state
    state.using[worlds, slots] = things
    state.remaining[worlds, slots] = ticks
    state.queue[worlds, slots] = NOBODY
    state.blocked[worlds, slots] = 0
    tick.events.add("affordance_start", worlds, ticks=state.tick, actors=slots, targets=things)


def fail(tick: Tick, worlds: Array, slots: Array) -> None:
    """Break off uses: nothing comes of them, and nothing is paid back."""
    if len(worlds) == 0:
        return
    things = tick.state.using[worlds, slots]
    tick.events.add("affordance_fail", worlds, ticks=tick.state.tick, actors=slots, targets=things)
    tick.state.last_success[worlds, slots] = False
    release(tick.state, tick.layout, worlds, slots)


def finish(tick: Tick, worlds: Array, slots: Array) -> None:
    """End uses that are done."""
    if len(worlds) == 0:
        return
    things = tick.state.using[worlds, slots]
    tick.events.add("affordance_finish", worlds, ticks=tick.state.tick, actors=slots, targets=things)
    release(tick.state, tick.layout, worlds, slots)


def release(state: TownState, layout: Layout, worlds: Array, slots: Array) -> None:
    """Free the objects that the agents at (worlds, slots) use."""
    things = state.using[worlds, slots].astype(np.int64)
    served = layout.kind[things] < GROCER
    state.user[worlds[served], things[served]] = NOBODY
    state.using[worlds, slots] = NOBODY
    state.remaining[worlds, slots] = 0
    state.covering[worlds, slots] = NOBODY
