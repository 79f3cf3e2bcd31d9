"""Lives: how they begin, how they end (a faint, an eviction, the end of the episode), and the newcomers after them.

Legend: N worlds, A agent slots, E rows (an agent of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.simulation.activity import release
from townlet_core.simulation.employment import NO_JOB
from townlet_core.simulation.events import EVICTION, FAINT
from townlet_core.simulation.layout import RADIUS
from townlet_core.simulation.queues import drop_out
from townlet_core.simulation.relationships import forget
from townlet_core.simulation.state import NOBODY

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick

TILE_TRIES = 8
RENTS_OWED = 2
"""Rents owed in a row for which an agent is evicted."""
_HUNGER, _HYGIENE, _ENERGY, _PERSONALITY, _EMPTY, _TILES = 0, 1, 2, 3, 6, 7


class Beginnings:
    """What a life of each slot begins with, as arrays over the slots."""

    def __init__(self, scenario: ScenarioConfig, layout: Layout) -> None:
        slots = [agent for agent in scenario.agents for _ in range(agent.count)]
        self.needs = np.array([(one.hunger, one.hygiene, one.energy) for one in slots])  # (A, 3, 2)
        self.wallet = np.array([one.wallet for one in slots], np.float32)
        self.unpaid = np.array([one.unpaid_rents for one in slots], np.int8)
        self.has_personality = np.array([one.personality is not None for one in slots])
        self.personality = np.array([one.personality or (0, 0, 0) for one in slots], np.float32)
        self.cell = np.array(
            [-1 if one.at is None else (one.at[0] + RADIUS) * layout.width + one.at[1] + RADIUS for one in slots],
            np.int64,
        )


def settle_in(
    state: TownState, layout: Layout, beginnings: Beginnings, worlds: Array, slots: Array, cells: Array
) -> None:
    """Begin a life at (worlds, slots), on free `cells`; its number is in `state.life` already."""
    keys = randomness.fold(state.agent_key[worlds, slots], state.life[worlds, slots])
    low, high = beginnings.needs[slots, :, 0], beginnings.needs[slots, :, 1]
    needs = low + (high - low) * randomness.uniform(keys[:, None], np.arange(_HUNGER, _ENERGY + 1))
    for column, need in enumerate((state.hunger, state.hygiene, state.energy)):
        need[worlds, slots] = needs[:, column]
    drawn = 2 * randomness.uniform(keys[:, None], np.arange(_PERSONALITY, _PERSONALITY + 3)) - 1
    state.personality[worlds, slots] = np.where(
        beginnings.has_personality[slots, None], beginnings.personality[slots], drawn
    )
    state.wallet[worlds, slots] = beginnings.wallet[slots]
    for array, value in (
        (state.present, True),
        (state.age, 0),
        (state.empty_ticks, 0),
        (state.using, NOBODY),
        (state.remaining, 0),
        (state.queue, NOBODY),
        (state.blocked, 0),
        (state.cooldown_until, 0),
        (state.covering, NOBODY),
        (state.missed, 0),
        (state.was_punctual, False),
        (state.scheduled_ticks, 0),
        (state.attended_ticks, 0),
        (state.wages_withheld, 0),
        (state.unpaid_rents, 0),
        (state.avoid_count, 0),
        (state.life_return, 0),
        (state.last_action, 0),
        (state.last_success, True),
        (state.last_duration, 0),
    ):
        array[worlds, slots] = value
    state.who[worlds, cells] = slots
    state.cell[worlds, slots] = cells
    rows, columns = np.divmod(cells, layout.width)
    state.y[worlds, slots] = rows - RADIUS
    state.x[worlds, slots] = columns - RADIUS


def people(state: TownState, layout: Layout, beginnings: Beginnings, worlds: Array) -> None:
    """Fill every slot of new episodes: fixed places first, the others on free tiles by chance."""
    num_agents = layout.num_agents
    cells = np.broadcast_to(beginnings.cell, (len(worlds), num_agents)).copy()
    wanders = np.flatnonzero(beginnings.cell < 0)
    if len(wanders):
        words = randomness.bits(state.episode_key[worlds][:, None], np.arange(layout.num_cells) + 2**32)
        words[:, layout.border] = np.iinfo(np.uint64).max
        words[:, beginnings.cell[beginnings.cell >= 0]] = np.iinfo(np.uint64).max
        chosen = np.argpartition(words, len(wanders), axis=1)[:, : len(wanders)]
        order = np.argsort(np.take_along_axis(words, chosen, axis=1), axis=1)
        cells[:, wanders] = np.take_along_axis(chosen, order, axis=1)
    slots = np.tile(np.arange(num_agents), len(worlds))
    rows = np.repeat(worlds, num_agents)
    settle_in(state, layout, beginnings, rows, slots, cells.reshape(-1))
    state.unpaid_rents[worlds] = beginnings.unpaid


def pay_rent(tick: Tick, day_tick: Array) -> None:
    """Take the rent at a day's last tick; who cannot pay owes it, and who pays owes nothing."""
    state, config = tick.state, tick.config
    is_due = day_tick == config.day_ticks - 1
    if not is_due.any():
        return
    due = is_due[:, None] & state.present
    can_pay = state.wallet >= np.float32(config.employment.rent)
    state.wallet -= (due & can_pay) * np.float32(config.employment.rent)
    state.unpaid_rents[due & can_pay] = 0
    state.unpaid_rents += due & ~can_pay
    np.minimum(state.unpaid_rents, RENTS_OWED, out=state.unpaid_rents)
    state.evictions_today[is_due] = 0


