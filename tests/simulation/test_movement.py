"""Moves go one tile, onto free tiles of the grid, and of those who want one tile a keyed draw lets one."""

import numpy as np
import pytest

from townlet_core.simulation.tick import Action

MOVES = (Action.NORTH, Action.EAST, Action.SOUTH, Action.WEST)


def places(town):
    return np.stack([town.state.y, town.state.x], axis=-1).tolist()


@pytest.mark.parametrize(("action", "place"), [*zip(MOVES, ([2, 3], [3, 4], [4, 3], [3, 2]), strict=True)])
def test_a_move_goes_one_tile_its_way(town_of, act, action, place):
    town = town_of([], [{"at": (3, 3)}])
    act(town, action)
    assert places(town) == [[place]]
    assert (town.state.who >= 0).sum() == 1
    assert town.state.who[0, town.state.cell[0, 0]] == 0


@pytest.mark.parametrize(
    ("corner", "shut"),
    [((0, 0), (Action.NORTH, Action.WEST)), ((7, 7), (Action.SOUTH, Action.EAST)), ((0, 7), (Action.NORTH,))],
)
def test_nobody_leaves_the_grid(town_of, act, corner, shut):
    town = town_of([], [{"at": corner}])
    for action in shut:
        assert not town.action_mask()[0, 0, action]
        act(town, action)
        assert places(town) == [[list(corner)]]


def test_a_tile_that_is_taken_cannot_be_entered_even_while_it_is_being_left(town_of, act):
    town = town_of([], [{"at": (3, 3)}, {"at": (3, 4)}])
    assert not town.action_mask()[0, 0, Action.EAST]
    act(town, Action.EAST, Action.EAST)
    assert places(town) == [[[3, 3], [3, 5]]]


def test_two_cannot_swap_places(town_of, act):
    town = town_of([], [{"at": (3, 3)}, {"at": (3, 4)}])
    act(town, Action.EAST, Action.WEST)
    assert places(town) == [[[3, 3], [3, 4]]]


def test_of_those_who_want_one_tile_each_wins_equally_often(town_of, act):
    town = town_of([], [{"at": (2, 3)}, {"at": (3, 2)}, {"at": (4, 3)}, {"at": (6, 6)}], worlds=3000, record=False)
    act(town, Action.SOUTH, Action.EAST, Action.NORTH, Action.EAST)
    is_there = (town.state.y == 3) & (town.state.x == 3)
    assert (is_there.sum(axis=1) == 1).all()
    assert (town.state.x[:, 3] == 7).all()
    counts = is_there.sum(axis=0)[:3]
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.4  # chi-square, 2 degrees of freedom, once in 10,000
    stayed = np.array(places(town))[:, :3]
    starts = np.array([[2, 3], [3, 2], [4, 3]])
    assert (stayed[~is_there[:, :3]] == np.broadcast_to(starts, stayed.shape)[~is_there[:, :3]]).all()


def test_who_wins_a_tile_is_drawn_anew_at_every_tick(town_of, act):
    town = town_of([], [{"at": (2, 3)}, {"at": (4, 3)}], worlds=500, record=False)
    winners = []
    for _ in range(2):
        act(town, Action.SOUTH, Action.NORTH)
        winners.append(town.state.y[:, 0] == 3)
        back = [np.where(winners[-1], Action.NORTH, Action.WAIT), np.where(winners[-1], Action.WAIT, Action.SOUTH)]
        town.step(np.stack(back, axis=1))
        assert (town.state.y == [2, 4]).all()
    assert 0.35 < (winners[0] == winners[1]).mean() < 0.65


def test_nobody_walks_away_from_a_use_or_a_queue(town_of, act):
    town = town_of([("shower", (3, 3))], [{"at": (3, 2)}, {"at": (3, 4)}])
    act(town, Action.USE, Action.USE)
    assert not town.action_mask()[0, :, Action.NORTH : Action.WEST + 1].any()
    act(town, Action.NORTH, Action.NORTH)
    assert places(town) == [[[3, 2], [3, 4]]]
    assert town.state.using.tolist() == [[0, -1]] or town.state.using.tolist() == [[-1, 0]]


def test_objects_can_be_walked_over(town_of, act):
    town = town_of([("bed", (3, 4))], [{"at": (3, 3)}])
    act(town, Action.EAST)
    assert places(town) == [[[3, 4]]]
