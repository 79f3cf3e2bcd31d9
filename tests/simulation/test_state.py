"""State: a snapshot is a copy of everything, and only what fits is restored."""

import dataclasses

import numpy as np
import pytest

from townlet_core.simulation.state import TownState
from townlet_core.simulation.tick import Action


@pytest.fixture
def town(town_of):
    return town_of([("bed", (3, 3)), ("fridge", (0, 0))], [{}] * 3, worlds=4)


def test_a_snapshot_holds_every_array_of_the_state(town):
    names = [field.name for field in dataclasses.fields(TownState)]
    shot = town.snapshot()
    assert sorted(shot) == sorted(names)
    assert all((shot[name] == getattr(town.state, name)).all() for name in names)


def test_a_snapshot_is_a_copy_both_when_taken_and_when_restored(town, act):
    shot = town.snapshot()
    kept = {name: rows.copy() for name, rows in shot.items()}
    act(town, Action.WEST, times=3)
    assert all((shot[name] == kept[name]).all() for name in shot)
    town.restore(shot)
    act(town, Action.WEST, times=3)
    assert all((shot[name] == kept[name]).all() for name in shot)


def test_arrays_have_the_documented_axes_and_types(town):
    shapes = {
        "present": (4, 3),
        "trust": (4, 3, 3),
        "stock": (4, 2),
        "cooldown_until": (4, 3, 2),
        "perturbation": (4, 4),
    }
    for name, shape in shapes.items():
        assert getattr(town.state, name).shape == shape
    assert town.state.who.shape == (4, 18 * 18)
    assert town.state.hunger.dtype == np.float32
    assert town.state.agent_key.dtype == np.uint64


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hunger", lambda rows: rows[:2]),
        ("hunger", lambda rows: rows.astype(np.float64)),
        ("trust", lambda rows: rows[:, :2]),
        ("present", lambda rows: rows.astype(np.int8)),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(town, act, name, change):
    other = town.snapshot()
    act(town, Action.WEST)
    before = town.snapshot()
    with pytest.raises(ValueError, match=f"the snapshot's '{name}' is .*; expected"):
        town.restore(other | {name: change(other[name])})
    del other[name]
    with pytest.raises(ValueError, match=f"'{name}' is nothing"):
        town.restore(other)
    assert all((rows == before[key]).all() for key, rows in town.snapshot().items())


def test_some_worlds_can_be_taken_as_a_copy(town):
    some = town.state.take(np.array([2, 0]))
    assert some.num_worlds == 2
    assert (some.cell == town.state.cell[[2, 0]]).all()
    some.cell[...] = 0
    assert (town.state.cell > 0).all()


def test_the_grid_of_who_stands_where_agrees_with_the_places(town):
    worlds, cells = np.nonzero(town.state.who >= 0)
    assert len(worlds) == 12
    assert (town.state.cell[worlds, town.state.who[worlds, cells]] == cells).all()
    assert ((town.state.who == -2) == town.layout.border).all()
