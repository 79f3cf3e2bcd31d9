"""Threads and groups of shards: how many, and that neither changes a bit."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from rollouts import epoch_keys, make_case
from training import train

from townlet_core.policy.spec import EncoderSpec
from townlet_strategies_ppo import closed_form, threads
from townlet_strategies_ppo.closed_form import ClosedFormGradient
from townlet_strategies_ppo.loss import LossCoefficients

COEFFICIENTS = LossCoefficients(0.2, 0.2, 0.01, 0.5)
ACTIONS = {
    "categorical": spaces.Discrete(5),
    "two choices": spaces.MultiDiscrete([3, 2]),
    "gaussian": spaces.Box(-1.0, 1.0, (2,), np.float32),
}


def differentiated(case, num_threads: int, num_minibatches: int) -> list[bytes]:
    """Return the bytes of each minibatch's gradient and report."""
    batch, gradient = case.batch(worlds_per_shard=1), ClosedFormGradient(case.network(), num_threads)
    found = []
    for minibatch in batch.minibatches(epoch_keys(3, 1, batch.num_shards)[0], num_minibatches):
        slopes, reported = gradient(batch, minibatch, COEFFICIENTS)
        found.append(slopes.tobytes() + np.array(reported).tobytes())
    gradient.close()
    return found


@pytest.mark.parametrize("shared", [(), (7,)], ids=["apart", "shared"])
@pytest.mark.parametrize("name", ACTIONS)
def test_neither_threads_nor_groups_change_a_bit(name, shared, monkeypatch) -> None:
    masked = name != "gaussian"
    case = make_case(ACTIONS[name], masked=masked, steps=33, worlds=7, agents=1, shared_hidden=shared)
    case = case.in_float32()
    whole = differentiated(case, 1, 3)
    assert len(set(whole)) == 3
    for group_rows in (11, 22, 40, 10_000):
        monkeypatch.setattr(closed_form, "GROUP_ROWS", group_rows)
        for num_threads in (1, 2, 4):
            assert differentiated(case, num_threads, 3) == whole, (group_rows, num_threads)


def test_groups_are_of_whole_shards_and_about_equal() -> None:
    case = make_case(steps=8, worlds=7, agents=1, absent=0.0)
    (minibatch,) = case.batch(worlds_per_shard=1).minibatches(epoch_keys(3, 1, 7)[0], 1)
    for num_rows, expected in ((1, 7), (8, 7), (16, 4), (24, 3), (56, 1), (1000, 1)):
        groups = minibatch.groups(num_rows)
        sizes = [group.stop - group.start for group in groups]
        assert len(groups) == expected
        assert [index for group in groups for index in range(7)[group]] == list(range(7))
        assert max(sizes) - min(sizes) <= 1


def test_a_second_thread_begins_where_a_minibatch_is_more_than_one_group(monkeypatch) -> None:
    monkeypatch.setattr(threads, "usable_processors", lambda: 4)
    network = make_case().network()
    assert [threads.choose_threads(network, shards, 1024) for shards in (1, 2, 3, 16)] == [1, 1, 2, 4]
    network.spec = network.spec.model_copy(update={"encoder": EncoderSpec(name="of-a-plugin")})
    assert [threads.choose_threads(network, shards, 1024) for shards in (1, 7, 8)] == [1, 1, 4]


LARGE = {"total_steps": 1, "num_steps": 40, "num_minibatches": 1, "num_epochs": 1}


@pytest.mark.parametrize(("asked", "expected"), [(None, 3), (1, 1), (2, 2)])
def test_a_run_says_how_many_threads_it_learned_with_and_has_the_bytes_of_one(
    tmp_path, monkeypatch, asked, expected
) -> None:
    monkeypatch.setattr(threads, "usable_processors", lambda: 3)
    monkeypatch.setattr(closed_form, "GROUP_ROWS", 80)
    monkeypatch.setattr(threads, "GROUP_ROWS", 80)
    result = train(
        tmp_path, name="gymnasium:CartPole-v1", settings=LARGE, worlds_per_shard=2, training={"num_threads": asked}
    ).result
    assert result.num_threads == expected
    alone = train(
        tmp_path / "alone",
        name="gymnasium:CartPole-v1",
        settings=LARGE,
        worlds_per_shard=2,
        training={"num_threads": 1},
    )
    assert result.policy_digest == alone.result.policy_digest
