"""Relationships: trust, familiarity and rivalry of one agent towards another; chats; keeping away from rivals.

Legend: N worlds, A agent slots, E rows (a pair of agents of a world each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.tick import Action, Draw, asleep

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick

SHARED_MEAL = (0.10, 0.25, 0.0)
CHAT_SUCCESS = (0.05, 0.10, 0.0)
CHAT_FAILURE = (0.0, -0.05, 0.05)
HELPED_WHEN_LATE = (0.20, 0.10, -0.10)
TOOK_MY_SHIFT = (-0.10, 0.0, 0.30)
BLOCKED = (0.0, -0.05, 0.15)
HANDOVER = (0.05, 0.05, -0.05)
"""Changes of (trust, familiarity, rivalry)."""

CHAT_CHANCE, CHAT_TRUST, CHAT_FAMILIARITY = 0.7, 0.3, 0.2
LEAST_QUALITY = 0.4


def decay(tick: Tick) -> None:
    """Let every tie fall towards 0."""
    state, rates = tick.state, tick.config.ties
    limit = np.float32(rates.trust_decay)
    for tie in (state.trust, state.familiarity):
        np.subtract(tie, np.clip(tie, -limit, limit), out=tie)
    state.rivalry -= np.float32(rates.rivalry_decay)
    np.maximum(state.rivalry, 0, out=state.rivalry)


def relate(
    tick: Tick,
    worlds: Array,
    agents: Array,
    others: Array,
    deltas: tuple[float, float, float],
    scale: Array | float = 1,
) -> None:
    """Change what `agents` feel towards `others`; each (world, agent, other) stands there once.

    Args:
        tick: the tick.
        worlds: (E,).
        agents: (E,) who feels.
        others: (E,) towards whom.
        deltas: changes of trust, familiarity, rivalry.
        scale: (E,) factor of the changes.
    """
    if len(worlds) == 0:
        return
    state = tick.state
    for tie, delta, low in (
        (state.trust, deltas[0], -1),
        (state.familiarity, deltas[1], -1),
        (state.rivalry, deltas[2], 0),
    ):
        if delta:
            tie[worlds, agents, others] = np.clip(tie[worlds, agents, others] + np.float32(delta) * scale, low, 1)
    keep_strongest(state, tick.config.ties.most_ties, worlds, agents)


def relate_both(
    tick: Tick,
    worlds: Array,
    agents: Array,
    others: Array,
    deltas: tuple[float, float, float],
    scale: Array | float = 1,
) -> None:
    """Change what two agents feel towards each other; see `relate`."""
    relate(tick, worlds, agents, others, deltas, scale)
    relate(tick, worlds, others, agents, deltas, scale)


def keep_strongest(state: TownState, most: int, worlds: Array, agents: Array) -> None:
    """Forget the weakest ties of the agents at (worlds, agents) who have more than `most`."""
    if state.present.shape[1] - 1 <= most:
        return
    strength = (
        np.abs(state.trust[worlds, agents]) + np.abs(state.familiarity[worlds, agents]) + state.rivalry[worlds, agents]
    )
    rows = np.flatnonzero(np.count_nonzero(strength, axis=1) > most)
    if len(rows) == 0:
        return
    order = np.argsort(-strength[rows], axis=1, kind="stable")[:, most:]
    rows, forgotten = np.repeat(rows, order.shape[1]), order.reshape(-1)
    for tie in (state.trust, state.familiarity, state.rivalry):
        tie[worlds[rows], agents[rows], forgotten] = 0


def forget(tick: Tick, worlds: Array, slots: Array) -> None:
    """Forget all ties from and to the lives at (worlds, slots)."""
    for tie in (tick.state.trust, tick.state.familiarity, tick.state.rivalry):
        tie[worlds, slots] = 0
        tie[worlds, :, slots] = 0


def listeners(tick: Tick) -> Array:
    """Return (N, A, 4) bool: the neighbour there is somebody to talk to."""
    state = tick.state
    is_awake = ~asleep(state, tick.layout) & state.present
    rows = np.arange(state.num_worlds)[:, None, None]
    return (tick.neighbours >= 0) & is_awake[rows, np.maximum(tick.neighbours, 0)]


def chat(tick: Tick) -> None:
    """Let those who chose it talk to the neighbour whom they like best."""
    state = tick.state
    heard = listeners(tick)
    speaks = tick.actions == Action.CHAT
    state.last_success[speaks & ~heard.any(axis=-1)] = False  # it has walked off, or fallen asleep, in this very tick
    worlds, agents = np.nonzero(speaks & heard.any(axis=-1))
    if len(worlds) == 0:
        return
    near = tick.neighbours[worlds, agents]
    liking = (
        state.trust[worlds[:, None], agents[:, None], near] + state.familiarity[worlds[:, None], agents[:, None], near]
    )
    liking = np.where(heard[worlds, agents], liking, -np.inf)
    is_best = liking == liking.max(axis=1, keepdims=True)
    turn = (tick.draw(Draw.CHAT_CHOICE, worlds, agents) * is_best.sum(axis=1)).astype(np.int64)
    pick = (is_best & (np.cumsum(is_best, axis=1) == turn[:, None] + 1)).argmax(axis=1)
    others = near[np.arange(len(near)), pick].astype(np.int64)
    trust, familiarity = state.trust[worlds, agents, others], state.familiarity[worlds, agents, others]
    chance = np.clip(CHAT_CHANCE * (1 + CHAT_TRUST * trust) * (1 + CHAT_FAMILIARITY * familiarity), 0, 1)
    is_good = tick.draw(Draw.CHAT_SUCCESS, worlds, agents) < chance
    quality = LEAST_QUALITY + (1 - LEAST_QUALITY) * tick.draw(Draw.CHAT_QUALITY, worlds, agents)
    quality = quality.astype(np.float32)
    good = worlds[is_good], agents[is_good], others[is_good]
    bad = worlds[~is_good], agents[~is_good], others[~is_good]
    tick.events.add("chat_success", good[0], ticks=state.tick, actors=good[1], targets=good[2], values=quality[is_good])
    tick.events.add("chat_failure", bad[0], ticks=state.tick, actors=bad[1], targets=bad[2])
    if tick.stage != "OFF":
        _reward_chats(tick, *good, quality[is_good])
    relate_both(tick, *good, CHAT_SUCCESS, quality[is_good])
    relate_both(tick, *bad, CHAT_FAILURE)
    state.last_success[bad[0], bad[1]] = False


def _reward_chats(tick: Tick, worlds: Array, agents: Array, others: Array, quality: Array) -> None:
    """Add the social reward of successful chats, for both sides, by how they stand to each other before it."""
    state, constants = tick.state, tick.config.rewards
    for own, other in ((agents, others), (others, agents)):
        trust, familiarity = state.trust[worlds, own, other], state.familiarity[worlds, own, other]
        reward = (
            constants.chat_base + constants.chat_trust * trust + constants.chat_familiarity * familiarity
        ) * quality
        if tick.stage == "C3":
            reward = reward * np.clip((1 + trust + familiarity) / 3, 0, 1)
        lowest = np.minimum(np.minimum(state.hunger, state.hygiene), state.energy)[worlds, own]
        reward = np.where(1 - lowest > constants.chat_deficit_limit, 0, reward)
        np.add.at(tick.social, (worlds, own), reward.astype(np.float32))


def avoid_rivals(tick: Tick, wanted: Array, before: Array, could_use: Array) -> None:
    """Note who kept away from a rival: moved out of its reach, or did not join the queue that it is in.

    Args:
        tick: the tick, after the moves.
        wanted: (N, A) int8, the object that `use` meant before them, or -1.
        before: (N, A, 4) int8, the neighbours before them.
        could_use: (N, A) bool, `use` was allowed and would have been a new request.
    """
    state = tick.state
    threshold = np.float32(tick.config.ties.rival_threshold)
    worlds, agents, rivals = np.nonzero(state.rivalry >= threshold)
    if len(worlds) == 0:
        return
    is_there = state.present[worlds, agents] & state.present[worlds, rivals]
    worlds, agents, rivals = worlds[is_there], agents[is_there], rivals[is_there]
    was_near = (before[worlds, agents] == rivals[:, None]).any(axis=1)
    distance = np.abs(state.y[worlds, agents] - state.y[worlds, rivals]) + np.abs(
        state.x[worlds, agents] - state.x[worlds, rivals]
    )
    actions = tick.actions[worlds, agents]
    has_moved = (actions >= Action.NORTH) & (actions <= Action.WEST)
    thing = wanted[worlds, agents]
    is_queue = (thing >= 0) & ((state.queue[worlds, rivals] == thing) | (state.using[worlds, rivals] == thing))
    has_declined = could_use[worlds, agents] & is_queue & (actions != Action.USE)
    has_avoided = (was_near & has_moved & (distance > 1)) | has_declined
    if not has_avoided.any():
        return
    avoided = np.zeros(state.present.shape, np.bool_)
    avoided[worlds[has_avoided], agents[has_avoided]] = True
    state.avoid_count += avoided
    if tick.stage in ("C2", "C3"):
        tick.avoidance += avoided * np.float32(tick.config.rewards.avoidance)
