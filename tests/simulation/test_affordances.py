"""Affordances: what a use costs when it begins, what it changes when it ends, and what it needs meanwhile."""

import pytest

from townlet_core.simulation.tick import Action

WAIT, USE, LEAVE = Action.WAIT, Action.USE, Action.LEAVE
HALF = {"hunger": (0.5, 0.5), "hygiene": (0.5, 0.5), "energy": (0.5, 0.5)}
DECAY = (0.0024, 0.0015, 0.0012)


def needs(town, agent=0):
    return [float(need[0, agent]) for need in (town.state.hunger, town.state.hygiene, town.state.energy)]


@pytest.mark.parametrize(
    ("kind", "ticks", "effects", "price"),
    [
        ("fridge", 15, (0.40, 0, 0.05), 0.4),
        ("stove", 40, (0.10, 0, -0.05), 0.15),
        ("shower", 30, (0, 0.45, -0.03), 0.2),
        ("bed", 60, (0, 0, 0.80), 0),
    ],
)
def test_a_use_takes_its_ticks_costs_its_price_at_first_and_has_its_effect_at_last(
    town_of, act, events_of, kind, ticks, effects, price
):
    town = town_of([(kind, (3, 3))], [{"at": (3, 2)} | HALF])
    act(town, USE)
    assert town.state.wallet[0, 0] == pytest.approx(4 - price)
    act(town, WAIT, times=ticks - 2)
    assert town.state.using[0, 0] == 0
    assert needs(town) == pytest.approx([0.5 - (ticks - 1) * rate for rate in DECAY], abs=1e-5)
    act(town, WAIT)
    assert town.state.using[0, 0] == -1
    assert events_of(town, "affordance_finish") == [(0, 0)]
    whole = [min(0.5 - (ticks - 1) * rate + gain, 1) - rate for rate, gain in zip(DECAY, effects, strict=True)]
    assert needs(town) == pytest.approx(whole, abs=1e-5)
    assert town.state.wallet[0, 0] == pytest.approx(4 - price)


def test_a_meal_is_taken_from_the_stock_when_it_begins(town_of, act):
    town = town_of([("fridge", (3, 3))], [{"at": (3, 2)} | HALF])
    assert town.state.stock.tolist() == [[12]]
    act(town, USE)
    assert town.state.stock.tolist() == [[11]]


def test_an_empty_fridge_cannot_be_used(town_of, act):
    town = town_of([("fridge", (3, 3))], [{"at": (3, 2)} | HALF], town={"queues": {"fridge_stock": 0}})
    assert not town.action_mask()[0, 0, USE]


@pytest.mark.parametrize(("kind", "price"), [("fridge", 0.4), ("stove", 0.15), ("shower", 0.2), ("bed", 0)])
def test_who_cannot_pay_cannot_begin(town_of, act, kind, price):
    objects = [(kind, (3, 3))]
    enough = town_of(objects, [{"at": (3, 2), "wallet": price + 0.001}])
    assert enough.action_mask()[0, 0, USE]
    act(enough, USE)
    assert 0 <= enough.state.wallet[0, 0] < 0.01
    if price:
        assert not town_of(objects, [{"at": (3, 2), "wallet": price - 0.001}]).action_mask()[0, 0, USE]


def test_what_is_cooked_goes_into_the_emptiest_fridge_as_far_as_there_is_room(town_of, act):
    objects = [("stove", (3, 3)), ("fridge", (0, 0)), ("fridge", (0, 7))]
    town = town_of(objects, [{"at": (3, 2)}])
    town.state.stock[0] = [0, 9, 5]
    act(town, USE)
    act(town, WAIT, times=39)
    assert town.state.stock.tolist() == [[0, 9, 9]]
    town.state.stock[0] = [0, 23, 22]
    town.state.cooldown_until[...] = 0
    town.restore(town.snapshot())
    act(town, USE)
    act(town, WAIT, times=39)
    assert town.state.stock.tolist() == [[0, 23, 24]]


def test_who_breaks_off_gets_nothing_and_nothing_back(town_of, act, events_of):
    town = town_of([("shower", (3, 3))], [{"at": (3, 2)} | HALF])
    act(town, USE)
    act(town, WAIT, times=5)
    act(town, LEAVE)
    assert events_of(town, "affordance_fail") == [(0, 0)]
    assert town.state.using.tolist() == town.state.user.tolist() == [[-1]]
    assert town.state.wallet[0, 0] == pytest.approx(3.8)
    assert needs(town)[1] == pytest.approx(0.5 - 7 * 0.0015, abs=1e-6)
    assert not town.state.last_success[0, 0]


