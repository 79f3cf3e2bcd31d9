"""Movement: one tile a tick, onto tiles that were free; of several agents who want one tile, one moves.

Legend: E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.layout import RADIUS
from townlet_core.simulation.state import NOBODY
from townlet_core.simulation.tick import Action, Draw

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.tick import Tick


def move(tick: Tick) -> None:
    """Carry out the moves; where a tile is wanted twice, the higher keyed number has it and the others stay."""
    state, layout = tick.state, tick.layout
    worlds, slots = np.nonzero((tick.actions >= Action.NORTH) & (tick.actions <= Action.WEST))
    if len(worlds) == 0:
        return
    cells = state.cell[worlds, slots] + layout.steps[tick.actions[worlds, slots]]
    places = worlds * layout.num_cells + cells
    who = state.who.reshape(-1)
    who[places] = slots  # a claim; where several are made, one is left standing
    is_sole = np.ones(len(places), np.bool_)
    lost = who[places] != slots
    if lost.any():
        is_sole = _winners(tick, places, worlds, slots, np.isin(places, places[lost]))
        who[places[is_sole]] = slots[is_sole]
    worlds, slots, cells = worlds[is_sole], slots[is_sole], cells[is_sole]
    who[worlds * layout.num_cells + state.cell[worlds, slots]] = NOBODY
    place(tick, worlds, slots, cells)
    tick.look_around()


def _winners(tick: Tick, places: Array, worlds: Array, slots: Array, is_disputed: Array) -> Array:
    """Return (E,) bool: the undisputed rows, and of those who want one place the one with the highest number."""
    rows = np.flatnonzero(is_disputed)
    numbers = tick.draw(Draw.MOVE, worlds[rows], slots[rows])
    order = rows[np.lexsort((slots[rows], numbers, places[rows]))]
    is_last = np.append(places[order][1:] != places[order][:-1], True)
    winners = ~is_disputed
    winners[order[is_last]] = True
    return winners


def place(tick: Tick, worlds: Array, slots: Array, cells: Array) -> None:
    """Put agents on cells that are theirs already."""
    state, layout = tick.state, tick.layout
    state.cell[worlds, slots] = cells
    rows, columns = np.divmod(cells, layout.width)
    state.y[worlds, slots] = rows - RADIUS
    state.x[worlds, slots] = columns - RADIUS
