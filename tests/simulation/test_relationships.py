"""Relationships: ties fade and stay in bounds, chats succeed by chance and by liking, rivals are kept away from."""

import numpy as np
import pytest

from townlet_core.simulation.relationships import relate
from townlet_core.simulation.tick import Action, Tick

WAIT, USE, CHAT = Action.WAIT, Action.USE, Action.CHAT
CALM = {"ties": {"trust_decay": 0.0, "rivalry_decay": 0.0}}
PAIR = [{"at": (3, 3)}, {"at": (3, 4)}]


def tick_of(town):
    return Tick.begin(town.config, town.layout, town.state, town.events, stage="OFF")


def test_ties_fade_towards_nothing_and_stop_there(town_of, act):
    ties = [
        {"agents": (0, 1), "trust": 0.5, "familiarity": -0.5, "rivalry": 0.5},
        {"agents": (1, 0), "trust": -0.0005, "familiarity": 0.0005, "rivalry": 0.004},
    ]
    town = town_of([], PAIR, ties=ties)
    act(town, WAIT, times=10)
    state = town.state
    assert [float(tie[0, 0, 1]) for tie in (state.trust, state.familiarity, state.rivalry)] == pytest.approx(
        [0.49, -0.49, 0.45], abs=1e-6
    )
    assert [float(tie[0, 1, 0]) for tie in (state.trust, state.familiarity, state.rivalry)] == [0, 0, 0]


def test_ties_stay_in_bounds(town_of):
    town = town_of([], PAIR)
    rows = np.array([0])
    for sign in (1, -1):
        for _ in range(3):
            relate(tick_of(town), rows, rows, rows + 1, (sign * 0.9,) * 3)
        state = town.state
        assert [float(tie[0, 0, 1]) for tie in (state.trust, state.familiarity, state.rivalry)] == [
            sign,
            sign,
            max(sign, 0),
        ]


def test_of_more_ties_than_count_the_weakest_are_forgotten(town_of):
    town = town_of([], [{"at": (row, 0)} for row in range(5)], town={"ties": {"most_ties": 2}})
    zeros = np.zeros(1, np.int64)
    for other, deltas in ((1, (0.3, 0, 0)), (2, (-0.2, 0.2, 0)), (3, (0, 0, 0.1))):
        relate(tick_of(town), zeros, zeros, zeros + other, deltas)
    assert town.state.trust[0, 0].tolist() == pytest.approx([0, 0.3, -0.2, 0, 0])
    assert town.state.rivalry[0, 0].tolist() == [0] * 5
    relate(tick_of(town), zeros, zeros, zeros + 4, (0, 0, 0.9))
    assert np.flatnonzero(town.state.trust[0, 0]).tolist() == [2]
    assert town.state.rivalry[0, 0, 4] == pytest.approx(0.9)


def test_a_scenario_gives_no_more_ties_than_count(town_of):
    ties = [{"agents": (0, other), "trust": 0.1 * other} for other in range(1, 5)]
    town = town_of([], [{"at": (row, 0)} for row in range(5)], town={"ties": {"most_ties": 2}}, ties=ties)
    assert town.state.trust[0, 0].tolist() == pytest.approx([0, 0, 0, 0.3, 0.4])


@pytest.mark.parametrize(
    ("trust", "familiarity", "chance"), [(0, 0, 0.7), (0.5, 0, 0.805), (-1, -1, 0.392), (1, 1, 1.0)]
)
def test_a_chat_succeeds_with_the_chance_that_the_ties_give(town_of, act, trust, familiarity, chance):
    ties = [{"agents": (0, 1), "trust": trust, "familiarity": familiarity}]
    town = town_of([], PAIR, worlds=4000, ties=ties, record=False)
    act(town, CHAT, WAIT)
    share = town.events.counts[4].mean()
    assert share == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / 4000) + 1e-9)
    assert (town.events.counts[4] + town.events.counts[5] == 1).all()


def test_the_quality_of_a_chat_is_uniform_and_scales_what_it_changes(town_of, act):
    town = town_of([], PAIR, worlds=4000, town=CALM)
    act(town, CHAT, WAIT)
    records = [record for record in town.events.records if record.kind == "chat_success"]
    quality = np.array([record.value for record in records])
    worlds = np.array([record.world for record in records])
    assert 0.4 <= quality.min() < 0.41
    assert 0.99 < quality.max() <= 1
    assert quality.mean() == pytest.approx(0.7, abs=4.5 * 0.6 / np.sqrt(12 * len(quality)))
    for one, other in ((0, 1), (1, 0)):
        assert town.state.trust[worlds, one, other] == pytest.approx(0.05 * quality, abs=1e-6)
        assert town.state.familiarity[worlds, one, other] == pytest.approx(0.10 * quality, abs=1e-6)
    failed = np.setdiff1d(np.arange(4000), worlds)
    assert np.allclose(town.state.familiarity[failed, 0, 1], -0.05)
    assert np.allclose(town.state.rivalry[failed, 1, 0], 0.05)
    assert not town.state.last_success[failed, 0].any()


def test_one_talks_to_the_neighbour_whom_one_likes_best(town_of, act):
    people = [{"at": (3, 3)}, {"at": (3, 4)}, {"at": (3, 2)}, {"at": (7, 7)}]
    ties = [
        {"agents": (0, 1), "trust": 0.2, "familiarity": 0.2},
        {"agents": (0, 2), "trust": 0.5},
        {"agents": (0, 3), "trust": 1},
    ]
    town = town_of([], people, ties=ties)
    act(town, CHAT, WAIT, WAIT, WAIT)
    assert [(record.actor, record.target) for record in town.events.records] == [(0, 2)]