def test_use_goes_on_with_what_is_begun(town_of, act):
    town = town_of([("shower", (3, 3))], [{"at": (3, 2)} | HALF])
    act(town, USE, times=30)
    assert town.events.counts[11, 0] == 1
    assert town.state.wallet[0, 0] == pytest.approx(3.8)


@pytest.mark.parametrize(
    ("lowest", "thing"), [("hunger", 2), ("hygiene", 1), ("energy", 1)], ids=["fridge", "shower", "first"]
)
def test_use_prefers_what_the_lowest_need_asks_for_else_the_first_within_reach(town_of, act, lowest, thing):
    objects = [("bed", (7, 7)), ("shower", (3, 4)), ("fridge", (2, 3))]
    town = town_of(objects, [{"at": (3, 3), lowest: (0.4, 0.4)}])
    act(town, USE)
    assert town.state.using.tolist() == [[thing]]


def test_use_takes_the_object_here_before_any_other(town_of, act):
    town = town_of([("shower", (3, 4)), ("bed", (3, 3))], [{"at": (3, 3), "hygiene": (0.2, 0.2)}])
    act(town, USE)
    assert town.state.using.tolist() == [[1]]


def test_reach_is_one_tile_and_not_across_corners(town_of):
    town = town_of([("bed", (3, 3))], [{"at": at} for at in ((3, 3), (2, 3), (3, 4), (2, 2), (3, 5))])
    assert town.action_mask()[0, :, USE].tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("event", "stops"),
    [("blackout", {"stove", "shower"}), ("outage", {"shower"}), ("price_spike", set())],
)
def test_what_loses_its_power_or_water_breaks_off_and_cannot_begin(town_of, act, event, stops):
    kinds = ("fridge", "stove", "shower", "bed")
    objects = [(kind, (2 * row, 3)) for row, kind in enumerate(kinds)]
    people = [{"at": (2 * row, 2)} | HALF for row in range(4)]
    town = town_of(objects, people, perturbations=[{"kind": event, "tick": 1, "ticks": 5}])
    act(town, USE)
    assert (town.state.using >= 0).all()
    act(town, WAIT)
    lost = {kinds[agent] for agent in range(4) if town.state.using[0, agent] < 0}
    assert lost == stops
    shut = {kinds[agent] for agent in range(3) if not town.action_mask()[0, agent, USE]}  # who sleeps cannot ask
    assert shut == stops
    act(town, WAIT, times=5)
    assert town.action_mask()[0, :3, USE].all()


def test_a_price_spike_raises_prices(town_of, act):
    spike = [{"kind": "price_spike", "tick": 0, "ticks": 50}]
    fixed = {"perturbations": {"price_factor_min": 1.5, "price_factor_max": 1.5}}
    town = town_of([("fridge", (3, 3))], [{"at": (3, 2)}], perturbations=spike, town=fixed)
    act(town, WAIT)
    act(town, USE)
    assert town.state.wallet[0, 0] == pytest.approx(4 - 0.6)
    act(town, WAIT, times=49)
    assert town.state.price_factor.tolist() == [1]


def test_two_who_eat_next_to_each_other_share_the_meal_once(town_of, act, events_of):
    objects = [("fridge", (3, 2)), ("fridge", (3, 5))]
    town = town_of(objects, [{"at": (3, 3)} | HALF, {"at": (3, 4)} | HALF], town={"ties": {"trust_decay": 0}})
    act(town, USE, USE)
    assert events_of(town, "shared_meal") == [(1, 0)]
    for one, other in ((0, 1), (1, 0)):
        assert town.state.trust[0, one, other] == pytest.approx(0.10)
        assert town.state.familiarity[0, one, other] == pytest.approx(0.25)
    act(town, WAIT)
    assert events_of(town, "shared_meal") == []


def test_who_begins_to_eat_next_to_one_who_eats_shares_and_far_away_does_not(town_of, act, events_of):
    objects = [("fridge", (3, 2)), ("fridge", (3, 5)), ("fridge", (6, 3))]
    town = town_of(objects, [{"at": (3, 3)} | HALF, {"at": (3, 4)} | HALF, {"at": (6, 4)} | HALF])
    act(town, USE, WAIT, USE)
    assert events_of(town, "shared_meal") == []
    act(town, WAIT, USE, WAIT)
    assert events_of(town, "shared_meal") == [(1, 0)]
