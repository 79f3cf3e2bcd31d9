"""What the systems of one tick share: the town, what its agents chose, and what they earn by it.

Legend: N worlds, A agent slots, E rows (an agent of a world each).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.simulation.layout import BED

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.town import TownConfig
    from townlet_core.simulation.events import EventLog
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState


class Action(IntEnum):
    """What an agent can choose."""

    WAIT = 0
    NORTH = 1
    EAST = 2
    SOUTH = 3
    WEST = 4
    USE = 5
    LEAVE = 6
    CHAT = 7


class Draw(IntEnum):
    """What a random number of a tick is for; two purposes share no number."""

    MOVE = 0
    QUEUE = 1
    CHAT_CHOICE = 2
    CHAT_SUCCESS = 3
    CHAT_QUALITY = 4
    PERTURBATION = 8


_DRAWS = 32


@dataclass(slots=True)
class Tick:
    """One tick in the making.

    Attributes:
        config: the constants.
        layout: the tables.
        state: what changes.
        events: what happens.
        actions: (N, A) int8, what was chosen; WAIT where that was not allowed.
        neighbours: (N, A, 4) int8, who stands north, east, south and west (-1 nobody, -2 off the grid).
        stage: the social stage.
        wages, punctuality, social, avoidance: (N, A) float32, what is earned in this tick.
        exits: (N, A) int8, why a life ended in this tick (`events.FAINT`, `events.EVICTION`), or 0.
    """

    config: TownConfig
    layout: Layout
    state: TownState
    events: EventLog
    actions: Array
    neighbours: Array
    stage: str
    wages: Array
    punctuality: Array
    social: Array
    avoidance: Array
    exits: Array

    @classmethod
    def begin(cls, config: TownConfig, layout: Layout, state: TownState, events: EventLog, *, stage: str) -> Tick:
        """Return a tick of which nothing has happened yet."""
        shape = state.present.shape
        earned = np.zeros((4, *shape), np.float32)
        return cls(
            config,
            layout,
            state,
            events,
            actions=np.zeros(shape, np.int8),
            neighbours=neighbours(state, layout),
            stage=stage,
            wages=earned[0],
            punctuality=earned[1],
            social=earned[2],
            avoidance=earned[3],
            exits=np.zeros(shape, np.int8),
        )

    def day_tick(self, offset: int) -> Array:
        """Return (N,) the tick of the day; `offset` is that at which the episode began."""
        return (self.state.tick + offset) % self.config.day_ticks

    def look_around(self) -> None:
        """See anew who stands next to whom, after somebody has moved."""
        self.neighbours = neighbours(self.state, self.layout)

    def draw(self, purpose: Draw, worlds: Array, slots: Array) -> Array:
        """Return a number in [0, 1) for each row of (worlds, slots), float64."""
        counters = self.state.tick[worlds] * _DRAWS + int(purpose)
        return randomness.uniform(self.state.agent_key[worlds, slots], counters)

    def draw_for_worlds(self, number: int) -> Array:
        """Return the `number`-th number of the tick in [0, 1) for each world, (N,) float64."""
        counters = self.state.tick * _DRAWS + int(Draw.PERTURBATION) + number
        return randomness.uniform(self.state.episode_key, counters)


def neighbours(state: TownState, layout: Layout) -> Array:
    """Return (N, A, 4) int8: who stands north, east, south and west of each agent, -1 nobody, -2 off the grid."""
    base = np.arange(state.num_worlds, dtype=np.int64)[:, None] * layout.num_cells + state.cell
    places = base[..., None] + layout.steps[1:]
    return state.who.reshape(-1).take(places)


def asleep(state: TownState, layout: Layout) -> Array:
    """Return (N, A) bool: the agent uses a bed."""
    is_bed = np.append(layout.kind == BED, False)
    return is_bed[state.using]
