"""Events: counted for each world, kept as records on request, and named as in the telemetry."""

import numpy as np
import pytest

from townlet_core.simulation.events import KINDS, MEASURES, EventLog
from townlet_core.simulation.tick import Action

TICKS = np.array([4, 9])


def test_counts_are_kept_for_each_world_and_kind():
    log = EventLog.empty(2)
    log.add("queue_conflict", np.array([1, 1, 0]), ticks=TICKS, values=np.array([0.4, 0.65, 1.5]))
    log.add("chat_failure", np.array([0]), ticks=TICKS)
    log.add("ghost_step", np.array([], np.int64), ticks=TICKS)
    assert log.counts[KINDS.index("queue_conflict")].tolist() == [1, 2]
    assert log.counts[KINDS.index("chat_failure")].tolist() == [1, 0]
    assert log.counts.sum() == 4
    assert log.sums[0].tolist() == pytest.approx([1.5, 1.05])
    assert log.records == []


def test_records_say_when_where_who_and_how_much():
    log = EventLog.empty(2)
    log.is_recording = True
    log.add("chat_success", np.array([1]), ticks=TICKS, actors=np.array([3]), targets=np.array([2]), values=0.5)
    (record,) = log.records
    assert (record.tick, record.world, record.kind) == (10, 1, "chat_success")
    assert (record.actor, record.target, record.value) == (3, 2, 0.5)
    log.clear()
    assert log.records == []
    assert not log.counts.any()
    assert not log.sums.any()


def test_names_are_those_of_the_telemetry():
    log = EventLog.empty(1)
    named = log.by_name()
    assert len(named) == len(KINDS) + 2 + len(MEASURES)
    for name in (
        *("queue_conflict_events", "queue_conflict_intensity_sum", "shared_meal_events", "late_help_events"),
        *("shift_takeover_events", "chat_success_events", "chat_failure_events", "chat_quality_sum"),
        *MEASURES,
    ):
        assert named[name].tolist() == [0]
    log.add("employment_helped_when_late", np.array([0, 0]), ticks=np.array([0]))
    log.measure("faint_events", np.array([3.0]))
    assert log.by_name()["late_help_events"].tolist() == [2]
    assert log.by_name()["faint_events"].tolist() == [3]


def test_the_log_holds_the_last_tick_only(town_of, act):
    town = town_of([("bed", (3, 3))], [{"at": (3, 2)}], worlds=3)
    act(town, Action.USE)
    assert town.events.counts[KINDS.index("affordance_start")].tolist() == [1, 1, 1]
    assert [record.tick for record in town.events.records] == [1, 1, 1]
    act(town, Action.WAIT)
    assert town.events.counts.sum() == 0
    assert town.events.records == []


def test_recording_changes_nothing_else(town_of, act):
    towns = [town_of([("shower", (3, 3))], [{"at": (3, 2)}, {"at": (3, 4)}], record=flag) for flag in (False, True)]
    for town in towns:
        act(town, Action.USE, times=5)
    assert towns[0].events.records == []
    assert (towns[0].events.counts == towns[1].events.counts).all()
    left, right = (town.snapshot() for town in towns)
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)
