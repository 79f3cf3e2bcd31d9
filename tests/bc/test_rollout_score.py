"""What demonstrators earned, counted as an evaluation counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bc_data import demonstrations, episode

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.dto.bc import RolloutFields
from townlet_core.replay.schema import Source
from townlet_strategies_bc.rollout import _other_spaces, demonstrator_score


def earning(total, *, num_steps=4, **fields):
    made = episode(np.random.default_rng(0), num_steps=num_steps, **fields)
    made.steps["rewards"][:] = total / num_steps
    return made


def test_a_demonstrators_return_is_counted_as_an_evaluation_counts(tmp_path):
    """Means over world-episodes: returns of first lives, rewards of all; of none that was cut or rejected."""
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
    assert score.demonstrator_reward_mean == pytest.approx((104.0 / 14 + 8.0 / 4) / 2)


def test_there_is_none_where_everything_was_cut_or_nothing_was_earned(tmp_path):
    assert demonstrator_score(demonstrations(tmp_path / "a", [earning(1.0, ending="cut")])) == RolloutFields()
    made = earning(1.0)
    del made.steps["rewards"]
    assert demonstrator_score(demonstrations(tmp_path / "b", [made])) == RolloutFields()
    later = demonstrator_score(demonstrations(tmp_path / "c", [earning(8.0, life=1)]))
    assert (later.demonstrator_return_mean, later.demonstrator_reward_mean) == (None, 2.0)


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
    assert _other_spaces(EnvironmentConfig(name="town"), dataset) == told


def told_of(*recorded):
    sources = [
        Source(kind="capture", environment="town", environment_config=config.model_dump(mode="json"))
        for config in recorded
    ]
    dataset = SimpleNamespace(manifest=SimpleNamespace(sources=sources))
    return _other_spaces(EnvironmentConfig(name="town"), dataset).partition("has other spaces")[2]


def town(num_worlds=1, **fields):
    return EnvironmentConfig.model_validate({"name": "town", "num_worlds": num_worlds, "town": fields})


def test_where_the_recorded_town_was_set_up_differently_the_settings_that_fit_are_named():
    assert told_of(town(variant="compact")) == "; try --set environment.town.variant=compact"
    both = "; try --set environment.town.day_ticks=100 --set environment.town.variant=compact"
    assert sorted(told_of(town(variant="compact", day_ticks=100)).split()) == sorted(both.split())
    assert told_of(town(variant="compact"), town(variant="compact", day_ticks=100)) == (
        "; try --set environment.town.variant=compact"
    )


def test_where_no_setting_is_known_to_fit_none_is_named():
    assert told_of(town(variant="compact"), town(variant="full")) == ""
    assert told_of(town(num_worlds=4)) == ""
    nothing = Source(kind="capture", environment="town")
    dataset = SimpleNamespace(manifest=SimpleNamespace(sources=[nothing]))
    assert _other_spaces(EnvironmentConfig(name="town"), dataset).endswith("and has other spaces")


def test_what_a_dataset_says_cannot_leave_its_place_in_a_command():
    other = EnvironmentConfig(name="town", scenario="x; rm -rf ~")
    assert told_of(other) == "; try --set 'environment.scenario=x; rm -rf ~'"
    said = Source(kind="capture", environment="town", environment_config={"scenario": "\x1b[2J"})
    dataset = SimpleNamespace(manifest=SimpleNamespace(sources=[said]))
    assert "\x1b" not in _other_spaces(EnvironmentConfig(name="town"), dataset)
