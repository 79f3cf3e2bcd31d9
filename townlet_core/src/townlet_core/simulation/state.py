"""Everything that changes in a town, as arrays: what a snapshot holds, and all that the next tick depends on.

Legend: N worlds, A agent slots, O objects, C cells of the padded grid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array

NOBODY = -1
BORDER = -2


@dataclass(slots=True)
class TownState:
    """One row for each world; `empty` allocates, `lives` fills.

    Attributes:
        world_key: (N,) uint64, of seed and world.
        episode_key: (N,) uint64, of the running episode; of every number that is drawn for the world.
        agent_key: (N, A) uint64, of the slot in the running episode.
        episode: (N,) int64, resets of the world after the first.
        tick: (N,) int64, ticks made in the episode.
        who: (N, C) int8, the slot that stands on a cell of the padded grid, -1 nobody, -2 off the grid.
        present: (N, A) bool.
        life: (N, A) int32, number of the slot's life within the episode, from 0.
        age: (N, A) int32, ticks of the life.
        empty_ticks: (N, A) int16, ticks until a newcomer moves in.
        cell, y, x: (N, A) int32 and int16, where the agent stands, in the padded grid and on the grid.
        hunger, hygiene, energy: (N, A) float32 in [0, 1], 1 = satisfied.
        wallet: (N, A) float32. [meals]
        personality: (N, A, 3) float32 in [-1, 1]: extroversion, forgiveness, ambition.
        trust, familiarity: (N, A, A) float32 in [-1, 1], of the first agent towards the second.
        rivalry: (N, A, A) float32 in [0, 1], likewise.
        using: (N, A) int8, the object in use, or -1.
        remaining: (N, A) int32, ticks until that ends.
        queue: (N, A) int8, the object that is waited for, or -1; it stays until the use begins.
        queue_since: (N, A) int64, tick at which the waiting began.
        blocked: (N, A) int8, attempts refused since then.
        cooldown_until: (N, A, O) int32, tick from which the object may be used again.
        covering: (N, A) int8, the slot whose shift is worked, or -1.
        shift_state: (N, A) int8: 0 pre_shift, 1 on_time, 2 late, 3 absent, 4 post_shift, -1 no job.
        missed: (N, A) int32, ticks of the running shift that were not worked.
        was_punctual: (N, A) bool, the bonus of the running shift is paid.
        scheduled_ticks, attended_ticks: (N, A) int32, of the life's shifts, and those of them that were worked.
        wages_withheld: (N, A) float32, since the shift began. [meals]
        unpaid_rents: (N, A) int8, in a row.
        avoid_count: (N, A) int32, times that a rival was avoided in the life.
        life_return: (N, A) float64, rewards of the life so far.
        last_action: (N, A) int8; last_success: (N, A) bool; last_duration: (N, A) int32, ticks of the same action.
        user: (N, O) int8, who uses the object (not workplaces), or -1.
        reserved: (N, O) int8, to whom it is promised, or -1.
        last_user: (N, O) int8, who has just left it, until somebody takes it, or -1.
        stock: (N, O) int16, meals in a fridge.
        perturbation: (N, 4) int32, ticks that each kind goes on for.
        perturbation_cooldown: (N, 4) int32, ticks until the kind can come again.
        price_factor: (N,) float32.
        evictions_today: (N,) int16; last_eviction: (N,) int64, tick of the last one.
        since_city_event: (N,) int32, ticks since a price spike, blackout or outage went on.
    """

    world_key: Array
    episode_key: Array
    agent_key: Array
    episode: Array
    tick: Array
    who: Array
    present: Array
    life: Array
    age: Array
    empty_ticks: Array
    cell: Array
    y: Array
    x: Array
    hunger: Array
    hygiene: Array
    energy: Array
    wallet: Array
    personality: Array
    trust: Array
    familiarity: Array
    rivalry: Array
    using: Array
    remaining: Array
    queue: Array
    queue_since: Array
    blocked: Array
    cooldown_until: Array
    covering: Array
    shift_state: Array
    missed: Array
    was_punctual: Array
    scheduled_ticks: Array
    attended_ticks: Array
    wages_withheld: Array
    unpaid_rents: Array
    avoid_count: Array
    life_return: Array
    last_action: Array
    last_success: Array
    last_duration: Array
    user: Array
    reserved: Array
    last_user: Array
    stock: Array
    perturbation: Array
    perturbation_cooldown: Array
    price_factor: Array
    evictions_today: Array
    last_eviction: Array
    since_city_event: Array

    @classmethod
    def empty(cls, num_worlds: int, num_agents: int, num_objects: int, num_cells: int) -> TownState:
        """Return a state of zeros, in which nobody is present."""
        axes = {"N": num_worlds, "A": num_agents, "O": num_objects, "C": num_cells, "3": 3, "4": 4}
        arrays: dict[str, Array] = {}
        for name, (letters, kind) in _LAYOUT.items():
            shape = tuple(axes[letter] for letter in letters)
            if letters == "NAA":  # the second agent's axis lies outermost: reductions over it then run along memory
                arrays[name] = np.zeros((num_agents, num_worlds, num_agents), kind).transpose(1, 2, 0)
            elif letters == "NAO":
                arrays[name] = np.zeros((num_objects, num_worlds, num_agents), kind).transpose(1, 2, 0)
            else:
                arrays[name] = np.zeros(shape, kind)
        return cls(**arrays)

    @property
    def num_worlds(self) -> int:
        """N."""
        return len(self.tick)

    def snapshot(self) -> dict[str, Array]:
        """Return a copy of every array, by name."""
        return {name: np.array(getattr(self, name), order="C") for name in _LAYOUT}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take up what `snapshot` returned.

        Raises:
            ValueError: an array is missing, or has another shape or type.
        """
        for name in _LAYOUT:
            own = getattr(self, name)
            given = arrays.get(name)
            if given is None or given.shape != own.shape or given.dtype != own.dtype:
                found = "nothing" if given is None else f"{given.dtype}{given.shape}"
                raise ValueError(f"the snapshot's '{name}' is {found}; expected {own.dtype}{own.shape}")
        for name in _LAYOUT:
            getattr(self, name)[...] = arrays[name]

    def take(self, worlds: Array) -> TownState:
        """Return a copy of some worlds' rows."""
        return TownState(**{name: getattr(self, name)[worlds] for name in _LAYOUT})


