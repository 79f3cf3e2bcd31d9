"""Action masks: what each agent can do now.

Legend: N worlds, A agent slots, K = 8 actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation import affordances
from townlet_core.simulation.relationships import listeners
from townlet_core.simulation.state import NOBODY
from townlet_core.simulation.tick import Action, asleep

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.tick import Tick


def action_mask(tick: Tick, things: Array, day_tick: Array) -> Array:
    """Return (N, A, K) bool, True = possible.

    Waiting always is (and the only thing for those who are absent or asleep). Moving takes a free tile of the grid, and
    neither a use nor a queue to stand in; `use` begins, joins a queue, asks again, or goes on; `leave` ends a use or a
    wait in a queue; a chat takes a neighbour who is awake.

    Args:
        tick: what is known of the moment; nothing of it changes.
        things: (N, A) int8, the object that `use` means for each agent.
        day_tick: (N,) tick of the day.
    """
    state = tick.state
    mask = np.zeros((*state.present.shape, len(Action)), np.bool_)
    awake = state.present & ~asleep(state, tick.layout)
    is_using, is_queued = state.using >= 0, state.queue >= 0
    is_idle = awake & ~is_using & ~is_queued
    mask[..., Action.WAIT] = True
    np.logical_and(tick.neighbours == NOBODY, is_idle[..., None], out=mask[..., Action.NORTH : Action.WEST + 1])
    begins = affordances.may_begin(state, tick.layout, tick.config, things, day_tick)
    mask[..., Action.USE] = awake & (is_using | is_queued | begins)
    mask[..., Action.LEAVE] = awake & (is_using | is_queued)
    mask[..., Action.CHAT] = awake & listeners(tick).any(axis=-1)
    return mask
