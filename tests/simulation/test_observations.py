"""Observations: each feature as counted by hand, the maps, and what the absent see."""

import numpy as np
import pytest

from townlet_core.environments.town import town_spaces
from townlet_core.simulation.observations import COLUMN, FEATURES
from townlet_core.simulation.tick import Action

WAIT, USE = Action.WAIT, Action.USE
STILL = {"needs": {"hunger_decay": 0, "hygiene_decay": 0, "energy_decay": 0}}


def features(town, agent=0):
    row = town.observe()["features"][0, agent]
    return {name: float(row[column]) for name, column in COLUMN.items()}


def expect(town, agent=0, **values):
    seen = features(town, agent)
    assert {name: seen[name] for name in values} == pytest.approx(values, abs=1e-5)


def test_the_features_are_those_of_the_rules():
    assert len(FEATURES) == len(set(FEATURES)) == 89
    assert FEATURES[:4] == ("need_hunger", "need_hygiene", "need_energy", "wallet")
    assert FEATURES[-4:] == ("social_trust_mean", "social_trust_max", "social_rivalry_mean", "social_rivalry_max")


def test_an_agent_sees_its_needs_its_money_and_its_character(town_of):
    who = {"hunger": (0.3, 0.3), "hygiene": (0.4, 0.4), "energy": (0.5, 0.5), "personality": (0.1, -0.2, 0.3)}
    town = town_of([], [who, {"wallet": 25}])
    expect(town, need_hunger=0.3, need_hygiene=0.4, need_energy=0.5, wallet=0.4)
    expect(town, personality_extroversion=0.1, personality_forgiveness=-0.2, personality_ambition=0.3)
    expect(town, 1, wallet=1, embedding_slot_norm=1)


def test_time_goes_round_with_the_day(town_of, act):
    town = town_of([], [{}], start_tick=250, num_ticks=500)
    expect(town, time_sin=1, time_cos=0, episode_progress=0, ctx_reset_flag=1)
    act(town, WAIT, times=250)
    expect(town, time_sin=0, time_cos=-1, episode_progress=0.5, ctx_reset_flag=0)


def test_a_worker_sees_its_shift(town_of, act):
    people = [{"at": (7, 7), "job": "cafe", "shift": (100, 150)}]
    town = town_of([("cafe", (3, 3))], people, start_tick=90)
    expect(town, job_cafe=1, job_grocer=0, on_shift=0, shift_pre=1, shift_post=0)
    expect(town, shift_ticks_to_start=0.01, shift_ticks_to_end=0.06, attendance_ratio=1, lateness_counter=0)
    act(town, WAIT, times=10)
    expect(town, on_shift=1, shift_pre=0, shift_on_time=1)
    act(town, WAIT, times=6)
    expect(town, shift_late=1, lateness_counter=0.1, attendance_ratio=0, shift_ticks_to_start=-0.006)
    act(town, WAIT, times=34)
    expect(town, shift_absent=1, lateness_counter=40 / 60, wages_withheld=10 / 50)
    act(town, WAIT, times=10)
    expect(town, shift_post=1, shift_absent=0, lateness_counter=0, wages_withheld=0, on_shift=0)


def test_attendance_is_the_share_of_the_shift_that_was_worked(town_of, act):
    town = town_of([("cafe", (3, 3))], [{"at": (3, 2), "job": "cafe", "shift": (0, 50)}])
    act(town, WAIT)
    act(town, USE, times=3)
    expect(town, attendance_ratio=0.75, affordance_remaining=46 / 60)


def test_without_a_job_there_is_no_shift_to_see(town_of):
    seen = features(town_of([("cafe", (3, 3))], [{}]))
    assert all(seen[name] == 0 for name in seen if name.startswith(("shift_", "job_", "work_")) or name == "on_shift")


def test_ways_to_the_nearest_objects_are_scaled_by_the_grid(town_of):
    objects = [("fridge", (1, 6)), ("fridge", (7, 0)), ("bed", (3, 3))]
    town = town_of(objects, [{"at": (3, 3), "hunger": (0.5, 0.5)}])
    expect(town, fridge_dx=3 / 8, fridge_dy=-2 / 8, fridge_dist=5 / 16)
    expect(town, bed_dx=0, bed_dy=0, bed_dist=0, shower_dx=0, shower_dist=0, work_dist=0)
    expect(town, path_hint_north=1, path_hint_south=0, path_hint_east=1, path_hint_west=0)


def test_the_way_to_work_is_hinted_when_the_shift_is_near(town_of, act):
    worker = {"at": (3, 3), "job": "cafe", "shift": (30, 60), "hunger": (0.5, 0.5)}
    town = town_of([("fridge", (0, 3)), ("cafe", (7, 3))], [worker], start_tick=13)
    expect(town, path_hint_north=1, path_hint_south=0, work_dx=0, work_dy=4 / 8, work_dist=4 / 16)
    act(town, WAIT)
    expect(town, path_hint_north=0, path_hint_south=1)


