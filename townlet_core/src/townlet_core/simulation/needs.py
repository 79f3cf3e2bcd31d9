"""Needs: they fall at every tick, and the lowest one decides what an agent wants.

Legend: N worlds, A agent slots, K kinds of objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.layout import BED, FRIDGE, GROCER, SHOWER, STOVE

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick


def decay(tick: Tick) -> None:
    """Let the needs of everybody present fall; absent slots are filled anew when somebody moves in."""
    state, rates = tick.state, tick.config.needs
    for need, rate in (
        (state.hunger, rates.hunger_decay),
        (state.hygiene, rates.hygiene_decay),
        (state.energy, rates.energy_decay),
    ):
        np.maximum(need - np.float32(rate), 0, out=need)


def wanted_kind(state: TownState, layout: Layout, day_tick: Array) -> Array:
    """Return (N, A) int8, the kind of object that each agent's `use` prefers and its path hint points to.

    That is what the lowest need asks for (hunger a fridge, or the stove when every fridge is empty; hygiene a shower;
    energy a bed), or the workplace from when it is time to go there until the shift ends.

    Args:
        state: the town.
        layout: its tables.
        day_tick: (N,) tick of the day.
    """
    wanted = np.where(state.hygiene < state.energy, np.int8(SHOWER), np.int8(BED))
    is_hungry = state.hunger <= np.minimum(state.hygiene, state.energy)
    food = np.where(state.stock[:, layout.fridges].sum(axis=1) > 0, np.int8(FRIDGE), np.int8(STOVE))
    wanted = np.where(is_hungry, food[:, None], wanted)
    notice = layout.rows + layout.columns
    to_work = (day_tick[:, None] >= layout.shift_start - notice) & (day_tick[:, None] < layout.shift_end)
    return np.where(to_work & (layout.job >= 0), np.int8(GROCER) + layout.job, wanted)


def apply_effects(state: TownState, worlds: Array, slots: Array, effects: Array) -> None:
    """Add (E, 3) effects to the needs of the agents at (worlds, slots), within [0, 1]."""
    for column, need in enumerate((state.hunger, state.hygiene, state.energy)):
        need[worlds, slots] = np.clip(need[worlds, slots] + effects[:, column], 0, 1)