def judge(tick: Tick) -> None:
    """Set `tick.exits`: who faints, and who is evicted for owing two rents.

    Evictions come at most so many a day and so far apart, and not during a city-wide event or shortly after it.
    """
    state, config = tick.state, tick.config
    tick.exits[state.present & (state.hunger <= np.float32(config.needs.faint_hunger))] = FAINT
    owes = state.present & (state.unpaid_rents >= RENTS_OWED) & (tick.exits == 0)
    if not owes.any():
        return
    allowed = state.evictions_today < config.lives.evictions_per_day
    allowed &= state.tick - state.last_eviction >= config.lives.eviction_spacing_ticks
    allowed &= state.since_city_event > config.perturbations.safe_ticks
    worlds = np.flatnonzero(allowed & owes.any(axis=1))
    slots = owes[worlds].argmax(axis=1)
    tick.exits[worlds, slots] = EVICTION
    state.evictions_today[worlds] += 1
    state.last_eviction[worlds] = state.tick[worlds]


def bury(tick: Tick) -> None:
    """Empty the slots whose life has ended."""
    state = tick.state
    worlds, slots = np.nonzero(tick.exits)
    if len(worlds) == 0:
        return
    tick.events.add(
        "agent_exit", worlds, ticks=state.tick - 1, actors=slots, values=tick.exits[worlds, slots].astype(np.float64)
    )
    tick.events.measure("faint_events", (tick.exits == FAINT).sum(axis=1))
    tick.events.measure("eviction_events", (tick.exits == EVICTION).sum(axis=1))
    is_using = state.using[worlds, slots] >= 0
    release(state, tick.layout, worlds[is_using], slots[is_using])
    drop_out(tick, worlds, slots)
    forget(tick, worlds, slots)
    left = state.last_user[worlds] == slots[:, None]
    rows, things = np.nonzero(left)
    state.last_user[worlds[rows], things] = NOBODY
    state.who[worlds, state.cell[worlds, slots]] = NOBODY
    state.present[worlds, slots] = False
    for array, value in (
        (state.shift_state, NO_JOB),
        (state.missed, 0),
        (state.was_punctual, False),
        (state.wages_withheld, 0),
    ):
        array[worlds, slots] = value
    keys = randomness.fold(state.agent_key[worlds, slots], state.life[worlds, slots])
    lives = tick.config.lives
    spread = lives.empty_ticks_max - lives.empty_ticks_min + 1
    state.empty_ticks[worlds, slots] = lives.empty_ticks_min + (randomness.uniform(keys, _EMPTY) * spread).astype(int)
    state.life[worlds, slots] += 1


def welcome(tick: Tick, beginnings: Beginnings) -> bool:
    """Let newcomers move into slots that have been empty long enough, on a free tile by chance; return if any did."""
    state, layout = tick.state, tick.layout
    if not tick.config.lives.newcomers:
        return False
    worlds, slots = np.nonzero(~state.present & (tick.exits == 0))
    if len(worlds) == 0:
        return False
    state.empty_ticks[worlds, slots] -= 1
    ready = state.empty_ticks[worlds, slots] <= 0
    worlds, slots = worlds[ready], slots[ready]
    if len(worlds) == 0:
        return False
    keys = randomness.fold(state.agent_key[worlds, slots], state.life[worlds, slots])
    counters = _TILES + state.tick[worlds][:, None] * TILE_TRIES + np.arange(TILE_TRIES)
    tiles = (randomness.uniform(keys[:, None], counters) * (layout.rows * layout.columns)).astype(np.int64)
    cells = (tiles // layout.columns + RADIUS) * layout.width + tiles % layout.columns + RADIUS
    free = state.who[worlds[:, None], cells] == NOBODY
    cells = np.take_along_axis(cells, free.argmax(axis=1)[:, None], axis=1)[:, 0]
    is_free = free.any(axis=1)
    _, first = np.unique((worlds * layout.num_cells + cells)[is_free], return_index=True)
    rows = np.sort(np.flatnonzero(is_free)[first])  # of two on one tile the first slot; the other one waits a tick
    settle_in(state, layout, beginnings, worlds[rows], slots[rows], cells[rows])
    tick.events.add("agent_spawned", worlds[rows], ticks=state.tick - 1, actors=slots[rows])
    return len(rows) > 0
