"""Lives: how they begin and end, what a death frees and forgets, and the newcomers after it."""

import numpy as np
import pytest

from townlet_core.simulation.employment import ON_TIME, PRE_SHIFT
from townlet_core.simulation.events import EVICTION, FAINT
from townlet_core.simulation.tick import Action

WAIT, USE = Action.WAIT, Action.USE
STARVING = {"hunger": (0.032, 0.032)}
POOR = {"wallet": 0, "unpaid_rents": 1}


def test_hunger_at_the_limit_ends_a_life_in_a_faint(town_of, act, events_of):
    town = town_of([], [{"at": (3, 3), "hunger": (0.0347, 0.0347)}, {"at": (5, 5)}])
    _, exits = act(town, WAIT)
    assert exits.tolist() == [[0, 0]]
    rewards, exits = act(town, WAIT)
    assert exits.tolist() == [[FAINT, 0]]
    assert town.state.present.tolist() == [[False, True]]
    assert [(record.actor, record.value) for record in town.events.records] == [(0, FAINT)]
    assert town.events.by_name()["faint_events"].tolist() == [1]
    assert rewards[0, 0] == pytest.approx(-1 + town.reward_terms["needs"][0, 0] + 0.002)
    assert town.reward_terms["terminal"].tolist() == [[-1, 0]]
    assert (town.state.who >= 0).sum() == 1


def test_rent_is_paid_at_the_days_last_tick(town_of, act):
    town = town_of([], [{"wallet": 1}, {"wallet": 0.2}], town={"day_ticks": 10})
    act(town, WAIT, times=9)
    assert town.state.wallet[0].tolist() == pytest.approx([1, 0.2])
    act(town, WAIT)
    assert town.state.wallet[0].tolist() == pytest.approx([0.7, 0.2])
    assert town.state.unpaid_rents.tolist() == [[0, 1]]


def test_two_rents_owed_in_a_row_are_an_eviction_and_a_payment_between_forgives(town_of, act):
    town = town_of([], [{"wallet": 0.2}, {"wallet": 0.2}], town={"day_ticks": 10})
    act(town, WAIT, times=10)
    town.state.wallet[0, 0] = 0.4
    rewards, exits = act(town, WAIT, times=10)
    assert exits.tolist() == [[0, EVICTION]]
    assert rewards[0, 1] < -1.9
    assert town.events.by_name()["eviction_events"].tolist() == [1]
    assert town.state.unpaid_rents[0, 0] == 0
    _, exits = act(town, WAIT, times=10)
    assert exits.tolist() == [[0, 0]]


def test_evictions_are_spaced_and_limited_by_the_day(town_of, act):
    town = town_of([], [POOR] * 4, town={"day_ticks": 1000, "lives": {"newcomers": False}}, start_tick=999)
    evicted = []
    for now in range(1001):
        _, exits = act(town, WAIT)
        town.state.hunger[...] = 1
        town.state.wallet[0, 3] = 1
        evicted += [(now, slot) for slot in np.flatnonzero(exits[0] == EVICTION)]
    assert evicted == [(0, 0), (120, 1), (1000, 2)]


@pytest.mark.parametrize(("kind", "delay"), [("price_spike", 10 + 60), ("blackout", 70), ("outage", 70)])
def test_nobody_is_evicted_during_a_city_wide_event_or_shortly_after(town_of, act, kind, delay):
    storm = [{"kind": kind, "tick": 0, "ticks": 10}]
    town = town_of([], [POOR], start_tick=999, perturbations=storm)
    for _ in range(delay):
        _, exits = act(town, WAIT)
        assert exits.tolist() == [[0]]
    _, exits = act(town, WAIT)
    assert exits.tolist() == [[EVICTION]]


def test_an_event_that_is_not_city_wide_delays_no_eviction_and_nothing_delays_a_faint(town_of, act):
    meeting = [{"kind": "arranged_meet", "tick": 0, "ticks": 50}]
    ties = [{"agents": (0, 1), "rivalry": 0.5}]
    town = town_of([], [POOR, {}], start_tick=999, perturbations=meeting, ties=ties)
    assert act(town, WAIT)[1].tolist() == [[EVICTION, 0]]
    blackout = [{"kind": "blackout", "tick": 0, "ticks": 50}]
    assert act(town_of([], [STARVING], perturbations=blackout), WAIT)[1].tolist() == [[FAINT]]


def test_a_slot_is_empty_for_5_to_20_ticks_each_equally_often(town_of, act):
    town = town_of([], [STARVING, {}], worlds=3200, record=False)
    act(town, WAIT)
    assert not town.state.present[:, 0].any()
    empty = np.zeros(3200, int)
    for _ in range(21):
        empty += ~town.state.present[:, 0]
        act(town, WAIT)
        town.state.hunger[...] = 1
    counts = np.bincount(empty, minlength=21)
    assert counts[:5].sum() == 0
    assert counts.sum() == 3200
    assert ((counts[5:] - 200) ** 2 / 200).sum() < 44.3  # chi-square, 15 degrees of freedom, once in 10,000


