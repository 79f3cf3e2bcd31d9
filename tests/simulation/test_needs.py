"""Needs fall at every tick, stop at 0, and the lowest one decides what is wanted."""

import numpy as np
import pytest

from townlet_core.simulation.layout import BED, CAFE, FRIDGE, SHOWER, STOVE
from townlet_core.simulation.needs import apply_effects, wanted_kind
from townlet_core.simulation.tick import Action

THREE = [("fridge", (0, 0)), ("shower", (0, 7)), ("bed", (7, 0)), ("stove", (7, 7))]


def test_each_need_falls_by_its_rate_at_every_tick(town_of, act):
    town = town_of([], [{"hunger": (0.9, 0.9), "hygiene": (0.8, 0.8), "energy": (0.7, 0.7)}])
    act(town, Action.WAIT, times=10)
    needs = [float(need[0, 0]) for need in (town.state.hunger, town.state.hygiene, town.state.energy)]
    assert needs == pytest.approx([0.9 - 10 * 0.0024, 0.8 - 10 * 0.0015, 0.7 - 10 * 0.0012], abs=1e-6)


def test_rates_are_those_of_the_configuration(town_of, act):
    town = town_of([], [{}], town={"needs": {"hunger_decay": 0.1, "hygiene_decay": 0.0, "energy_decay": 0.01}})
    act(town, Action.WAIT, times=2)
    needs = [float(need[0, 0]) for need in (town.state.hunger, town.state.hygiene, town.state.energy)]
    assert needs == pytest.approx([0.8, 1.0, 0.98], abs=1e-6)


def test_a_need_stops_at_nothing(town_of, act):
    town = town_of([], [{"hygiene": (0.002, 0.002), "energy": (0, 0)}])
    act(town, Action.WAIT, times=3)
    assert town.state.hygiene[0, 0] == town.state.energy[0, 0] == 0


def test_effects_stay_within_nothing_and_everything(town_of):
    town = town_of([], [{"hunger": (0.9, 0.9), "energy": (0.02, 0.02)}])
    rows = np.array([0])
    apply_effects(town.state, rows, rows, np.array([[0.4, 0.0, -0.05]], np.float32))
    assert (town.state.hunger[0, 0], town.state.hygiene[0, 0], town.state.energy[0, 0]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("hunger", "hygiene", "energy", "stock", "kind"),
    [
        (0.5, 0.6, 0.7, 1, FRIDGE),
        (0.5, 0.6, 0.7, 0, STOVE),
        (0.7, 0.5, 0.6, 1, SHOWER),
        (0.7, 0.6, 0.5, 1, BED),
        (0.5, 0.5, 0.5, 1, FRIDGE),
        (0.7, 0.5, 0.5, 1, BED),
    ],
)
def test_the_lowest_need_is_what_is_wanted(town_of, hunger, hygiene, energy, stock, kind):
    who = {"hunger": (hunger,) * 2, "hygiene": (hygiene,) * 2, "energy": (energy,) * 2}
    town = town_of(THREE, [who], town={"queues": {"fridge_stock": stock}})
    assert wanted_kind(town.state, town.layout, np.array([0]))[0, 0] == kind


def test_work_is_wanted_from_one_crossing_of_the_town_before_the_shift_to_its_end(town_of):
    town = town_of([*THREE, ("cafe", (4, 4))], [{"job": "cafe", "shift": (100, 120)}])
    wanted = [int(wanted_kind(town.state, town.layout, np.array([now]))[0, 0]) for now in (83, 84, 119, 120)]
    assert wanted == [FRIDGE, CAFE, CAFE, FRIDGE]
