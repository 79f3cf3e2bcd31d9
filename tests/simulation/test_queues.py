"""Queues: who asks waits in line, the longest wait is next, and who asks in vain resents the holder."""

import numpy as np
import pytest

from townlet_core.simulation.tick import Action

WAIT, USE, LEAVE = Action.WAIT, Action.USE, Action.LEAVE
AROUND = ((3, 2), (3, 4), (2, 3), (4, 3))
DIRTY = {"hygiene": (0.3, 0.3)}


@pytest.fixture
def shower(town_of):
    """One shower with agents around it, and one more in a far corner; the last one's slot would be index -1."""

    def build(users=3, **more):
        return town_of([("shower", (3, 3))], [*[{"at": at} | DIRTY for at in AROUND[:users]], {"at": (7, 7)}], **more)

    return build


def ties(town, one, other):
    return [float(tie[0, one, other]) for tie in (town.state.trust, town.state.familiarity, town.state.rivalry)]


def test_a_free_object_is_used_at_once_without_a_conflict(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    assert town.state.using.tolist() == [[0, -1, -1, -1]]
    assert town.state.user.tolist() == [[0]]
    assert town.state.queue.tolist() == [[-1] * 4]
    assert events_of(town, "affordance_start") == [(0, 0)]
    assert events_of(town, "queue_conflict") == []


def test_who_asks_for_a_busy_object_joins_its_queue_and_resents_who_holds_it(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    assert town.state.queue.tolist() == [[-1, 0, -1, -1]]
    assert events_of(town, "queue_conflict") == [(1, 0)]
    assert town.events.sums[0].tolist() == pytest.approx([0.4])
    assert ties(town, 1, 0) == pytest.approx([0, -0.049, 0.145], abs=1e-6)  # and a tick's decay
    assert ties(town, 0, 1) == [0, 0, 0]
    assert not town.state.last_success[0, 1]


def test_the_intensity_grows_with_the_queue_and_with_a_ghost_step(shower, act):
    town = shower(4)
    act(town, USE, WAIT, WAIT, WAIT, WAIT)
    intensities = []
    for actions in ((WAIT, USE, WAIT, WAIT), (WAIT, WAIT, USE, WAIT), (WAIT, WAIT, WAIT, USE), (WAIT, USE, WAIT, WAIT)):
        act(town, *actions, WAIT)
        intensities.append(float(town.events.sums[0, 0]))
    assert intensities == pytest.approx([0.4, 0.65, 0.9, 0.9])
    act(town, WAIT, USE, WAIT, WAIT, WAIT)
    assert town.events.sums[0, 0] == pytest.approx(1.5 + 2 * 0.25)
    assert town.events.counts[2, 0] == 1


@pytest.mark.parametrize(
    ("forgiveness", "ambition", "rivalry"), [(0, 1, 0.195), (1, 0, 0.075), (1, 1, 0.0975), (-1, -1, 0.15)]
)
def test_ambition_feeds_rivalry_and_forgiveness_halves_it(town_of, act, forgiveness, ambition, rivalry):
    people = [{"at": (3, 2)}, {"at": (3, 4), "personality": (0, forgiveness, ambition)}]
    town = town_of([("shower", (3, 3))], people)
    act(town, USE, WAIT)
    act(town, WAIT, USE)
    assert ties(town, 1, 0) == pytest.approx([0, -0.049, rivalry - 0.005], abs=1e-6)


def test_a_ghost_step_does_not_disturb_who_uses_the_object(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    seen = []
    for _ in range(6):
        act(town, WAIT, USE, WAIT, WAIT)
        seen.append(len(events_of(town, "ghost_step")))
    assert seen == [0, 0, 1, 0, 0, 1]
    assert town.state.user.tolist() == [[0]]


def test_a_ghost_step_takes_the_promise_of_one_who_does_not_come(shower, act, events_of):
    town = shower(2)
    act(town, USE, WAIT, WAIT)
    act(town, WAIT, USE, WAIT)
    act(town, LEAVE, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[1]]
    for expected in (1, 1, 0):
        act(town, USE, WAIT, WAIT)
        assert town.state.reserved.tolist() == [[expected]]
    assert events_of(town, "ghost_step") == [(0, 1)]
    act(town, USE, USE, WAIT)
    assert town.state.user.tolist() == [[0]]
    assert events_of(town, "queue_conflict") == [(1, 0)]
    assert town.state.queue.tolist() == [[-1, 0, -1]]


def test_the_longest_wait_is_next(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, WAIT, USE, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, times=26)
    assert town.state.remaining[0, 0] == 1
    act(town, WAIT)
    assert town.state.reserved.tolist() == [[2]]
    assert events_of(town, "queue_handover") == [(0, 2)]
    act(town, WAIT, USE, USE, WAIT)
    assert town.state.user.tolist() == [[2]]
    assert events_of(town, "queue_conflict") == [(1, 2)]


def test_age_goes_before_a_draw_but_not_before_a_longer_wait(shower, act):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, USE, WAIT)
    town.state.age[0, 2] = 1000
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[2]]
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, WAIT, USE, WAIT)
    town.state.age[0, 2] = 9000  # worth 0.9 ticks of waiting
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[1]]