def test_stock_is_low_when_a_fridge_holds_four_meals_on_average(town_of):
    objects = [("fridge", (0, 0)), ("fridge", (7, 7))]
    town = town_of(objects, [{}])
    for stock, low in (([8, 1], 0), ([8, 0], 1), ([0, 9], 0)):
        town.state.stock[0] = stock
        expect(town, stock_low=low)
    expect(town_of([], [{}]), stock_low=0)


def test_cooldowns_actions_and_uses_are_seen(town_of, act):
    town = town_of([("shower", (3, 3))], [{"at": (3, 2)}])
    expect(town, last_action_id=0, last_action_success=1, last_action_duration=0, cooldown_shower=0)
    act(town, USE)
    expect(town, last_action_id=5 / 7, last_action_duration=1 / 60, affordance_remaining=29 / 60)
    act(town, WAIT, times=29)
    expect(town, affordance_remaining=0, cooldown_shower=1, last_action_duration=29 / 60, cooldown_bed=0)
    act(town, WAIT, times=15)
    expect(town, cooldown_shower=45 / 60)


def test_the_cooldown_of_a_kind_is_that_of_the_object_which_is_free_first(town_of):
    town = town_of([("bed", (0, 0)), ("bed", (7, 7))], [{}])
    town.state.cooldown_until[0, 0] = [30, 12]
    expect(town, cooldown_bed=12 / 60)


def test_a_queue_and_a_promise_are_seen(town_of, act):
    town = town_of([("shower", (3, 3))], [{"at": (3, 2)}, {"at": (3, 4)}])
    act(town, USE, WAIT)
    act(town, WAIT, USE)
    expect(town, 1, in_queue=1, reservation_active=0, last_action_success=0)
    act(town, Action.LEAVE, WAIT)
    expect(town, 1, in_queue=1, reservation_active=1)
    expect(town, 0, in_queue=0, reservation_active=0, last_action_success=0)


def test_neighbours_are_counted_within_the_window(town_of, act):
    objects = [("shower", (0, 5)), ("bed", (15, 15)), ("bed", (5, 5)), ("stove", (11, 5))]
    people = [{"at": at} for at in ((5, 4), (10, 9), (10, 10), (0, 4), (15, 0))]
    town = town_of(objects, people, size=(16, 16))
    expect(town, neighbor_agent_ratio=2 / 4, nearest_agent_distance=5 / 32)
    expect(town, neighbor_object_ratio=2 / 4, reserved_tile_ratio=0)
    act(town, WAIT, WAIT, WAIT, USE, WAIT)
    expect(town, reserved_tile_ratio=1 / 4)
    expect(town_of([], [{}]), nearest_agent_distance=1, neighbor_agent_ratio=0)


def test_the_two_best_friends_and_the_two_worst_rivals_are_seen(town_of):
    people = [{"at": (3, 3)}, {"at": (3, 5)}, {"at": (1, 3)}, {"at": (7, 7)}, {"at": (0, 0)}]
    ties = [
        {"agents": (0, 1), "trust": 0.2, "familiarity": 0.1},
        {"agents": (0, 2), "trust": 0.5, "familiarity": 0.3, "rivalry": 0.2},
        {"agents": (0, 3), "trust": 0.1, "rivalry": 0.8},
        {"agents": (0, 4), "trust": -0.5},
    ]
    town = town_of([], people, ties=ties)
    expect(
        town,
        social_friend_1_present=1,
        social_friend_1_dx=0,
        social_friend_1_dy=-2 / 8,
        social_friend_1_trust=0.5,
        social_friend_1_familiarity=0.3,
        social_friend_1_rivalry=0.2,
        social_friend_2_present=1,
        social_friend_2_dx=2 / 8,
        social_friend_2_trust=0.2,
        social_rival_1_dx=4 / 8,
        social_rival_1_dy=4 / 8,
        social_rival_1_rivalry=0.8,
        social_rival_2_rivalry=0.2,
        rivalry_max=0.8,
        social_trust_mean=0.3 / 4,
        social_trust_max=0.5,
        social_rivalry_mean=1.0 / 4,
        social_rivalry_max=0.8,
    )
    seen = features(town, 1)
    assert all(seen[name] == 0 for name in seen if name.startswith("social_"))


