"""Perturbations: forced ones come when the scenario says, others by chance; each has a pause before it comes again."""

import numpy as np
import pytest

from townlet_core.simulation.perturbations import ARRANGED_MEET, BLACKOUT, KINDS, PRICE_SPIKE
from townlet_core.simulation.tick import Action

WAIT, USE = Action.WAIT, Action.USE
RIVALS = [{"agents": (0, 1), "rivalry": 0.5}, {"agents": (1, 2), "rivalry": 0.9}]


def chances(**more):
    return {"perturbations": {"enabled": True} | dict.fromkeys(KINDS, 0.0) | more}


def test_nothing_comes_unless_it_is_enabled_or_forced(town_of, act):
    town = town_of([], [{}], worlds=200, town={"perturbations": dict.fromkeys(KINDS, 100.0)}, record=False)
    act(town, WAIT, times=20)
    assert not town.state.perturbation.any()


@pytest.mark.parametrize("kind", ["price_spike", "blackout", "outage"])
def test_a_forced_one_begins_and_ends_on_its_ticks(town_of, act, kind):
    town = town_of([], [{}], perturbations=[{"kind": kind, "tick": 3, "ticks": 4}])
    seen = []
    for now in range(10):
        act(town, WAIT)
        seen += [(now, record.kind, record.target) for record in town.events.records]
    number = KINDS.index(kind)
    assert seen == [(3, "perturbation_started", number), (7, "perturbation_ended", number)]


def test_chances_are_those_of_a_day(town_of, act):
    town = town_of([], [{}], worlds=1000, town=chances(blackout=2.0), record=False)
    begun = np.zeros(1000, bool)
    for _ in range(100):
        act(town, WAIT)
        begun |= town.events.counts[15] > 0
    chance = 1 - (1 - 0.002) ** 100
    assert begun.mean() == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / 1000))
    assert not town.state.perturbation[:, [PRICE_SPIKE, 2, ARRANGED_MEET]].any()


def test_one_lasts_its_ticks_and_does_not_come_again_before_it_has_recovered(town_of, act):
    often = chances(blackout=10.0, duration_ticks=5, recovery_ticks=8) | {"day_ticks": 10}
    town = town_of([], [{}], town=often)
    starts, ends = [], []
    for now in range(40):
        act(town, WAIT)
        starts += [now] * int(town.events.counts[15, 0])
        ends += [now] * int(town.events.counts[16, 0])
    assert starts == [0, 13, 26, 39]
    assert ends == [5, 18, 31]


def test_the_price_factor_is_drawn_evenly_and_goes_back(town_of, act):
    town = town_of([], [{}], worlds=2000, perturbations=[{"kind": "price_spike", "tick": 0, "ticks": 3}], record=False)
    act(town, WAIT)
    factor = town.state.price_factor
    assert 1.2 <= factor.min() < 1.21
    assert 1.79 < factor.max() <= 1.8
    assert factor.mean() == pytest.approx(1.5, abs=4.5 * 0.6 / np.sqrt(12 * 2000))
    act(town, WAIT, times=3)
    assert (town.state.price_factor == 1).all()


def test_kinds_come_independently_of_each_other_and_of_other_worlds(town_of, act):
    half = chances(blackout=5.0, outage=5.0) | {"day_ticks": 10}
    town = town_of([], [{}], worlds=4000, town=half, record=False)
    act(town, WAIT)
    came = (town.state.perturbation[:, [BLACKOUT, 2]] > 0).astype(float)
    assert came.mean(axis=0) == pytest.approx([0.5, 0.5], abs=4.5 * 0.5 / np.sqrt(4000))
    assert abs(np.corrcoef(came.T)[0, 1]) < 4.5 / np.sqrt(4000)
    assert abs(np.corrcoef(came[:-1, 0], came[1:, 0])[0, 1]) < 4.5 / np.sqrt(4000)


def test_a_meeting_brings_the_greatest_rivals_side_by_side(town_of, act):
    people = [{"at": (0, 0)}, {"at": (7, 7)}, {"at": (4, 4)}]
    town = town_of([], people, ties=RIVALS, perturbations=[{"kind": "arranged_meet", "tick": 0}])
    act(town, WAIT)
    y, x = town.state.y[0].astype(int), town.state.x[0].astype(int)
    assert abs(y[1] - y[2]) + abs(x[1] - x[2]) == 1
    assert (y[0], x[0], y[2], x[2]) == (0, 0, 4, 4)
    assert town.state.who[0, town.state.cell[0]].tolist() == [0, 1, 2]
    assert (town.state.who >= 0).sum() == 3
    assert town.action_mask()[0, :, Action.CHAT].tolist() == [False, True, True]


def test_a_meeting_needs_rivals_who_are_idle(town_of, act):
    people = [{"at": (0, 0)}, {"at": (7, 7)}, {"at": (4, 4)}]
    meeting = [{"kind": "arranged_meet", "tick": 1}]
    town = town_of([("bed", (4, 5))], people, ties=RIVALS, perturbations=meeting)
    act(town, WAIT, WAIT, USE)
    act(town, WAIT)
    assert town.state.y[0].tolist() == [6, 7, 4] or town.state.y[0].tolist() == [7, 7, 4]
    town = town_of([], people, perturbations=meeting)
    act(town, WAIT, times=2)
    assert not town.state.perturbation.any()
    assert town.events.counts[15].sum() == 0