def test_among_equals_a_draw_decides(shower, act):
    town = shower(3, worlds=3000, record=False)
    act(town, USE, USE, USE, WAIT)
    counts = np.bincount(town.state.user[:, 0], minlength=3)
    assert counts.sum() == 3000
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.4  # chi-square, 2 degrees of freedom, once in 10,000


def test_a_handover_brings_both_closer(shower, act):
    town = shower(town={"ties": {"trust_decay": 0.0, "rivalry_decay": 0.0}})
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, times=28)
    assert town.events.counts[1, 0] == 1
    assert ties(town, 0, 1) == pytest.approx([0.05, 0.05, 0], abs=1e-6)
    assert ties(town, 1, 0) == pytest.approx([0.05, 0.0, 0.1], abs=1e-6)


def test_who_breaks_off_hands_nothing_over(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[1]]
    assert events_of(town, "queue_handover") == []


def test_who_leaves_the_queue_gives_the_promise_to_the_next(shower, act):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, WAIT, USE, WAIT)
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[1]]
    act(town, WAIT, LEAVE, WAIT, WAIT)
    assert town.state.queue.tolist() == [[-1, -1, 0, -1]]
    assert town.state.reserved.tolist() == [[2]]


def test_a_successful_use_is_followed_by_a_cooldown_of_that_agent_and_object(shower, act):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, times=29)
    assert town.state.using.tolist() == [[-1] * 4]
    for _ in range(60):
        assert town.action_mask()[0, :3, USE].tolist() == [False, True, True]
        act(town, WAIT)
    assert town.action_mask()[0, 0, USE]


def test_who_breaks_off_may_ask_again_at_once(shower, act):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.action_mask()[0, 0, USE]


def test_nobody_is_blamed_when_the_one_who_was_next_finds_nothing(town_of, act, events_of):
    """The fridge is empty: the first in line is sent away, and the second asked in vain, but of nobody."""
    people = [{"at": at, "hunger": (0.5, 0.5)} for at in AROUND[:3]] + [{"at": (7, 7)}]
    town = town_of([("fridge", (3, 3))], people, town={"queues": {"fridge_stock": 1}})
    town.state.stock[...] = 2
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, WAIT, USE, WAIT)
    town.state.stock[...] = 0
    rivalry = town.state.rivalry.sum()
    act(town, WAIT, times=12)
    assert town.state.reserved.tolist() == [[1]]
    act(town, WAIT, USE, USE, WAIT)
    assert events_of(town, "affordance_fail") == [(1, 0)]
    assert events_of(town, "queue_conflict") == []
    assert town.state.rivalry.sum() < rivalry
    assert (town.state.rivalry[0, :, 3] == 0).all()
    assert town.state.queue.tolist() == [[-1, -1, 0, -1]]
    assert town.state.reserved.tolist() == [[2]]


def test_asking_again_does_not_lose_the_place_in_the_queue(shower, act):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, WAIT, WAIT, USE, WAIT)
    act(town, WAIT, USE, WAIT, WAIT)
    act(town, LEAVE, WAIT, WAIT, WAIT)
    assert town.state.reserved.tolist() == [[1]]


def test_who_comes_to_a_free_object_is_handed_nothing(shower, act, events_of):
    town = shower()
    act(town, USE, WAIT, WAIT, WAIT)
    act(town, WAIT, times=29)
    act(town, WAIT, USE, WAIT, WAIT)
    assert town.state.user.tolist() == [[1]]
    assert events_of(town, "queue_handover") == []
