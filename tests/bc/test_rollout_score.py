"""What demonstrators earned, counted as an evaluation counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bc_data import demonstrations, episode

from townlet_core.dto.bc import RolloutFields
from townlet_core.replay.schema import Source
from townlet_strategies_bc.rollout import _other_spaces, demonstrator_score


def earning(total, *, num_steps=4, **fields):
    made = episode(np.random.default_rng(0), num_steps=num_steps, **fields)
    made.steps["rewards"][:] = total / num_steps
    return made


def test_a_demonstrators_return_is_counted_as_an_evaluation_counts(tmp_path):
    """The mean over world-episodes of the mean over slots; first lives only; nothing that was cut or rejected."""
    episodes = [
        earning(1.0, group=0, agent=0),
        earning(3.0, group=0, agent=1, num_steps=6),
        earning(100.0, group=0, agent=1, life=1),
        earning(8.0, group=1, agent=0, ending="truncated"),
        earning(50.0, group=2, agent=0),
        earning(50.0, group=2, agent=1, ending="cut"),
        earning(70.0, group=3, agent=0, accepted=False),
    ]
    score = demonstrator_score(demonstrations(tmp_path / "d", episodes))
    assert score.demonstrator_return_mean == pytest.approx((2.0 + 8.0) / 2)
    assert score.demonstrator_reward_mean == pytest.approx((4.0 / 10 + 8.0 / 4) / 2)


def test_there_is_none_where_everything_was_cut_or_nothing_was_earned(tmp_path):
    assert demonstrator_score(demonstrations(tmp_path / "a", [earning(1.0, ending="cut")])) == RolloutFields()
    made = earning(1.0)
    del made.steps["rewards"]
    assert demonstrator_score(demonstrations(tmp_path / "b", [made])) == RolloutFields()


@pytest.mark.parametrize(
    ("environments", "told"),
    [
        (("gymnasium:CartPole-v1",), "'town' has other spaces than the dataset; try --env gymnasium:CartPole-v1"),
        (("gymnasium:CartPole-v1", "town"), "environment 'town' has other spaces than the dataset"),
        ((), "environment 'town' has other spaces than the dataset"),
    ],
)
def test_where_the_environment_does_not_fit_the_recorded_one_is_named(environments, told):
    sources = [Source(kind="capture", environment=name) for name in environments]
    dataset = SimpleNamespace(manifest=SimpleNamespace(sources=sources))
    assert _other_spaces("town", dataset) == told
