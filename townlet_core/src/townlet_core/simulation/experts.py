"""The script: a competent citizen that decides from what an agent sees alone, so that it can be cloned.

It has no state and draws no number: equal features and masks give equal actions.

Legend: N worlds, A agent slots, F features, K = 8 actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.layout import AFFORDANCES, BED, FRIDGE, SHOWER, STOVE
from townlet_core.simulation.observations import COLUMN
from townlet_core.simulation.tick import Action

if TYPE_CHECKING:
    from townlet_core.arrays import Array

HUNGRY, DIRTY, TIRED = 0.72, 0.62, 0.42
BEFORE_WORK = 0.2
"""How much higher the thresholds are in the hours before a shift."""
URGENCY = np.array([4.0, 1.0, 1.0])
"""How much a shortfall of hunger, hygiene and energy weighs against the others."""
EVENING_TICKS = 200
"""How long before a shift that is. [ticks]"""
MARGIN_TICKS = 8
"""How much earlier than the way takes one sets out for work. [ticks]"""
FAMISHED, COOK_FIRST = 0.3, 0.55
"""Hunger below which nobody cooks, and above which a hungry agent cooks first when stocks are low."""
SOCIABLE, RIVAL, AMBITIOUS = 0.0, 0.7, 0.2
"""Extroversion of those who chat, rivalry that is kept away from, ambition of those who cook for all."""
_GOALS = ("fridge", "stove", "shower", "bed", "work")
_WORK = len(_GOALS) - 1


class Script:
    """Decides for all agents at once.

    Args:
        rows, columns: size of the grid, which the features of distance are scaled by. [tiles]
        day_ticks: length of a day, which those of time are scaled by. [ticks]
    """

    def __init__(self, *, rows: int, columns: int, day_ticks: int) -> None:
        self._size = np.array([columns, rows], np.float32)
        self._tiles = rows + columns
        self._day_ticks = day_ticks

    def actions(self, features: Array, mask: Array) -> Array:
        """Return (N, A) int64 actions of `Action`, each allowed by the mask.

        The first that applies: go on with what is begun; take what is promised; wait in the queue; go to work in time;
        see to the worst need below its threshold, or cook when stocks are low; keep away from a rival; talk; make room.

        Args:
            features: (N, A, F) float32.
            mask: (N, A, K) bool.
        """
        see = {name: features[..., column] for name, column in COLUMN.items()}
        goal = self._goal(see)
        distance = self._distances(see, goal)
        is_there = (goal >= 0) & (distance < 1.5)
        chosen = self._pastime(see, mask)
        walk = step_towards(*self._way(see, goal), mask, _last(see))
        chosen = np.where((goal >= 0) & ~is_there, walk, chosen)
        chosen = np.where(is_there & mask[..., Action.USE], Action.USE, chosen)
        is_queued = see["in_queue"] > 0
        must_go = is_queued & (goal >= 0) & ~is_there
        chosen = np.where(is_queued, np.where(must_go, Action.LEAVE, Action.WAIT), chosen)
        chosen = np.where(see["reservation_active"] > 0, Action.USE, chosen)
        chosen = np.where(see["affordance_remaining"] > 0, Action.WAIT, chosen)
        allowed = np.take_along_axis(mask, chosen[..., None], axis=-1)[..., 0]
        return np.where(allowed, chosen, Action.WAIT)

    def _goal(self, see: dict[str, Array]) -> Array:
        """Return (N, A) the index in `_GOALS` of where each agent is going, or -1."""
        has_job = (see["job_grocer"] + see["job_cafe"]) > 0
        to_start = see["shift_ticks_to_start"] * self._day_ticks
        to_end = see["shift_ticks_to_end"] * self._day_ticks
        walk = see["work_dist"] * self._tiles
        spare = np.where(has_job & (to_end > 0), to_start - walk - MARGIN_TICKS, 10_000)
        is_work_time = has_job & (to_end > 0) & (spare <= 0)
        lift = np.where((spare > 0) & (spare < EVENING_TICKS), BEFORE_WORK, 0)
        needs = np.stack([see["need_hunger"], see["need_hygiene"], see["need_energy"]])
        limits = np.stack([HUNGRY + lift, DIRTY + lift * 0.5, TIRED + lift])
        shortfall = (limits - needs) * URGENCY[:, None, None]
        kinds = (FRIDGE, SHOWER, BED)
        for row, kind in enumerate(kinds):
            name = _GOALS[kind]
            fits = spare > see[f"{name}_dist"] * self._tiles + AFFORDANCES[kind].ticks
            can = (see[f"cooldown_{name}"] <= 0) & fits
            shortfall[row] = np.where(can, shortfall[row], -1)
        worst = shortfall.argmax(axis=0)
        goal = np.where(shortfall.max(axis=0) > 0, np.array(kinds)[worst], -1)
        is_hungry = goal == FRIDGE
        cooks = (see["stock_low"] > 0) & (see["cooldown_stove"] <= 0) & (see["need_energy"] > 0.15)
        cooks &= (spare > see["stove_dist"] * self._tiles + AFFORDANCES[STOVE].ticks) & (see["need_hunger"] > FAMISHED)
        cooks &= (goal < 0) & (see["personality_ambition"] > AMBITIOUS) | is_hungry & (see["need_hunger"] > COOK_FIRST)
        goal = np.where(cooks, STOVE, goal)
        return np.where(is_work_time, _WORK, goal)

    def _distances(self, see: dict[str, Array], goal: Array) -> Array:
        """Return (N, A) tiles to the goal."""
        each = np.stack([see[f"{name}_dist"] for name in _GOALS])
        return np.asarray(np.take_along_axis(each, np.maximum(goal, 0)[None], axis=0)[0] * self._tiles)

    def _way(self, see: dict[str, Array], goal: Array) -> tuple[Array, Array]:
        """Return how far the goal is to the east and to the south, in tiles, (N, A) each."""
        ways = (np.stack([see[f"{name}_{axis}"] for name in _GOALS]) for axis in ("dx", "dy"))
        dx, dy = (np.take_along_axis(way, np.maximum(goal, 0)[None], axis=0)[0] for way in ways)
        return dx * self._size[0], dy * self._size[1]

    def _pastime(self, see: dict[str, Array], mask: Array) -> Array:
        """Return (N, A) what is done without a goal."""
        each = np.stack([see[f"{name}_dist"] for name in _GOALS]) * self._tiles
        each = np.where(each > 0, each, np.inf)  # on the object itself nobody is in the way of the last one
        blocks = each.min(axis=0) < 1.5
        dx, dy = self._way(see, each.argmin(axis=0))
        chosen = np.where(blocks, step_towards(-dx, -dy, mask, _last(see)), Action.WAIT)
        chats = (see["personality_extroversion"] > SOCIABLE) & mask[..., Action.CHAT]
        chosen = np.where(chats, Action.CHAT, chosen)
        rival_x = see["social_rival_1_dx"] * self._size[0]
        rival_y = see["social_rival_1_dy"] * self._size[1]
        is_close = (see["social_rival_1_rivalry"] >= RIVAL) & (np.abs(rival_x) + np.abs(rival_y) < 1.5)
        return np.where(is_close, step_towards(-rival_x, -rival_y, mask, _last(see)), chosen)


def _last(see: dict[str, Array]) -> Array:
    last: Array = np.rint(see["last_action_id"] * (len(Action) - 1)).astype(np.int64)
    return last


def step_towards(dx: Array, dy: Array, mask: Array, last: Array) -> Array:
    """Return (N, A) int64 a move along (dx, dy): the longer way, else the other one, else aside; WAIT if all is shut.

    Nobody goes back to where it came from while another way is open: so one finds around others who stand in the way.

    Args:
        dx: (N, A) how far it is to the east. [tiles]
        dy: (N, A) how far it is to the south. [tiles]
        mask: (N, A, K) bool.
        last: (N, A) int64, the action before.
    """
    ways = np.stack([-dy, dx, dy, -dx], axis=-1)
    scores = np.where(ways > 0, 2.0, np.where(ways < 0, 0.0, 1.0))
    scores += ways / (np.abs(ways).max(axis=-1, keepdims=True) + 1.0)
    scores[_REVERSE[last]] -= 8.0
    scores[~mask[..., Action.NORTH : Action.WEST + 1]] = -16.0
    return np.where(scores.max(axis=-1) > -16.0, scores.argmax(axis=-1) + int(Action.NORTH), int(Action.WAIT))


_REVERSE = np.zeros((len(Action), 4), np.bool_)
_REVERSE[[Action.NORTH, Action.EAST, Action.SOUTH, Action.WEST], [2, 3, 0, 1]] = True
