"""Where a run stands follows from the stages that were run, and from nothing else."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townlet_core.config.base import settings_from
from townlet_core.config.problems import ConfigProblems
from townlet_core.dto.anneal import AnnealStageResultDTO
from townlet_strategies_anneal.schedule import position, sorted_schedule
from townlet_strategies_anneal.settings import AnnealSettings

CLONE = {"cycle": 0, "mode": "bc", "epochs": 1}
PPO = {"mode": "ppo", "epochs": 1}
SETTINGS = AnnealSettings(schedule=[CLONE, {"cycle": 1, **PPO}, {"cycle": 2, **PPO}], hold_repeats=2, retries=2)


def stage(number, verdict, *, is_clone=False, is_best=False):
    return AnnealStageResultDTO(
        number=number,
        entry=0,
        cycle=0,
        mode="bc" if is_clone else "ppo",
        epochs=1,
        bc_weight=0.0,
        attempt=0,
        repeat=0,
        path="",
        is_clone=is_clone,
        is_best=is_best,
        verdict=verdict,
        reason="because",
        duration_sec=0.0,
    )


def after(*verdicts, settings=SETTINGS, best=(1,), has_start=False, is_legacy=False):
    """Return the position after a clone and stages of these verdicts."""
    stages = [
        stage(number, verdict, is_clone=number == 1, is_best=number in best)
        for number, verdict in enumerate(verdicts, 1)
    ]
    return position(stages, settings, has_start=has_start, is_legacy=is_legacy)


def test_entries_are_run_in_the_order_of_their_cycles_and_equal_ones_as_they_stand():
    entries = [{"cycle": 2, **PPO, "bc_weight": 0.5}, {"cycle": 0, **PPO}, {"cycle": 2, **PPO, "bc_weight": 0.25}]
    schedule = sorted_schedule(AnnealSettings(schedule=entries))
    assert [(entry.cycle, entry.bc_weight) for entry in schedule] == [(0, 0.0), (2, 0.5), (2, 0.25)]


def test_a_schedule_that_passes_goes_from_stage_to_stage_and_ends_with_pass():
    assert (after("PASS").entry, after("PASS").current, after("PASS").clone) == (1, 1, 1)
    assert after("PASS", "PASS").current == 2
    end = after("PASS", "PASS", "PASS", best=(1, 2))
    assert (end.status, end.best) == ("PASS", 2), "the best, and not the last"


def test_a7_hold_moves_neither_the_weight_nor_anything_but_the_repeat():
    passed, held = after("PASS"), after("PASS", "HOLD")
    assert (held.entry, held.attempt, held.best, held.clone) == (passed.entry, 0, passed.best, passed.clone)
    assert (held.repeat, held.current, held.status) == (1, 2, None), "it goes on from where it was held"
    assert after("PASS", "HOLD", "HOLD").entry == 1
    end = after("PASS", "HOLD", "HOLD", "HOLD")
    assert (end.status, end.best, end.entry) == ("HOLD", 1, 1)


def test_a_pass_after_a_hold_begins_to_count_anew():
    now = after("PASS", "HOLD", "PASS")
    assert (now.entry, now.repeat, now.current) == (2, 0, 3)


def test_a_stage_that_fails_begins_again_from_the_best_in_a_new_attempt():
    now = after("PASS", "PASS", "FAIL", best=(1, 2))
    assert (now.entry, now.attempt, now.current, now.status) == (2, 1, 2, None)
    now = after("PASS", "PASS", "FAIL")
    assert (now.entry, now.current) == (2, 1), "the best is older than the last that passed"


def test_failures_of_a_whole_run_are_counted_and_end_it():
    end = after("PASS", "FAIL", "PASS", "FAIL", "FAIL")
    assert (end.status, end.best) == ("FAIL", 1)
    assert "stage 5" in end.reason


@pytest.mark.parametrize("verdict", ["HOLD", "FAIL"])
def test_a_clone_that_does_not_pass_its_gate_ends_the_run_at_once(verdict):
    end = after(verdict, best=())
    assert (end.status, end.best) == (verdict, None)


def test_a_policy_to_start_from_is_the_first_best_and_what_others_are_held_against():
    now = position([], SETTINGS, has_start=True, is_legacy=False)
    assert (now.current, now.clone, now.best) == (0, 0, 0)


def test_the_flags_of_the_earlier_format_hold_the_run_and_stop_no_stage():
    assert after("PASS", "HOLD", is_legacy=True).entry == 2
    assert after("PASS", "HOLD", "PASS", is_legacy=True).status == "HOLD"
    assert after("PASS", "PASS", "PASS", is_legacy=True).status == "PASS"


def test_the_rules_of_the_earlier_format_are_chosen_in_one_place():
    with pytest.raises(ConfigProblems, match=r"^strategies\.anneal\.guardrails: .*promotion\.guardrails=legacy"):
        settings_from(AnnealSettings, {"guardrails": "legacy"}, path="strategies.anneal")


WEIGHTS = AnnealSettings(
    schedule=[CLONE, *({"cycle": 1 + n, **PPO, "bc_weight": weight} for n, weight in enumerate((0.5, 0.2, 0.2, 0.0)))],
    retries=9,
)


@pytest.mark.parametrize(
    ("verdicts", "entry"),
    [
        ("PASS FAIL", 1),  # before it there is the clone alone
        ("PASS PASS FAIL", 1),
        ("PASS PASS PASS FAIL", 3),  # the entry before has the same weight
        ("PASS PASS PASS PASS FAIL", 3),
        ("PASS PASS FAIL FAIL", 1),
        ("PASS PASS FAIL PASS", 2),
        ("PASS PASS FAIL PASS PASS PASS PASS", 5),
    ],
)
def test_a_failure_goes_back_to_the_weight_before(verdicts, entry):
    assert after(*verdicts.split(), settings=WEIGHTS).entry == entry


@given(st.lists(st.sampled_from(["PASS", "HOLD", "FAIL"]), max_size=12))
def test_a7_only_a_pass_moves_on_and_every_run_ends(verdicts):
    before, taken = after("PASS"), ["PASS"]
    for verdict in verdicts:
        if before.status is not None:
            break
        taken.append(verdict)
        now = after(*taken)
        assert now.entry - before.entry == (verdict == "PASS")
        assert now.attempt - before.attempt == (verdict == "FAIL")
        assert now.best == before.best
        before = now


@pytest.mark.parametrize("settings", [SETTINGS, WEIGHTS.model_copy(update={"retries": 2})], ids=["flat", "falling"])
def test_no_sequence_of_verdicts_goes_on_for_ever(settings):
    for verdicts in itertools.product(["PASS", "HOLD", "FAIL"], repeat=5):
        taken = ["PASS"]
        for verdict in (*verdicts, *itertools.repeat("HOLD", 3 * len(settings.schedule))):
            if after(*taken, settings=settings).status is not None:
                break
            taken.append(verdict)
        assert after(*taken, settings=settings).status is not None


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"cycle": -1, **PPO}, "cycle"),
        ({"cycle": 0, "mode": "ppo", "epochs": 0}, "epochs"),
        ({"cycle": 0, **PPO, "bc_weight": 1.5}, "bc_weight"),
        ({"cycle": 0, **PPO, "weight": 1.0}, "weight"),
        ({"cycle": 0, "mode": "ppo"}, "epochs"),
        ({"cycle": 0, **PPO, "options": {"x": float("nan")}}, "options"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_by_its_field(entry, told):
    with pytest.raises(ConfigProblems, match=rf"^strategies\.anneal\.schedule\[0\]\.{told}"):
        settings_from(AnnealSettings, {"schedule": [entry]}, path="strategies.anneal")
