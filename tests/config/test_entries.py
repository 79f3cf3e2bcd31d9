"""What is wrong within an entry of a list: where it stands, and which key of the same entry was meant."""

import pytest

from townlet_core.config.load import load_config
from townlet_core.config.problems import ConfigProblems
from townlet_strategies_anneal.settings import AnnealSettings, ScheduleEntry
from townlet_strategies_bc.settings import BCSettings

MODELS = {"anneal": AnnealSettings, "bc": BCSettings}
SCHEDULE = "strategies.anneal.schedule"
VARIABLE = "TOWNLET_SET__STRATEGIES__ANNEAL__SCHEDULE"
FILE = """
strategies:
  anneal:
    schedule:
      - cycle: 0
        mode: bc
        epochs: 5
        bc_weight: 1.0
      - cycle: 1
        mode: ppo
        bc_weigth: 0.5
        zzz: 1
    guardrails: [{metrc: faints}]
"""
GIVEN = "[{cycle: 0, mode: bc, epoch: 1, bc_weight: 2}]"
GIVEN_PROBLEMS = [
    f"{SCHEDULE}[0].epochs (ORIGIN): is missing; must be an integer from 1 to 1000000",
    f"{SCHEDULE}[0].bc_weight (ORIGIN): 2 given; must be a number from 0 to 1",
    f"{SCHEDULE}[0].epoch (ORIGIN): there is no such key; did you mean '{SCHEDULE}[0].epochs'?",
]


def problems(path, **layers):
    """Return what is wrong with the schedule, and with the guardrails."""
    with pytest.raises(ConfigProblems) as caught:
        load_config(path, strategies=MODELS, **layers)
    found = [str(problem) for problem in caught.value.problems]
    schedule = [problem for problem in found if problem.startswith(SCHEDULE)]
    return schedule, [problem for problem in found if problem not in schedule]


def test_an_entry_in_a_file_has_its_own_lines_and_suggestions(write):
    path = write(FILE)
    schedule, guardrails = problems(path)
    assert schedule == [
        f"{SCHEDULE}[1].epochs ({path}:9): is missing; must be an integer from 1 to 1000000",
        f"{SCHEDULE}[1].bc_weigth ({path}:11): there is no such key; did you mean '{SCHEDULE}[1].bc_weight'?",
        f"{SCHEDULE}[1].zzz ({path}:12): there is no such key; an entry has {', '.join(ScheduleEntry.model_fields)}",
    ]
    assert guardrails[1].endswith(
        f"guardrails[0].metrc ({path}:13): there is no such key; did you mean 'strategies.anneal.guardrails[0].metric'?"
    )


@pytest.mark.parametrize(
    ("origin", "layers"),
    [
        ("--set", {"sets": [f"{SCHEDULE}={GIVEN}"]}),
        ("--set", {"sets": [f"strategies.anneal={{schedule: {GIVEN}}}"]}),
        (VARIABLE, {"environ": {VARIABLE: GIVEN}}),
        ("option", {"options": {SCHEDULE: [{"cycle": 0, "mode": "bc", "epoch": 1, "bc_weight": 2}]}}),
    ],
)
def test_a_list_that_a_later_layer_sets_has_no_place_in_the_file_any_more(write, origin, layers):
    schedule, _ = problems(write(FILE), **layers)
    assert schedule == [problem.replace("ORIGIN", origin) for problem in GIVEN_PROBLEMS]


def test_a_list_that_is_right_came_from_where_its_key_stands(write):
    path = write("strategies:\n  anneal:\n    schedule:\n      - {cycle: 0, mode: bc, epochs: 5}\n")
    loaded = load_config(path, strategies=MODELS)
    assert loaded.origin(SCHEDULE) == f"{path}:3"
    over = load_config(path, strategies=MODELS, sets=[f"{SCHEDULE}=[{{cycle: 0, mode: ppo, epochs: 1}}]"])
    assert over.origin(SCHEDULE) == "--set"
    assert over.origin("strategies.anneal") == "--set"
