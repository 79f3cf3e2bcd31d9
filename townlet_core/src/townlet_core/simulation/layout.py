"""What never changes in a town: its scenario as tables over the cells of the padded grid, objects and slots.

The grid has a border of `RADIUS` cells on each side, so that every window around an agent lies within it. A cell's
number is its place in the padded grid, row by row.

Legend: A agent slots, O objects, C cells of the padded grid, K kinds of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.config.scenario import JOB_KINDS, OBJECT_KINDS

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import TownConfig

RADIUS = 5
WINDOW = 2 * RADIUS + 1
FRIDGE, STOVE, SHOWER, BED, GROCER, CAFE = range(len(OBJECT_KINDS))
NEAREST = ("fridge", "stove", "bed", "shower")
"""Kinds whose nearest object an agent feels, in the order of the features."""


@dataclass(frozen=True, slots=True)
class Affordance:
    """What a use does: how long it takes, and what it changes when it is done (money when it begins)."""

    name: str
    ticks: int
    hunger: float = 0.0
    hygiene: float = 0.0
    energy: float = 0.0
    price: float = 0.0


AFFORDANCES = (
    Affordance("eat_meal", 15, hunger=0.40, energy=0.05, price=0.4),
    Affordance("cook_meal", 40, hunger=0.10, energy=-0.05, price=0.15),
    Affordance("use_shower", 30, hygiene=0.45, energy=-0.03, price=0.2),
    Affordance("rest_sleep", 60, energy=0.80),
    Affordance("work", 0),
    Affordance("work", 0),
)
"""By kind of object."""
MEALS_COOKED = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """Tables of a scenario.

    Attributes:
        rows, columns: size of the grid. [tiles]
        width: columns of the padded grid.
        num_agents: A.
        num_objects: O.
        num_cells: C.
        steps: (5,) int32, what each of wait, north, east, south, west adds to a cell number.
        kind: (O,) int8, index into `OBJECT_KINDS`.
        object_cell: (O,) int32.
        capacity: (O,) int16.
        price, ticks: (K,) float32 and int32.
        effects: (K, 3) float32 on hunger, hygiene, energy.
        in_reach: (C, K) int8, the object that `use` means on a cell by an agent who wants kind k, or -1.
        nearest: (C, 12) float32: dx, dy, dist of the nearest fridge, stove, bed and shower, scaled; zeros without one.
        nearest_work: (3, C, 3) float32, the same of the workplace of each job; the last row is for no job.
        nearest_object: (C, K) int16, the nearest object of a kind, or -1.
        near_objects: (C, O) bool, the object lies in the window.
        border: (C,) bool, off the grid.
        fridges: indices of the fridges.
        job: (A,) int8, index into `JOB_KINDS`, or -1.
        shift_start, shift_end: (A,) int32, tick of the day; 0 without a job.
        wage: (A,) float32, for a tick of the slot's shift. [meals]
    """

    rows: int
    columns: int
    width: int
    num_agents: int
    num_objects: int
    num_cells: int
    steps: Array
    kind: Array
    object_cell: Array
    capacity: Array
    price: Array
    ticks: Array
    effects: Array
    in_reach: Array
    nearest: Array
    nearest_work: Array
    nearest_object: Array
    near_objects: Array
    border: Array
    fridges: Array
    job: Array
    shift_start: Array
    shift_end: Array
    wage: Array

    @classmethod
    def of(cls, scenario: ScenarioConfig, config: TownConfig) -> Layout:
        """Return the tables of a scenario."""
        rows, columns = scenario.size
        width = columns + 2 * RADIUS
        num_cells = (rows + 2 * RADIUS) * width
        kind = np.array([OBJECT_KINDS.index(thing.kind) for thing in scenario.objects], np.int8)
        at = np.array([thing.at for thing in scenario.objects], np.int32).reshape(-1, 2)
        object_cell = ((at[:, 0] + RADIUS) * width + at[:, 1] + RADIUS).astype(np.int32)
        y, x = np.divmod(np.arange(num_cells), width)
        y, x = y - RADIUS, x - RADIUS
        border = (y < 0) | (y >= rows) | (x < 0) | (x >= columns)
        away_y, away_x = at[:, 0] - y[:, None], at[:, 1] - x[:, None]  # (C, O)
        nearest_object = _nearest(kind, np.abs(away_y) + np.abs(away_x))
        ways = _ways(nearest_object, away_y, away_x, rows=rows, columns=columns)
        near = (np.abs(away_y) <= RADIUS) & (np.abs(away_x) <= RADIUS)
        work = np.zeros((len(JOB_KINDS) + 1, num_cells, 3), np.float32)
        for index, name in enumerate(JOB_KINDS):
            work[index] = ways[:, OBJECT_KINDS.index(name)]
        slots = [agent for agent in scenario.agents for _ in range(agent.count)]
        shifts = np.array([agent.shift or (0, 0) for agent in slots], np.int32)
        length = np.maximum(shifts[:, 1] - shifts[:, 0], 1)
        job = np.array([-1 if agent.job is None else JOB_KINDS.index(agent.job) for agent in slots], np.int8)
        return cls(
            rows=rows,
            columns=columns,
            width=width,
            num_agents=len(slots),
            num_objects=len(kind),
            num_cells=num_cells,
            steps=np.array([0, -width, 1, width, -1], np.int32),
            kind=kind,
            object_cell=object_cell,
            capacity=np.array(
                [thing.capacity if thing.kind in JOB_KINDS else 1 for thing in scenario.objects], np.int16
            ),
            price=np.array([affordance.price for affordance in AFFORDANCES], np.float32),
            ticks=np.array([affordance.ticks for affordance in AFFORDANCES], np.int32),
            effects=np.array([(one.hunger, one.hygiene, one.energy) for one in AFFORDANCES], np.float32),
            in_reach=_in_reach(kind, np.abs(away_y) + np.abs(away_x)),
            nearest=np.ascontiguousarray(
                np.concatenate([ways[:, OBJECT_KINDS.index(name)] for name in NEAREST], axis=1)
            ),
            nearest_work=work,
            nearest_object=nearest_object,
            near_objects=near,
            border=border,
            fridges=np.flatnonzero(kind == FRIDGE),
            job=job,
            shift_start=shifts[:, 0].copy(),
            shift_end=shifts[:, 1].copy(),
            wage=np.where(job >= 0, config.employment.daily_wage / length, 0).astype(np.float32),
        )


def _nearest(kind: Array, distance: Array) -> Array:
    """Return (C, K) int16: the nearest object of each kind, the first by number among equals, or -1."""
    found = np.full((len(distance), len(OBJECT_KINDS)), -1, np.int16)
    for index in range(len(OBJECT_KINDS)):
        things = np.flatnonzero(kind == index)
        if len(things):
            found[:, index] = things[distance[:, things].argmin(axis=1)]
    return found


def _ways(nearest_object: Array, away_y: Array, away_x: Array, *, rows: int, columns: int) -> Array:
    """Return (C, K, 3) float32: dx, dy and distance to the nearest object of each kind, scaled; zeros without one."""
    ways = np.zeros((*nearest_object.shape, 3), np.float32)
    cells, kinds = np.nonzero(nearest_object >= 0)
    things = nearest_object[cells, kinds]
    dy, dx = away_y[cells, things], away_x[cells, things]
    ways[cells, kinds, 0] = dx / columns
    ways[cells, kinds, 1] = dy / rows
    ways[cells, kinds, 2] = (np.abs(dy) + np.abs(dx)) / (rows + columns)
    return ways


def _in_reach(kind: Array, distance: Array) -> Array:
    """Return (C, K) int8: the object here, else an adjacent one of the wanted kind, else the first adjacent, or -1."""
    num_objects = distance.shape[1]
    found = np.full((len(distance), len(OBJECT_KINDS)), -1, np.int8)
    for thing in range(num_objects - 1, -1, -1):
        found[distance[:, thing] == 1] = thing
    for thing in range(num_objects - 1, -1, -1):
        found[distance[:, thing] == 1, kind[thing]] = thing
    for thing in range(num_objects):
        found[distance[:, thing] == 0] = thing
    return found
