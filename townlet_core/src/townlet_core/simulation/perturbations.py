"""Perturbations: price spikes, blackouts, failures of the water, and meetings that are arranged between rivals.

Legend: N worlds, A agent slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from townlet_core.config.scenario import PerturbationKind
from townlet_core.simulation.movement import place
from townlet_core.simulation.state import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.config.scenario import ForcedPerturbation
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick

KINDS: tuple[str, ...] = get_args(PerturbationKind)
PRICE_SPIKE, BLACKOUT, OUTAGE, ARRANGED_MEET = range(len(KINDS))


def has_power(state: TownState) -> Array:
    """Return (N,) bool."""
    return np.asarray(state.perturbation[:, BLACKOUT] == 0)


def has_water(state: TownState) -> Array:
    """Return (N,) bool."""
    return np.asarray(state.perturbation[:, OUTAGE] == 0)


def perturb(tick: Tick, forced: Sequence[ForcedPerturbation]) -> None:
    """Let perturbations go on, end and begin, by chance or because the scenario says so."""
    state, constants = tick.state, tick.config.perturbations
    if not (constants.enabled or forced):
        return
    was_on = state.perturbation > 0
    state.perturbation -= was_on
    state.perturbation_cooldown -= state.perturbation_cooldown > 0
    ended = was_on & (state.perturbation == 0)
    state.price_factor[ended[:, PRICE_SPIKE]] = 1
    for kind in range(len(KINDS)):
        tick.events.add("perturbation_ended", np.flatnonzero(ended[:, kind]), ticks=state.tick, targets=kind)
    if constants.enabled:
        for kind, name in enumerate(KINDS):
            chance = getattr(constants, name) / tick.config.day_ticks
            can_come = (state.perturbation[:, kind] == 0) & (state.perturbation_cooldown[:, kind] == 0)
            _begin(
                tick, np.flatnonzero(can_come & (tick.draw_for_worlds(kind) < chance)), kind, constants.duration_ticks
            )
    for event in forced:
        kind = KINDS.index(event.kind)
        is_due = (state.tick == event.tick) & (state.perturbation[:, kind] == 0)
        _begin(tick, np.flatnonzero(is_due), kind, event.ticks)
    is_city = (state.perturbation[:, : OUTAGE + 1] > 0).any(axis=1)
    state.since_city_event[...] = np.where(is_city, 0, state.since_city_event + 1)


def _begin(tick: Tick, worlds: Array, kind: int, ticks: int) -> None:
    if len(worlds) == 0:
        return
    state, constants = tick.state, tick.config.perturbations
    if kind == ARRANGED_MEET:
        worlds = _meet(tick, worlds)
    state.perturbation[worlds, kind] = ticks
    state.perturbation_cooldown[worlds, kind] = ticks + constants.recovery_ticks
    if kind == PRICE_SPIKE:
        low, high = constants.price_factor_min, constants.price_factor_max
        state.price_factor[worlds] = low + (high - low) * tick.draw_for_worlds(len(KINDS))[worlds]
    tick.events.add("perturbation_started", worlds, ticks=state.tick, targets=kind)


def _meet(tick: Tick, worlds: Array) -> Array:
    """Bring the two greatest rivals of each world side by side; return the worlds where that was possible.

    The first of them is called to a free tile next to the second; both have to be idle.
    """
    state, layout = tick.state, tick.layout
    idle = state.present & (state.using < 0) & (state.queue < 0)
    rivalry = state.rivalry[worlds] * (idle[worlds][:, :, None] & idle[worlds][:, None, :])
    flat = rivalry.reshape(len(worlds), -1)
    best = flat.argmax(axis=1)
    has_rivals = flat[np.arange(len(worlds)), best] > 0
    worlds, best = worlds[has_rivals], best[has_rivals]
    guests, hosts = np.divmod(best, layout.num_agents)
    free = tick.neighbours[worlds, hosts] == NOBODY
    has_room = free.any(axis=1)
    worlds, guests, hosts, side = worlds[has_room], guests[has_room], hosts[has_room], free[has_room].argmax(axis=1)
    cells = state.cell[worlds, hosts] + layout.steps[1 + side]
    state.who[worlds, state.cell[worlds, guests]] = NOBODY
    state.who[worlds, cells] = guests
    place(tick, worlds, guests, cells)
    tick.look_around()
    return worlds
