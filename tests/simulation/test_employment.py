"""Employment: shifts, lateness and absence, wages and punctuality, and covering for a colleague."""

import numpy as np
import pytest

from townlet_core.simulation.employment import ABSENT, LATE, NO_JOB, ON_TIME, POST_SHIFT, PRE_SHIFT
from townlet_core.simulation.tick import Action

WAIT, USE, LEAVE = Action.WAIT, Action.USE, Action.LEAVE
SHOP = [("grocer", (3, 3))]
WORKER = {"job": "grocer", "shift": (10, 60)}
COVER = {"job": "grocer", "shift": (100, 120)}


def wallets(town):
    return town.state.wallet[0].tolist()


def test_a_whole_shift_earns_the_daily_wage_and_is_attended_from_the_first_to_the_last_tick(town_of, act):
    town = town_of(SHOP, [{"at": (3, 2), "wallet": 0} | WORKER], start_tick=10)
    act(town, USE)
    wages = float(town.reward_terms["wages"][0, 0])
    assert wages == pytest.approx(3.6 / 50)
    for _ in range(49):
        act(town, WAIT)
        wages += float(town.reward_terms["wages"][0, 0])
        assert town.events.by_name()["shift_ticks_attended"].tolist() == [1]
    assert wallets(town) == pytest.approx([3.6], abs=1e-5)
    assert wages == pytest.approx(3.6, abs=1e-5)
    assert town.state.using.tolist() == [[-1]]
    assert (town.state.attended_ticks[0, 0], town.state.scheduled_ticks[0, 0]) == (50, 50)
    act(town, USE)
    assert town.state.using.tolist() == [[-1]]
    assert wallets(town) == pytest.approx([3.6], abs=1e-5)


def test_nobody_works_before_the_shift_or_elsewhere_or_without_a_job(town_of):
    people = [{"at": (3, 2)} | WORKER, {"at": (2, 3)}, {"at": (3, 4), "job": "cafe", "shift": (10, 60)}]
    objects = [*SHOP, ("cafe", (7, 7))]
    assert town_of(objects, people, start_tick=9).action_mask()[0, :, USE].tolist() == [False] * 3
    assert town_of(objects, people, start_tick=10).action_mask()[0, :, USE].tolist() == [True, False, False]
    assert town_of(objects, people, start_tick=59).action_mask()[0, :, USE].tolist() == [True, False, False]
    assert town_of(objects, people, start_tick=60).action_mask()[0, :, USE].tolist() == [False] * 3


def test_the_shift_state_goes_from_before_to_late_to_absent_to_after(town_of, act, events_of):
    town = town_of(SHOP, [{"at": (7, 7)} | WORKER, {"at": (0, 0)}], start_tick=8)
    seen, late, absent = [int(town.state.shift_state[0, 0])], [], []
    for now in range(8, 62):
        act(town, WAIT)
        seen.append(int(town.state.shift_state[0, 0]))
        late += [now] * len(events_of(town, "shift_late_start"))
        absent += [now] * len(events_of(town, "shift_absent"))
        assert town.state.shift_state[0, 1] == NO_JOB
    expected = [PRE_SHIFT] * 2 + [ON_TIME] * 6 + [LATE] * 25 + [ABSENT] * 19 + [POST_SHIFT] * 3
    assert seen == expected
    assert (late, absent) == ([15], [40])  # the sixth and the thirty-first missed tick


def test_wages_are_withheld_from_the_absent_until_the_shift_ends(town_of, act):
    town = town_of(SHOP, [{"at": (7, 7), "wallet": 0} | WORKER], start_tick=10)
    act(town, WAIT, times=30)
    assert town.state.wages_withheld[0, 0] == 0
    act(town, WAIT, times=10)
    assert town.state.wages_withheld[0, 0] == pytest.approx(10 * 3.6 / 50, abs=1e-6)
    act(town, WAIT, times=10)
    assert town.state.wages_withheld[0, 0] == town.state.missed[0, 0] == 0
    assert wallets(town) == [0]


@pytest.mark.parametrize(("delay", "bonus"), [(0, 0.05), (5, 0.05), (6, 0)])
def test_the_punctuality_bonus_is_paid_once_to_who_begins_within_the_grace(town_of, act, delay, bonus):
    town = town_of(SHOP, [{"at": (3, 2)} | WORKER], start_tick=10)
    for _ in range(delay):
        act(town, WAIT)
        assert town.reward_terms["punctuality"][0, 0] == 0
    act(town, USE)
    assert town.reward_terms["punctuality"][0, 0] == pytest.approx(bonus)
    act(town, LEAVE)
    act(town, USE)
    assert town.state.using.tolist() == [[0]]
    assert town.reward_terms["punctuality"][0, 0] == 0


def test_a_new_day_is_a_new_shift_with_a_new_bonus(town_of, act):
    town = town_of(SHOP, [{"at": (3, 2)} | WORKER], start_tick=10, town={"day_ticks": 70})
    bonuses = []
    for _ in range(140):
        act(town, USE)
        bonuses.append(float(town.reward_terms["punctuality"][0, 0]))
    assert [tick for tick, bonus in enumerate(bonuses) if bonus] == [0, 70]
    assert town.state.attended_ticks[0, 0] == 100