def test_a_newcomer_is_a_new_life_with_what_the_slot_begins_with(town_of, act, events_of):
    ranges = {"hunger": (0.031, 0.0324), "hygiene": (0.4, 0.8), "wallet": 2, "personality": None}
    town = town_of([("bed", (0, 0))], [ranges, {}], worlds=20, size=(4, 4))
    first = town.state.personality[:, 0].copy(), town.state.hygiene[:, 0].copy()
    town.state.wallet[...] = 0.5
    town.state.trust[...] = 0.5
    town.state.cooldown_until[...] = 999
    spawned = 0
    act(town, WAIT)
    assert (town.state.life[:, 0] == 1).all()
    for _ in range(20):
        is_new = ~town.state.present[:, 0]
        act(town, WAIT)
        is_new &= town.state.present[:, 0]
        spawned += len(events_of(town, "agent_spawned"))
        assert is_new.sum() == len(events_of(town, "agent_spawned"))
        assert (town.state.wallet[is_new, 0] == 2).all()
        assert (town.state.age[is_new, 0] == 0).all()
        assert ((town.state.hygiene[is_new, 0] >= 0.4) & (town.state.hygiene[is_new, 0] <= 0.8)).all()
        assert (town.state.cooldown_until[is_new, 0] == 0).all()
        assert not np.isclose(town.state.personality[is_new, 0], first[0][is_new]).any()
        assert not np.isclose(town.state.hygiene[is_new, 0], first[1][is_new]).any()
        assert (town.state.trust[is_new, 0] == 0).all()
    assert spawned >= 20


def test_newcomers_can_be_switched_off(town_of, act):
    town = town_of([], [STARVING], town={"lives": {"newcomers": False}})
    act(town, WAIT, times=50)
    assert not town.state.present.any()
    assert town.events.counts.sum() == 0


def test_the_job_belongs_to_the_slot_and_a_newcomer_knows_that_its_shift_runs(town_of, act):
    quick = {"lives": {"empty_ticks_min": 2, "empty_ticks_max": 2}}
    for start, state in ((60, ON_TIME), (10, PRE_SHIFT)):
        worker = STARVING | {"job": "cafe", "shift": (50, 90)}
        town = town_of([("cafe", (3, 3))], [worker], start_tick=start, town=quick)
        act(town, WAIT)
        assert town.state.shift_state.tolist() == [[-1]]
        act(town, WAIT)
        assert town.state.shift_state.tolist() == [[-1]]
        act(town, WAIT)
        assert town.state.present.all()
        assert town.state.shift_state.tolist() == [[state]]


def test_a_death_frees_the_object_the_queue_and_the_promise_and_forgets_the_ties(town_of, act):
    people = [{"at": (3, 2)}, {"at": (3, 4)}, {"at": (2, 3)}]
    ties = [{"agents": pair, "trust": 0.5, "rivalry": 0.5} for pair in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2))]
    town = town_of([("shower", (3, 3))], people, ties=ties)
    act(town, USE, WAIT, WAIT)
    act(town, WAIT, USE, WAIT)
    act(town, WAIT, WAIT, USE)
    town.state.hunger[0, 0] = 0.03
    act(town, WAIT)
    assert (town.state.user.tolist(), town.state.using[0, 0]) == ([[-1]], -1)
    assert not town.state.trust[0, 0].any()
    assert not town.state.rivalry[0, :, 0].any()
    assert town.state.trust[0, 1, 2] > 0.4
    act(town, WAIT)
    assert town.state.reserved.tolist() == [[1]]
    town.state.hunger[0, 1] = 0.03
    act(town, WAIT)
    assert town.state.reserved.tolist() == [[-1]]
    assert town.state.queue.tolist() == [[-1, -1, 0]]
    act(town, WAIT)
    assert town.state.reserved.tolist() == [[2]]


def test_many_unpaid_rents_do_not_wrap_around(town_of, act):
    never = {"day_ticks": 10, "lives": {"evictions_per_day": 0}, "needs": {"hunger_decay": 0}}
    town = town_of([], [{"wallet": 0}], town=never)
    act(town, WAIT, times=50)
    assert town.state.unpaid_rents.tolist() == [[2]]


def test_first_places_are_the_scenarios_or_free_tiles_by_chance(town_of):
    town = town_of([], [{"at": (1, 2)}, {}, {}], size=(4, 4), worlds=1500, record=False)
    y, x = town.state.y, town.state.x
    assert ((y[:, 0] == 1) & (x[:, 0] == 2)).all()
    tiles = y * 4 + x
    assert (np.diff(np.sort(tiles, axis=1), axis=1) > 0).all()
    for slot in (1, 2):
        counts = np.delete(np.bincount(tiles[:, slot], minlength=16), 6)
        assert counts.sum() == 1500
        assert ((counts - 100) ** 2 / 100).sum() < 42.6  # chi-square, 14 degrees of freedom, once in 10,000


def test_needs_and_personality_are_drawn_from_their_ranges(town_of):
    town = town_of([], [{"hunger": (0.2, 0.4), "personality": None}, {"hunger": (0.2, 0.4)}], worlds=2000, record=False)
    hunger = town.state.hunger
    assert ((hunger >= 0.2) & (hunger <= 0.4)).all()
    assert hunger.mean(axis=0) == pytest.approx([0.3, 0.3], abs=4.5 * 0.2 / np.sqrt(12 * 2000))
    assert abs(np.corrcoef(hunger.T)[0, 1]) < 4.5 / np.sqrt(2000)
    assert town.state.personality[:, 0].mean(axis=0) == pytest.approx([0] * 3, abs=4.5 * 2 / np.sqrt(12 * 2000))
    assert np.abs(town.state.personality[:, 0]).max() > 0.99
    assert not town.state.personality[:, 1].any()
