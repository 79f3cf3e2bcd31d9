"""`num_updates` says how long a run is in updates, an earlier stage included; an attempt is part of every key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from training import context_for

from townlet_core.context import AnnealContext
from townlet_core.errors import ConfigError
from townlet_strategies_ppo.strategy import PPOStrategy

POLE = {"name": "gymnasium:CartPole-v1", "num_worlds": 2}


def run(path, *, attempt=0, continuation=None, **settings):
    """Train on poles; return the records of the updates, and the files of the last checkpoint."""
    context = context_for(path, settings={"num_steps": 8, "num_epochs": 2, **settings}, **POLE)
    anneal = AnnealContext(cycle=0, stage="ppo", dataset="", attempt=attempt)
    PPOStrategy().run(replace(context, anneal_context=anneal, continuation=continuation))
    return context.trackers, context.run.checkpoints().load_newest().files


def digests(records):
    return [record["policy_digest"] for record in records]


def test_a_run_makes_as_many_updates_and_says_how_many_steps_they_come_to(tmp_path) -> None:
    records, _ = run(tmp_path / "run", num_updates=3, total_steps=1)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert {record["total_steps"] for record in records} == {3 * 8 * 2}


def test_a_linear_schedule_ends_with_the_updates(tmp_path) -> None:
    records, _ = run(tmp_path / "run", num_updates=4, learning_rate=0.1, learning_rate_schedule="linear")
    assert [record["lr"] for record in records] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_updates_of_an_earlier_stage_count_and_the_sum_is_one_run_to_the_bit(tmp_path) -> None:
    whole, _ = run(tmp_path / "whole", num_updates=5, learning_rate_schedule="constant")
    first, files = run(tmp_path / "first", num_updates=2, learning_rate_schedule="constant")
    second, _ = run(tmp_path / "second", num_updates=5, learning_rate_schedule="constant", continuation=files)
    assert digests(first) + digests(second) == digests(whole)
    with pytest.raises(ConfigError, match=r"num_updates is 2, and .* has made 2 of them already"):
        run(tmp_path / "none", num_updates=2, continuation=files)


def test_an_attempt_has_episodes_and_minibatches_of_its_own_from_the_first_update_on(tmp_path) -> None:
    attempts = [run(tmp_path / str(attempt), num_updates=1, attempt=attempt)[0] for attempt in (0, 1, 2)]
    assert len({record["policy_digest"] for (record,) in attempts}) == 3
    again, _ = run(tmp_path / "again", num_updates=1, attempt=1)
    assert digests(again) == digests(attempts[1])


def test_a_new_attempt_leaves_the_episodes_of_the_earlier_stage_and_a_further_stage_of_it_does_not(tmp_path) -> None:
    _, files = run(tmp_path / "first", num_updates=2)
    same, _ = run(tmp_path / "same", num_updates=3, continuation=files)
    other, _ = run(tmp_path / "other", num_updates=3, continuation=files, attempt=1)
    assert digests(same) != digests(other)
    whole, _ = run(tmp_path / "whole", num_updates=4, continuation=files, attempt=1, learning_rate_schedule="constant")
    _, part = run(tmp_path / "part", num_updates=3, continuation=files, attempt=1, learning_rate_schedule="constant")
    rest, _ = run(tmp_path / "rest", num_updates=4, continuation=part, attempt=1, learning_rate_schedule="constant")
    assert digests(whole)[-1:] == digests(rest)