def test_a_workplace_takes_as_many_as_its_capacity(town_of, act):
    objects = [{"kind": "grocer", "at": (3, 3), "capacity": 2}]
    people = [{"at": at} | WORKER for at in ((3, 2), (2, 3), (3, 4))]
    town = town_of(objects, people, start_tick=10)
    act(town, USE)
    assert (town.state.using[0] == 0).sum() == 2
    assert town.action_mask()[0, :, USE].tolist() == [True, True, False]
    act(town, WAIT, USE, USE)
    assert (town.state.using[0] == 0).sum() == 2


def test_a_late_friend_is_covered_and_both_come_closer(town_of, act, events_of):
    people = [{"at": (7, 7), "wallet": 0} | WORKER, {"at": (3, 2), "wallet": 0} | COVER]
    more = {"start_tick": 10, "ties": [{"agents": (1, 0), "trust": 0.5, "rivalry": 0.4}]}
    calm = {"ties": {"trust_decay": 0.0, "rivalry_decay": 0.0}}
    town = town_of(SHOP, people, town=calm, **more)
    act(town, WAIT, times=5)
    assert not town.action_mask()[0, 1, USE]
    act(town, WAIT)
    assert town.action_mask()[0, 1, USE]
    act(town, WAIT, USE)
    assert events_of(town, "employment_helped_when_late") == [(1, 0)]
    assert town.state.covering.tolist() == [[-1, 0]]
    assert wallets(town) == pytest.approx([0, 3.6 / 50], abs=1e-6)
    assert town.reward_terms["wages"][0].tolist() == pytest.approx([0, 3.6 / 50])
    state = town.state
    assert [float(tie[0, 1, 0]) for tie in (state.trust, state.familiarity, state.rivalry)] == pytest.approx(
        [0.7, 0.1, 0.3]
    )
    assert [float(tie[0, 0, 1]) for tie in (state.trust, state.familiarity, state.rivalry)] == pytest.approx(
        [0.2, 0.1, 0]
    )
    act(town, WAIT, times=42)
    assert town.state.covering.tolist() == [[-1, 0]]
    act(town, WAIT)
    assert town.state.covering.tolist() == [[-1, -1]]
    assert wallets(town) == pytest.approx([0, 44 * 3.6 / 50], abs=1e-5)


def test_anybody_else_takes_the_shift_of_the_absent_only_and_is_resented(town_of, act, events_of):
    people = [{"at": (7, 7)} | WORKER, {"at": (3, 2)} | COVER]
    town = town_of(SHOP, people, start_tick=10, town={"ties": {"trust_decay": 0.0, "rivalry_decay": 0.0}})
    act(town, WAIT, times=30)
    assert not town.action_mask()[0, 1, USE]
    act(town, WAIT)
    act(town, WAIT, USE)
    assert events_of(town, "employment_took_my_shift") == [(1, 0)]
    state = town.state
    assert [float(tie[0, 0, 1]) for tie in (state.trust, state.familiarity, state.rivalry)] == pytest.approx(
        [-0.1, 0, 0.3]
    )
    assert [float(tie[0, 1, 0]) for tie in (state.trust, state.familiarity, state.rivalry)] == [0, 0, 0]


def test_a_shift_is_covered_by_one_only(town_of, act, events_of):
    people = [{"at": (7, 7)} | WORKER, {"at": (3, 2)} | COVER, {"at": (3, 4)} | COVER]
    town = town_of(SHOP, people, start_tick=10)
    act(town, WAIT, times=31)
    act(town, WAIT, USE, USE)
    assert len(events_of(town, "employment_took_my_shift")) == 1
    assert (town.state.covering[0] == 0).sum() == 1
    assert not town.action_mask()[0, np.flatnonzero(town.state.using[0] < 0)[-1], USE]


def test_who_covers_goes_home_when_the_colleague_comes(town_of, act, events_of):
    people = [{"at": (3, 4), "wallet": 0} | WORKER, {"at": (3, 2), "wallet": 0} | COVER]
    town = town_of(SHOP, people, start_tick=10)
    act(town, WAIT, times=31)
    act(town, WAIT, USE)
    act(town, USE, WAIT)
    assert town.state.using.tolist() == [[0, -1]]
    assert town.state.covering.tolist() == [[-1, -1]]
    assert events_of(town, "affordance_finish") == [(1, 0)]
    assert wallets(town) == pytest.approx([3.6 / 50, 3.6 / 50], abs=1e-6)


def test_a_wallet_holds_its_limit_at_most(town_of, act):
    town = town_of(
        SHOP, [{"at": (3, 2), "wallet": 4.9} | WORKER], start_tick=10, town={"employment": {"wallet_limit": 5}}
    )
    act(town, USE, times=50)
    assert wallets(town) == [5]
