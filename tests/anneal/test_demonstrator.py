"""What a recorded demonstrator has of each metric in a step: of the steps that are there, whoever left others out."""

import numpy as np
import pytest
from datasets import EVENT_KINDS, make_trajectory, write_dataset

from townlet_core.replay.curate import curate
from townlet_core.replay.curation_plan import Curation
from townlet_core.replay.curation_rules import CurationRules
from townlet_core.replay.dataset import Dataset
from townlet_strategies_anneal.demonstrator import recorded_rates


def meals(places):
    """Return a meal of value 0.5 in each (group, step)."""
    groups, steps = np.array(places).T
    return {
        "event.group": groups.astype(np.int64),
        "event.step": steps.astype(np.int32),
        "event.kind": np.full(len(places), EVENT_KINDS.index("meal"), np.uint16),
        "event.actor": np.zeros(len(places), np.int32),
        "event.target": np.full(len(places), -1, np.int32),
        "event.value": np.full(len(places), 0.5, np.float32),
    }


LIVES = [
    make_trajectory(2, content=0, group=3, agent=0),
    make_trajectory(4, content=1, group=3, agent=0, life=1, start_step=2, accepted=False),
    make_trajectory(4, content=2, group=3, agent=1, start_step=6),
    make_trajectory(1, content=3, group=3, agent=0, life=2, start_step=8),
    make_trajectory(9, content=4, group=5, accepted=False),
    make_trajectory(3, content=5, group=6),
]
INSIDE = [(3, 0), (3, 1), (3, 6), (3, 9), (6, 2)]
OUTSIDE = [(3, 2), (3, 5), (3, 10), (5, 0), (6, 3), (2, 0), (9, 0)]


def test_what_happened_counts_where_an_accepted_life_was(tmp_path) -> None:
    dataset = write_dataset(tmp_path / "data", LIVES, events=meals(OUTSIDE[:4] + INSIDE + OUTSIDE[4:]))
    num_steps = 2 + 4 + 3
    expected = {"meal_events": len(INSIDE) / num_steps, "meal": 0.5 * len(INSIDE) / num_steps}
    assert recorded_rates(dataset) == pytest.approx({**expected, "chat_events": 0.0, "chat": 0.0})


def test_lives_that_a_curator_left_out_do_not_make_the_others_worse(tmp_path) -> None:
    """A meal in every step of ten, of which two are kept: it is one in a step, and not five."""
    lives = [make_trajectory(2, content=0), make_trajectory(8, content=1, agent=1, start_step=2)]
    whole = write_dataset(tmp_path / "whole", lives, events=meals([(0, step) for step in range(10)]))
    curate([whole], tmp_path / "short", curation=Curation(rules=CurationRules(max_length=2)))
    curate([whole], tmp_path / "marked", curation=Curation(rules=CurationRules(max_length=2), reject=True))
    for name in ("whole", "short", "marked"):
        assert recorded_rates(Dataset(tmp_path / name))["meal_events"] == 1.0
