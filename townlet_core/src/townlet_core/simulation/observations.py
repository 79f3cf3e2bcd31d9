"""Observations: a map of what lies around each agent, and named features of itself, its town and its ties.

Legend: N worlds, A agent slots, O objects, F features, H = W = 11 the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.employment import is_scheduled
from townlet_core.simulation.layout import NEAREST, RADIUS, WINDOW
from townlet_core.simulation.needs import wanted_kind

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.town import TownConfig
    from townlet_core.simulation.layout import Layout
    from townlet_core.simulation.state import TownState

MAP_CHANNELS = ("self", "agents", "objects", "reservations", "nearer", "goal")
"""Channels of the map; `hybrid` has the first four. The last two are the direction field of `full`: cells that are
nearer to the wanted object than the agent is, and the cell of the window that is nearest to it."""

SOCIAL_SLOTS = ("friend_1", "friend_2", "rival_1", "rival_2")
_SOCIAL_FIELDS = ("present", "dx", "dy", "trust", "familiarity", "rivalry")
FEATURES = (
    *("need_hunger", "need_hygiene", "need_energy", "wallet", "lateness_counter", "on_shift", "time_sin", "time_cos"),
    *("attendance_ratio", "wages_withheld", "shift_pre", "shift_on_time", "shift_late", "shift_absent", "shift_post"),
    *("embedding_slot_norm", "ctx_reset_flag", "episode_progress", "rivalry_max", "rivalry_avoid_count"),
    *("shift_ticks_to_start", "shift_ticks_to_end", "job_grocer", "job_cafe", "stock_low", "affordance_remaining"),
    *(f"cooldown_{kind}" for kind in ("fridge", "stove", "shower", "bed")),
    *("last_action_id", "last_action_success", "last_action_duration", "reservation_active", "in_queue"),
    *(f"path_hint_{way}" for way in ("north", "south", "east", "west")),
    *("neighbor_agent_ratio", "neighbor_object_ratio", "reserved_tile_ratio", "nearest_agent_distance"),
    *(f"{kind}_{way}" for kind in (*NEAREST, "work") for way in ("dx", "dy", "dist")),
    *(f"personality_{trait}" for trait in ("extroversion", "forgiveness", "ambition")),
    *(f"social_{slot}_{name}" for slot in SOCIAL_SLOTS for name in _SOCIAL_FIELDS),
    *("social_trust_mean", "social_trust_max", "social_rivalry_mean", "social_rivalry_max"),
)
"""Names of the features, in their order."""

COLUMN = {name: index for index, name in enumerate(FEATURES)}
LONG_USE_TICKS = 60.0
LONG_MISS_TICKS = 60.0
RICH_WALLET = 10.0
LOW_STOCK = 4
_KEY_SCALE = np.float32(2**20)
_PLACE_BITS, _PLACE_MASK = 12, 2**12 - 1
_FAR = np.int32((1000 << _PLACE_BITS) + 1000)


class Observer:
    """Makes the observations of `num_worlds` worlds into arrays of its own, anew at every call."""

    def __init__(self, layout: Layout, config: TownConfig, num_worlds: int, *, num_ticks: int, start_tick: int) -> None:
        self._layout, self._config = layout, config
        self._num_ticks, self._start_tick = num_ticks, start_tick
        shape = (num_worlds, layout.num_agents)
        self._features = np.zeros((*shape, len(FEATURES)), np.float32)
        self._base = np.arange(num_worlds, dtype=np.int64)[:, None] * layout.num_cells
        channels = {"compact": 0, "hybrid": 4, "full": 6}[config.variant]
        self._map = np.zeros((*shape, channels, WINDOW, WINDOW), np.uint8)
        if channels:
            self._map[:, :, 0, RADIUS, RADIUS] = 1
        self._float_map = self._map.astype(np.float32) if config.map_dtype == "float32" else None
        reach = np.arange(-RADIUS, WINDOW - RADIUS) * layout.width - RADIUS
        self._rows = np.asarray(reach, np.int64)
        day = np.arange(config.day_ticks) * (2 * np.pi / config.day_ticks)
        self._time = np.stack([np.sin(day), np.cos(day)]).astype(np.float32)

    def observe(self, state: TownState) -> dict[str, Array]:
        """Return `map` (N, A, C, H, W) unless the variant is `compact`, and `features` (N, A, F) float32.

        Rows of absent agents are zeros. The arrays are overwritten by the next call.
        """
        day_tick = (state.tick + self._start_tick) % self._config.day_ticks
        wanted = wanted_kind(state, self._layout, day_tick)
        self._write_features(state, day_tick, wanted)
        if self._map.shape[2] == 0:
            return {"features": self._features}
        self._write_map(state, wanted)
        if self._float_map is None:
            return {"map": self._map, "features": self._features}
        np.copyto(self._float_map, self._map)
        return {"map": self._float_map, "features": self._features}

    def _write_map(self, state: TownState, wanted: Array) -> None:
        layout, window = self._layout, self._map
        marks = (state.who >= 0).view(np.uint8)  # one bit for each of agents, objects, reservations
        busy = (state.user >= 0) | (state.reserved >= 0)
        marks[:, layout.object_cell] |= np.uint8(2) + (busy.view(np.uint8) << 2)
        row = np.dtype((np.void, WINDOW))
        strips = np.ndarray((marks.size - WINDOW + 1,), row, buffer=marks.data, strides=(1,))
        places = (self._base + state.cell)[..., None] + self._rows
        seen = strips[places].view(np.uint8).reshape(*state.cell.shape, WINDOW, WINDOW)
        np.bitwise_and(seen, 1, out=window[:, :, 1])
        window[:, :, 1, RADIUS, RADIUS] = 0
        np.right_shift(seen, 2, out=window[:, :, 3])
        seen >>= 1
        np.bitwise_and(seen, 1, out=window[:, :, 2])
        if window.shape[2] > 4:
            self._write_direction(state, wanted)
        window[:, :, 0, RADIUS, RADIUS] = state.present
        worlds, slots = np.nonzero(~state.present)
        window[worlds, slots] = 0

    def _write_direction(self, state: TownState, wanted: Array) -> None:
        """Write the direction field; nothing where no such object exists."""
        _layout, window = self._layout, self._map
        dy, dx, exists = self._way(state, wanted)
        steps = np.arange(-RADIUS, RADIUS + 1, dtype=np.int16)
        away = np.abs(dy[..., None] - steps)[..., :, None] + np.abs(dx[..., None] - steps)[..., None, :]
        nearer = away < (np.abs(dy) + np.abs(dx))[..., None, None]
        window[:, :, 4] = nearer & exists[..., None, None]
        window[:, :, 5] = 0
        worlds, slots = np.nonzero(exists)
        y = np.clip(dy, -RADIUS, RADIUS)[worlds, slots] + RADIUS
        x = np.clip(dx, -RADIUS, RADIUS)[worlds, slots] + RADIUS
        window[worlds, slots, 5, y, x] = 1

    def _way(self, state: TownState, wanted: Array) -> tuple[Array, Array, Array]:
        """Return rows and columns to the nearest wanted object, (N, A) int16 each, and whether there is one."""
        layout = self._layout
        thing = layout.nearest_object.reshape(-1).take(state.cell * layout.nearest_object.shape[1] + wanted)
        cells = np.append(layout.object_cell, 0)[thing]
        dy = (cells // layout.width - RADIUS - state.y).astype(np.int16)
        dx = (cells % layout.width - RADIUS - state.x).astype(np.int16)
        exists = thing >= 0
        return dy * exists, dx * exists, exists

    def _write_features(self, state: TownState, day_tick: Array, wanted: Array) -> None:
        features = self._features
        self._write_self(features, state, day_tick)
        self._write_actions(features, state)
        self._write_ways(features, state, wanted)
        self._write_neighbours(features, state)
        features[~state.present] = 0

    def _write_self(self, out: Array, state: TownState, day_tick: Array) -> None:
        layout, config = self._layout, self._config
        c = COLUMN
        out[..., c["need_hunger"]] = state.hunger
        out[..., c["need_hygiene"]] = state.hygiene
        out[..., c["need_energy"]] = state.energy
        np.minimum(state.wallet * np.float32(1 / RICH_WALLET), 1, out=out[..., c["wallet"]])
        np.minimum(state.missed * np.float32(1 / LONG_MISS_TICKS), 1, out=out[..., c["lateness_counter"]])
        out[..., c["on_shift"]] = is_scheduled(state, layout, day_tick)
        out[..., c["time_sin"]] = self._time[0][day_tick][:, None]
        out[..., c["time_cos"]] = self._time[1][day_tick][:, None]
        attended = state.attended_ticks / np.maximum(state.scheduled_ticks, 1).astype(np.float32)
        out[..., c["attendance_ratio"]] = np.where(state.scheduled_ticks > 0, attended, 1)
        wage = np.float32(1 / max(config.employment.daily_wage, 1e-6))
        np.minimum(state.wages_withheld * wage, 1, out=out[..., c["wages_withheld"]])
        first = c["shift_pre"]
        out[..., first : first + 5] = state.shift_state[..., None] == np.arange(5, dtype=np.int8)
        out[..., c["embedding_slot_norm"]] = np.arange(layout.num_agents) / max(layout.num_agents - 1, 1)
        out[..., c["ctx_reset_flag"]] = state.age == 0
        out[..., c["episode_progress"]] = (state.tick / self._num_ticks)[:, None]
        np.minimum(state.avoid_count * np.float32(0.1), 1, out=out[..., c["rivalry_avoid_count"]])
        has_job = layout.job >= 0
        day = np.float32(1 / config.day_ticks)
        now = day_tick[:, None].astype(np.float32)
        out[..., c["shift_ticks_to_start"]] = np.clip((layout.shift_start - now) * day, -1, 1) * has_job
        out[..., c["shift_ticks_to_end"]] = np.clip((layout.shift_end - now) * day, -1, 1) * has_job
        out[..., c["job_grocer"]] = layout.job == 0
        out[..., c["job_cafe"]] = layout.job == 1
        stock = state.stock[:, layout.fridges].sum(axis=1)
        is_low = (stock <= LOW_STOCK * len(layout.fridges)) & (len(layout.fridges) > 0)
        out[..., c["stock_low"]] = is_low[:, None]
        first = c["personality_extroversion"]
        out[..., first : first + 3] = state.personality

    def _write_actions(self, out: Array, state: TownState) -> None:
        c = COLUMN
        np.minimum(state.remaining * np.float32(1 / LONG_USE_TICKS), 1, out=out[..., c["affordance_remaining"]])
        left = np.maximum(state.cooldown_until - state.tick[:, None, None].astype(np.int32), 0)
        for offset in range(4):
            things = np.flatnonzero(self._layout.kind == offset)
            if len(things):
                soonest = left[:, :, things].min(axis=2)
                np.minimum(soonest * np.float32(1 / LONG_USE_TICKS), 1, out=out[..., c["cooldown_fridge"] + offset])
        out[..., c["last_action_id"]] = state.last_action * np.float32(1 / 7)
        out[..., c["last_action_success"]] = state.last_success
        np.minimum(state.last_duration * np.float32(1 / LONG_USE_TICKS), 1, out=out[..., c["last_action_duration"]])
        is_queued = state.queue >= 0
        out[..., c["in_queue"]] = is_queued
        promised = np.append(state.reserved, np.full((len(state.reserved), 1), -1, np.int8), axis=1)
        rows = np.arange(state.num_worlds)[:, None]
        holder = promised[rows, state.queue]
        out[..., c["reservation_active"]] = is_queued & (holder == np.arange(self._layout.num_agents))

    def _write_ways(self, out: Array, state: TownState, wanted: Array) -> None:
        layout, c = self._layout, COLUMN
        dy, dx, _ = self._way(state, wanted)
        first = c["path_hint_north"]
        for offset, is_there in enumerate((dy < 0, dy > 0, dx > 0, dx < 0)):
            out[..., first + offset] = is_there
        first = c["fridge_dx"]
        out[..., first : first + 12] = layout.nearest.take(state.cell, axis=0)
        out[..., first + 12 : first + 15] = layout.nearest_work[layout.job, state.cell]
        near = layout.near_objects.take(state.cell, axis=0)
        busy = (state.user >= 0) | (state.reserved >= 0)
        share = np.float32(1 / max(layout.num_objects, 1))
        out[..., c["neighbor_object_ratio"]] = near.sum(axis=-1, dtype=np.int16) * share
        near &= busy[:, None, :]
        out[..., c["reserved_tile_ratio"]] = near.sum(axis=-1, dtype=np.int16) * share

    def _write_neighbours(self, out: Array, state: TownState) -> None:
        """Write what concerns the other agents; pair arrays keep the other one's axis outermost in memory."""
        layout, c = self._layout, COLUMN
        num_agents = layout.num_agents
        first = c["social_friend_1_present"]
        if num_agents == 1:
            out[..., c["nearest_agent_distance"]] = 1
            return
        others = self._others_places(state)
        away_y = np.abs((others >> _PLACE_BITS) - state.y)  # (A, N, A): of the other, the world, the agent
        away_x = np.abs((others & _PLACE_MASK) - state.x)
        near = np.maximum(away_y, away_x) <= RADIUS
        out[..., c["neighbor_agent_ratio"]] = near.sum(axis=0, dtype=np.int16) * np.float32(1 / (num_agents - 1))
        away_y += away_x
        distance = np.minimum(away_y.min(axis=0), layout.rows + layout.columns)
        out[..., c["nearest_agent_distance"]] = distance * np.float32(1 / (layout.rows + layout.columns))
        trust, familiarity, rivalry = (
            np.ascontiguousarray(tie.transpose(2, 0, 1)) for tie in (state.trust, state.familiarity, state.rivalry)
        )
        top_rivalry = rivalry.max(axis=0)
        out[..., c["rivalry_max"]] = top_rivalry
        self._write_social(out[..., first : first + 24], state, trust, familiarity, rivalry)
        share = np.float32(1 / (num_agents - 1))
        last = c["social_trust_mean"]
        out[..., last] = trust.sum(axis=0) * share
        out[..., last + 1] = trust.max(axis=0)
        out[..., last + 2] = rivalry.sum(axis=0) * share
        out[..., last + 3] = top_rivalry

    def _others_places(self, state: TownState) -> Array:
        """Return (A, N, A) int32, row and column of each other agent in one number; far off for itself and the absent.

        The other one's axis is the outermost, so that what follows runs along memory.
        """
        shape = state.present.shape
        place = np.where(state.present, (state.y.astype(np.int32) << _PLACE_BITS) + state.x, _FAR)
        index = np.arange(shape[1])[:, None, None] + (np.arange(shape[0]) * shape[1])[:, None]
        others = place.reshape(-1).take(np.broadcast_to(index, (shape[1], *shape)))
        slots = np.arange(shape[1])
        others[slots, :, slots] = _FAR
        return others

    def _write_social(self, out: Array, state: TownState, trust: Array, familiarity: Array, rivalry: Array) -> None:
        """Write (N, A, 24): two best friends and two worst rivals, six numbers each, zeros where missing.

        Args:
            out: the columns.
            state: the town.
            trust: (A, N, A) of the other, the world and the agent; so are the next two. Ties to absent agents are 0.
            familiarity: the same.
            rivalry: the same.
        """
        layout, shape = self._layout, state.present.shape
        chosen = np.stack([*_two_best(trust + familiarity), *_two_best(rivalry)])  # (4, N, A)
        found = chosen >= 0
        slot = np.maximum(chosen, 0).astype(np.int64)
        flat = slot * state.present.size + np.arange(state.present.size).reshape(shape)
        there = slot + (np.arange(shape[0]) * shape[1])[:, None]
        columns = (
            found,
            (state.x.reshape(-1).take(there) - state.x) * np.float32(1 / layout.columns) * found,
            (state.y.reshape(-1).take(there) - state.y) * np.float32(1 / layout.rows) * found,
            *(tie.reshape(-1).take(flat) * found for tie in (trust, familiarity, rivalry)),
        )
        for place, column in enumerate(columns):
            for one in range(4):
                out[..., one * 6 + place] = column[one]


def _two_best(score: Array) -> list[Array]:
    """Return the slots of the best and the second best other, (N, A) each, by a score (A, N, A) above 0; -1 without."""
    num_agents = len(score)
    keys = (score * _KEY_SCALE).astype(np.int32)
    keys *= num_agents
    keys += np.arange(num_agents - 1, -1, -1, dtype=np.int32)[:, None, None]  # of equals, the lower slot
    best = keys.max(axis=0)
    second = np.where(keys == best, -1, keys).max(axis=0)
    return [np.where(key >= num_agents, num_agents - 1 - key % num_agents, -1) for key in (best, second)]
