"""What demonstrators earned, counted as an evaluation counts."""

from __future__ import annotations

import numpy as np
import pytest
from bc_data import demonstrations, episode

from townlet_strategies_bc.rollout import demonstrator_return


def earning(total, **fields):
    made = episode(np.random.default_rng(0), num_steps=4, **fields)
    made.steps["rewards"][:] = total / 4
    return made


def test_a_demonstrators_return_is_counted_as_an_evaluation_counts(tmp_path):
    """The mean over world-episodes of the mean over slots; first lives only; nothing that was cut or rejected."""
    episodes = [
        earning(1.0, group=0, agent=0),
        earning(3.0, group=0, agent=1),
        earning(100.0, group=0, agent=1, life=1),
        earning(8.0, group=1, agent=0, ending="truncated"),
        earning(50.0, group=2, agent=0),
        earning(50.0, group=2, agent=1, ending="cut"),
        earning(70.0, group=3, agent=0, accepted=False),
    ]
    assert demonstrator_return(demonstrations(tmp_path / "d", episodes)) == pytest.approx((2.0 + 8.0) / 2)


def test_there_is_none_where_everything_was_cut_or_nothing_was_earned(tmp_path):
    assert demonstrator_return(demonstrations(tmp_path / "a", [earning(1.0, ending="cut")])) is None
    made = earning(1.0)
    del made.steps["rewards"]
    assert demonstrator_return(demonstrations(tmp_path / "b", [made])) is None
