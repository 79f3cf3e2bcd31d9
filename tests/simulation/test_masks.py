"""Masks: what can be done now, for everybody in every position."""

import numpy as np
import pytest

from townlet_core.simulation.tick import Action

WAIT, NORTH, EAST, SOUTH, WEST, USE, LEAVE, CHAT = Action


def allowed(town, agent=0):
    return {Action(number) for number in np.flatnonzero(town.action_mask()[0, agent])}


def test_in_an_empty_town_one_can_walk_and_wait(town_of):
    assert allowed(town_of([], [{"at": (3, 3)}])) == {WAIT, NORTH, EAST, SOUTH, WEST}


def test_in_a_corner_between_others_one_can_chat_and_wait(town_of):
    town = town_of([], [{"at": (0, 0)}, {"at": (0, 1)}, {"at": (1, 0)}])
    assert allowed(town) == {WAIT, CHAT}


def test_next_to_an_object_one_can_use_it(town_of):
    town = town_of([("shower", (3, 4))], [{"at": (3, 3)}, {"at": (6, 6)}])
    assert USE in allowed(town)
    assert USE not in allowed(town, 1)


def test_who_uses_something_can_go_on_or_leave_or_talk(town_of, act):
    town = town_of([("shower", (3, 4))], [{"at": (3, 3)}, {"at": (2, 3)}])
    act(town, USE, WAIT)
    assert allowed(town) == {WAIT, USE, LEAVE, CHAT}


def test_who_waits_in_a_queue_can_ask_again_or_leave_but_not_walk(town_of, act):
    town = town_of([("shower", (3, 4))], [{"at": (3, 3)}, {"at": (3, 5)}])
    act(town, USE, WAIT)
    act(town, WAIT, USE)
    assert allowed(town, 1) == {WAIT, USE, LEAVE}


def test_who_sleeps_can_only_wait_and_wakes_by_itself(town_of, act):
    town = town_of([("bed", (3, 4))], [{"at": (3, 3), "energy": (0.1, 0.1)}, {"at": (2, 3)}])
    act(town, USE, WAIT)
    assert allowed(town) == {WAIT}
    assert CHAT not in allowed(town, 1)
    act(town, LEAVE, WAIT, times=59)
    assert town.state.using.tolist() == [[-1, -1]]
    assert town.state.energy[0, 0] > 0.8
    assert {WAIT, CHAT} <= allowed(town)


def test_who_is_absent_can_only_wait(town_of, act):
    town = town_of([("bed", (3, 4))], [{"at": (3, 3), "hunger": (0.031, 0.031)}, {"at": (2, 3)}])
    act(town, WAIT)
    assert allowed(town) == {WAIT}
    assert allowed(town, 1) == {WAIT, NORTH, EAST, SOUTH, WEST}


@pytest.mark.parametrize("action", [-1, 8, 100, -(2**40), 2**40 + 1])
def test_what_is_no_action_is_a_wait(town_of, act, action):
    town, other = (town_of([("shower", (3, 4))], [{"at": (3, 3)}]) for _ in range(2))
    act(town, action)
    act(other, WAIT)
    assert {name: rows.tobytes() for name, rows in town.snapshot().items()} == {
        name: rows.tobytes() for name, rows in other.snapshot().items()
    }


def test_what_is_allowed_succeeds_unless_somebody_is_in_the_way(town_of, act):
    """Every allowed action changes what it promises to change."""
    for action in (NORTH, EAST, SOUTH, WEST):
        town = town_of([], [{"at": (3, 3)}])
        before = town.state.cell.copy()
        act(town, action)
        assert town.state.cell != before
    town = town_of([("shower", (3, 4))], [{"at": (3, 3)}, {"at": (2, 3)}])
    act(town, USE, CHAT)
    assert town.state.using[0, 0] == 0
    assert town.events.counts[4:6].sum() == 1
    act(town, LEAVE, WAIT)
    assert town.state.using[0, 0] == -1


def test_who_waits_may_ask_even_when_nothing_is_left(town_of, act):
    town = town_of([("fridge", (3, 4))], [{"at": (3, 3)}, {"at": (3, 5)}, {"at": (2, 4)}])
    act(town, USE, WAIT, WAIT)
    act(town, WAIT, USE, WAIT)
    town.state.stock[...] = 0
    act(town, WAIT)
    assert town.action_mask()[0, :, USE].tolist() == [True, True, False]
