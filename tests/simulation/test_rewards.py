"""Rewards: each term in closed form, their sum, and the limits of a tick and of a life."""

import numpy as np
import pytest

from townlet_core.simulation.rewards import TERMS
from townlet_core.simulation.tick import Action

WAIT, USE = Action.WAIT, Action.USE
STILL = {"needs": {"hunger_decay": 0, "hygiene_decay": 0, "energy_decay": 0}}


def test_unmet_needs_cost_their_weighted_squares_and_survival_earns(town_of, act):
    town = town_of([], [{"hunger": (0.5, 0.5), "hygiene": (0.8, 0.8), "energy": (0.4, 0.4)}], town=STILL)
    rewards, _ = act(town, WAIT)
    cost = 0.1 * (1.0 * 0.25 + 0.6 * 0.04 + 0.8 * 0.36)
    assert town.reward_terms["needs"][0, 0] == pytest.approx(-cost, rel=1e-5)
    assert town.reward_terms["survival"][0, 0] == pytest.approx(0.002)
    assert rewards[0, 0] == pytest.approx(0.002 - cost, rel=1e-5)
    assert rewards.dtype == np.float32


def test_every_term_is_there_and_they_add_up(town_of, act):
    town = town_of([("cafe", (3, 3))], [{"at": (3, 2), "job": "cafe", "shift": (0, 9)}, {}], worlds=3)
    for _ in range(5):
        rewards, _ = act(town, USE, Action.NORTH)
        assert tuple(town.reward_terms) == TERMS
        assert sum(town.reward_terms.values()) == pytest.approx(rewards, abs=1e-6)


@pytest.mark.parametrize(("survival", "expected"), [(0.9, 0.2), (-0.9, -0.2), (0.15, 0.15)])
def test_a_ticks_reward_is_clipped(town_of, act, survival, expected):
    town = town_of([], [{}], town=STILL | {"rewards": {"survival": survival}})
    rewards, _ = act(town, WAIT)
    assert rewards[0, 0] == pytest.approx(expected)
    assert town.reward_terms["clipping"][0, 0] == pytest.approx(expected - survival, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_lifes_return_is_clipped(town_of, act, sign):
    town = town_of([], [{}], town=STILL | {"rewards": {"survival": sign * 0.2, "life_limit": 0.5}})
    earned = [float(act(town, WAIT)[0][0, 0]) for _ in range(5)]
    assert earned == pytest.approx([sign * 0.2, sign * 0.2, sign * 0.1, 0, 0], abs=1e-6)


def test_the_end_of_a_life_is_not_clipped(town_of, act):
    constants = {"rewards": {"faint": -3, "survival": -1}}
    town = town_of([], [{"hunger": (0.031, 0.031)}], town=constants)
    rewards, _ = act(town, WAIT)
    assert rewards[0, 0] == pytest.approx(-3.2)


def test_a_newcomer_earns_nothing_positive_in_its_first_ticks_and_loses_as_ever(town_of, act):
    quick = {"lives": {"empty_ticks_min": 1, "empty_ticks_max": 1}, "rewards": {"survival": 0.1}}
    town = town_of([], [{"hunger": (0.031, 0.031)}], town=quick)
    first, _ = act(town, WAIT)
    assert first[0, 0] == pytest.approx(-1 + town.reward_terms["needs"][0, 0] + 0.1, abs=1e-6)
    gone, _ = act(town, WAIT)
    assert gone[0, 0] == 0
    assert town.state.present.all()
    town.state.hunger[...] = 1
    earned = [float(act(town, WAIT)[0][0, 0]) for _ in range(12)]
    assert earned[:10] == [0] * 10
    assert min(earned[10:]) > 0.09
    town.state.age[...] = 0
    town.state.hunger[...] = town.state.hygiene[...] = town.state.energy[...] = 0.1
    assert act(town, WAIT)[0][0, 0] < -0.05


def test_a_first_life_has_no_quiet_ticks(town_of, act):
    assert act(town_of([], [{}]), WAIT)[0][0, 0] > 0


def test_who_is_absent_earns_nothing(town_of, act):
    town = town_of([], [{"hunger": (0.031, 0.031)}, {}], town={"rewards": {"survival": 0.1}})
    act(town, WAIT)
    rewards, _ = act(town, WAIT)
    assert rewards[0, 0] == 0
    assert all(term[0, 0] == 0 for term in town.reward_terms.values())


def test_discounted_shaping_adds_up_to_the_difference_of_the_potentials(town_of, act):
    """Ng, Harada and Russell 1999: the shaped return differs by what the state was worth at first."""
    gamma = 0.9
    shaped = {"rewards": {"shaping": 1.0, "shaping_gamma": gamma, "tick_limit": 100}}
    town = town_of([("bed", (3, 3))], [{"at": (3, 2), "energy": (0.5, 0.5), "hunger": (0.3, 0.3)}], town=shaped)
    first = -(0.7**2 + 0.8 * 0.5**2)
    total = 0.0
    for tick in range(70):
        act(town, USE)
        total += gamma**tick * float(town.reward_terms["shaping"][0, 0])
    state = town.state
    last = -sum(
        weight * (1 - float(need[0, 0])) ** 2
        for weight, need in ((1, state.hunger), (0.6, state.hygiene), (0.8, state.energy))
    )
    assert total == pytest.approx(gamma**70 * last - first, abs=1e-5)


def test_a_deaths_potential_is_nothing(town_of, act):
    shaped = {"rewards": {"shaping": 1.0, "shaping_gamma": 0.9, "tick_limit": 100}}
    town = town_of([], [{"hunger": (0.031, 0.031)}], town=shaped)
    act(town, WAIT)
    assert town.reward_terms["shaping"][0, 0] == pytest.approx((1 - 0.031) ** 2, rel=1e-5)
