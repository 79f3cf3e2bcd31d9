"""Discounted returns, against the recursion that defines them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from bc_data import demonstrations, episode
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.errors import DatasetError, StorageError
from townlet_strategies_bc.returns import MappedReturns, discounted_returns, mapped_returns


def by_recursion(rewards, num_steps, gamma, bootstrap_values):
    """G[t] = r[t] + gamma G[t + 1]."""
    returns, row = np.zeros(len(rewards)), 0
    for number, steps in enumerate(num_steps):
        following = 0.0 if bootstrap_values is None else float(bootstrap_values[number])
        for t in range(row + steps - 1, row - 1, -1):
            following = returns[t] = float(rewards[t]) + gamma * following
        row += steps
    return returns


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    gamma=st.sampled_from([0.0, 0.3, 0.98, 1.0]),
    bootstrapped=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_returns_are_those_of_the_recursion(lengths, gamma, bootstrapped, seed):
    rng = np.random.default_rng(seed)
    rewards, num_steps = rng.normal(size=sum(lengths)).astype(np.float32), np.array(lengths)
    values = rng.normal(size=len(lengths)).astype(np.float32) if bootstrapped else None
    returns = discounted_returns(rewards, num_steps, gamma=gamma, bootstrap_values=values)
    np.testing.assert_allclose(returns, by_recursion(rewards, num_steps, gamma, values), atol=1e-10, rtol=1e-10)


def test_a_cut_episode_is_worth_what_the_critic_said_of_the_rest():
    returns = discounted_returns(np.ones(2), np.array([2]), gamma=0.5, bootstrap_values=np.array([8.0]))
    assert returns.tolist() == [1 + 0.5 * (1 + 0.5 * 8), 1 + 0.5 * 8]


def test_a_datasets_returns_lie_beside_its_rows_over_all_shards(tmp_path):
    rng = np.random.default_rng(0)
    episodes = [episode(rng, num_steps=20 + n, group=n, ending="truncated", bootstrap=n) for n in range(7)]
    dataset = demonstrations(tmp_path / "d", episodes, shard_bytes=2000)
    assert len(dataset.shards) > 2
    parts = mapped_returns(dataset, gamma=0.9, directory=tmp_path)
    assert len(parts) == len(dataset.shards)
    assert [len(part) for part in parts] == [shard.entry.num_rows for shard in dataset.shards]
    rewards = np.concatenate([trajectory.steps["rewards"] for trajectory in episodes])
    expected = by_recursion(rewards, [20 + n for n in range(7)], 0.9, range(7))
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"], "the file has no name"


def test_without_rewards_there_is_nothing_to_regress_on(tmp_path):
    made = episode(np.random.default_rng(0))
    del made.steps["rewards"]
    with pytest.raises(DatasetError, match="has no rewards"):
        mapped_returns(demonstrations(tmp_path / "d", [made]), gamma=0.9, directory=None)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is reserved where the system can do that")
def test_returns_that_find_no_room_on_the_disk_are_an_error_and_no_signal(tmp_path, monkeypatch):
    dataset = demonstrations(tmp_path / "d", 3)

    def refuse(descriptor, begin, size):
        assert (begin, size) == (0, 4 * dataset.num_rows)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StorageError, match="no file for 150 returns can be made: No space left"):
        mapped_returns(dataset, gamma=0.9, directory=tmp_path)


def test_only_the_shard_that_is_read_stays_resident(tmp_path):
    """All of the file was written and read, and an eighth of it is in memory."""
    status = Path("/proc/self/smaps_rollup")
    if not status.exists():
        pytest.skip("resident pages are counted by /proc")
    rows, shards = 1 << 20, 16
    mapped = np.memmap(tmp_path / "returns", np.float32, "w+", shape=(rows * shards,))
    parts = MappedReturns(mapped, [rows * number for number in range(shards + 1)])

    def resident():
        line = next(line for line in status.read_text().splitlines() if line.startswith("Rss:"))
        return int(line.split()[1]) * 1024

    before = resident()
    for number in range(shards):
        parts[number][:] = number
    assert resident() - before < 2 * 4 * rows + (4 << 20)
    for number in range(shards):
        assert parts[number].min() == parts[number].max() == number
    assert resident() - before < 2 * 4 * rows + (4 << 20)