_LAYOUT: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("world_key", "episode_key"), ("N", np.uint64)),
    "agent_key": ("NA", np.uint64),
    **dict.fromkeys(("episode", "tick", "last_eviction"), ("N", np.int64)),
    "who": ("NC", np.int8),
    **dict.fromkeys(("present", "was_punctual", "last_success"), ("NA", np.bool_)),
    **dict.fromkeys(
        ("life", "age", "cell", "remaining", "missed", "scheduled_ticks", "attended_ticks", "avoid_count"),
        ("NA", np.int32),
    ),
    "last_duration": ("NA", np.int32),
    **dict.fromkeys(("empty_ticks", "y", "x"), ("NA", np.int16)),
    **dict.fromkeys(("hunger", "hygiene", "energy", "wallet", "wages_withheld"), ("NA", np.float32)),
    "personality": ("NA3", np.float32),
    **dict.fromkeys(("trust", "familiarity", "rivalry"), ("NAA", np.float32)),
    **dict.fromkeys(
        ("using", "queue", "blocked", "covering", "shift_state", "unpaid_rents", "last_action"), ("NA", np.int8)
    ),
    "queue_since": ("NA", np.int64),
    "cooldown_until": ("NAO", np.int32),
    "life_return": ("NA", np.float64),
    **dict.fromkeys(("user", "reserved", "last_user"), ("NO", np.int8)),
    "stock": ("NO", np.int16),
    **dict.fromkeys(("perturbation", "perturbation_cooldown"), ("N4", np.int32)),
    "price_factor": ("N", np.float32),
    "evictions_today": ("N", np.int16),
    "since_city_event": ("N", np.int32),
}
"""Axes and type of each array."""

assert {field.name for field in fields(TownState)} == _LAYOUT.keys()