def test_of_equal_friends_the_first_slot_comes_first(town_of):
    people = [{"at": (3, 3)}, {"at": (3, 5)}, {"at": (1, 3)}]
    ties = [{"agents": (0, 2), "trust": 0.5}, {"agents": (0, 1), "trust": 0.5}]
    town = town_of([], people, ties=ties)
    expect(town, social_friend_1_dx=2 / 8, social_friend_1_dy=0, social_friend_2_dx=0, social_friend_2_dy=-2 / 8)


def test_kept_away_from_rivals_are_counted(town_of):
    town = town_of([], [{}])
    town.state.avoid_count[...] = 3
    expect(town, rivalry_avoid_count=0.3)
    town.state.avoid_count[...] = 30
    expect(town, rivalry_avoid_count=1)


def test_the_map_shows_self_agents_objects_and_what_is_taken(town_of, act):
    town = town_of([("shower", (3, 3)), ("bed", (0, 7)), ("bed", (7, 7))], [{"at": (3, 2)}, {"at": (1, 0)}])
    act(town, USE, WAIT)
    window = town.observe()["map"][0]
    assert window.shape == (2, 4, 11, 11)
    assert window.dtype == np.uint8
    cells = [[tuple(int(n) - 5 for n in place) for place in np.argwhere(channel)] for channel in window[0]]
    assert cells == [[(0, 0)], [(-2, -2)], [(-3, 5), (0, 1), (4, 5)], [(0, 1)]]
    cells = [[tuple(int(n) - 5 for n in place) for place in np.argwhere(channel)] for channel in window[1]]
    assert cells == [[(0, 0)], [(2, 2)], [(2, 3)], [(2, 3)]]


def test_the_full_map_points_to_what_is_wanted(town_of):
    objects = [("shower", (3, 5)), ("bed", (15, 4))]
    people = [{"at": (3, 3), "hygiene": (0.2, 0.2)}, {"at": (8, 3), "energy": (0.2, 0.2)}]
    town = town_of(objects, people, size=(16, 16), town={"variant": "full"})
    window = town.observe()["map"][0]
    steps = np.arange(-5, 6)
    nearer = np.abs(steps)[:, None] + np.abs(steps - 2) < 2
    assert (window[0, 4] == nearer).all()
    assert np.argwhere(window[0, 5]).tolist() == [[5, 7]]
    assert np.argwhere(window[1, 5]).tolist() == [[10, 6]]  # out of the window: its nearest cell
    assert not town_of([], [{}], town={"variant": "full"}).observe()["map"][0, 0, 4:].any()


def test_variants_agree_on_what_they_share(town_of):
    objects, people = [("shower", (3, 5)), ("fridge", (6, 4))], [{}, {}, {}]
    seen = {
        (variant, kind): town_of(objects, people, town={"variant": variant, "map_dtype": kind}, worlds=3).observe()
        for variant in ("hybrid", "full", "compact")
        for kind in ("uint8", "float32")
    }
    base = seen["hybrid", "uint8"]
    for (variant, kind), parts in seen.items():
        assert (parts["features"] == base["features"]).all()
        assert ("map" in parts) == (variant != "compact")
        if "map" in parts:
            assert parts["map"].dtype == np.dtype(kind)
            assert (parts["map"][:, :, :4] == base["map"]).all()


def test_the_absent_see_nothing_and_are_not_seen(town_of, act):
    people = [{"at": (3, 3), "hunger": (0.031, 0.031)}, {"at": (3, 4)}]
    town = town_of([("bed", (3, 3))], people, town={"variant": "full"}, ties=[{"agents": (1, 0), "trust": 0.9}])
    expect(town, 1, nearest_agent_distance=1 / 16, social_friend_1_present=1)
    act(town, WAIT)
    seen = town.observe()
    assert not seen["features"][0, 0].any()
    assert not seen["map"][0, 0].any()
    assert not seen["map"][0, 1, 1].any()
    expect(town, 1, nearest_agent_distance=1, social_friend_1_present=0, neighbor_agent_ratio=0)


def test_some_worlds_alone_are_seen_as_among_all(town_of, act):
    town = town_of([("bed", (3, 3)), ("fridge", (5, 5))], [{}] * 3, worlds=5)
    act(town, USE, Action.NORTH, Action.WEST)
    some = town.observe(np.array([3, 1]))
    all_of_them = town.observe()
    for name, rows in some.items():
        assert (rows == all_of_them[name][[3, 1]]).all()


@pytest.mark.parametrize("variant", ["hybrid", "full", "compact"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_observations_have_the_shapes_and_types_of_their_space(town_of, variant, kind):
    town = town_of([("bed", (3, 3))], [{}] * 2, town={"variant": variant, "map_dtype": kind})
    space, _ = town_spaces(town.config)
    seen = town.observe()
    assert seen.keys() == space.keys()
    for agent in range(2):
        assert space.contains({name: rows[0, agent] for name, rows in seen.items()})