def test_among_equally_liked_neighbours_a_draw_decides(town_of, act):
    people = [{"at": (3, 3)}, {"at": (3, 4)}, {"at": (3, 2)}, {"at": (2, 3)}]
    town = town_of([], people, worlds=3000)
    act(town, CHAT, WAIT, WAIT, WAIT)
    counts = np.bincount([record.target for record in town.events.records], minlength=4)
    assert counts[0] == 0
    assert counts.sum() == 3000
    assert ((counts[1:] - 1000) ** 2 / 1000).sum() < 18.4  # chi-square, 2 degrees of freedom, once in 10,000


def test_who_walks_off_is_not_talked_to_and_nobody_else_is(town_of, act):
    """The last slot is what an index of -1 means: it must not be taken for the neighbour who has left."""
    town = town_of([], [*PAIR, {"at": (7, 7)}], worlds=50)
    act(town, CHAT, Action.EAST, WAIT)
    assert town.events.records == []
    assert not town.state.trust.any()
    assert not town.state.familiarity.any()
    assert not town.state.last_success[:, 0].any()


def test_who_sleeps_hears_nothing(town_of, act):
    town = town_of([("bed", (3, 5))], PAIR)
    assert town.action_mask()[0, 0, CHAT]
    act(town, CHAT, USE)
    assert town.events.counts[4:6].sum() == 0
    assert not town.action_mask()[0, :, CHAT].any()


@pytest.mark.parametrize(("stage", "factor"), [("OFF", 0.0), ("C1", 1.0), ("C2", 1.0), ("C3", (1 + 0.5 + 0.4) / 3)])
def test_a_good_chat_is_rewarded_on_both_sides_by_how_they_stand(town_of, act, stage, factor):
    ties = [{"agents": (0, 1), "trust": 0.5, "familiarity": 0.4}, {"agents": (1, 0), "trust": -0.1, "familiarity": 0.0}]
    town = town_of([], PAIR, worlds=50, ties=ties, town={"social_stage": stage})
    act(town, CHAT, WAIT)
    record = next(record for record in town.events.records if record.kind == "chat_success")
    base = 0.01 + 0.3 * 0.5 + 0.2 * 0.4
    social = town.reward_terms["social"][record.world]
    assert social[0] == pytest.approx(base * record.value * factor, rel=1e-5)
    other = 0.0 if stage == "OFF" else (0.01 - 0.3 * 0.1) * record.value * (0.9 / 3 if stage == "C3" else 1)
    assert social[1] == pytest.approx(other, rel=1e-4)
    failed = [record.world for record in town.events.records if record.kind == "chat_failure"]
    assert failed
    assert not town.reward_terms["social"][failed].any()


def test_a_chat_earns_nothing_while_a_need_is_in_great_want(town_of, act):
    people = [{"at": (3, 3), "hygiene": (0.14, 0.14)}, {"at": (3, 4), "hygiene": (0.16, 0.16)}]
    town = town_of([], people, worlds=20, town={"social_stage": "C1"})
    act(town, CHAT, WAIT)
    assert not town.reward_terms["social"][:, 0].any()
    assert town.reward_terms["social"][:, 1].any()


@pytest.mark.parametrize(("stage", "paid"), [("C1", 0.0), ("C2", 0.005), ("C3", 0.005)])
def test_moving_out_of_a_rivals_reach_is_noted_and_paid_from_c2_on(town_of, act, stage, paid):
    ties = [{"agents": (0, 1), "rivalry": 0.7}, {"agents": (1, 0), "rivalry": 0.6}]
    town = town_of([], PAIR, ties=ties, town={"social_stage": stage})
    act(town, WAIT, WAIT)
    assert town.state.avoid_count.tolist() == [[0, 0]]
    town = town_of([], PAIR, ties=ties, town={"social_stage": stage})
    act(town, Action.WEST, WAIT)
    assert town.state.avoid_count.tolist() == [[1, 0]]
    assert town.reward_terms["avoidance"][0].tolist() == pytest.approx([paid, 0])


def test_not_joining_the_queue_of_a_rival_is_keeping_away_from_it(town_of, act):
    people = [{"at": (3, 2)}, {"at": (3, 4)}, {"at": (4, 3)}]
    ties = [{"agents": (0, 1), "rivalry": 0.9}]
    town = town_of([("shower", (3, 3))], people, ties=ties, town={"social_stage": "C2"} | CALM)
    act(town, WAIT, USE, WAIT)
    act(town, WAIT, WAIT, WAIT)
    assert town.state.avoid_count.tolist() == [[2, 0, 0]]  # the third has no rival
    act(town, USE, WAIT, WAIT)
    assert town.state.avoid_count.tolist() == [[2, 0, 0]]


def test_a_rival_who_keeps_step_is_not_avoided(town_of, act):
    ties = [{"agents": (0, 1), "rivalry": 0.9}]
    town = town_of([], PAIR, ties=ties, town={"social_stage": "C2"})
    act(town, Action.NORTH, Action.NORTH)
    assert town.state.avoid_count.tolist() == [[0, 0]]
