"""Recorded episodes in the buffers of rollouts: every row where it has to be, and what follows it.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from gymnasium import spaces
from recordings import FIRST, NUM_ACTIONS, SEEN, episode, recorded

from townlet_core.errors import DatasetError
from townlet_core.services.buffer import RolloutBuffer
from townlet_strategies_ppo.advantages import generalized_advantages
from townlet_strategies_ppo.recorded import RecordedRows

if TYPE_CHECKING:
    from townlet_core.replay.dataset import Dataset


def empty(shape: tuple[int, int, int], *, has_action_mask: bool = False) -> RolloutBuffer:
    """Return a buffer in which something stands that has to go."""
    buffer = RolloutBuffer.allocate(
        *shape, observation_spaces=SEEN, action_space=spaces.Discrete(NUM_ACTIONS), has_action_mask=has_action_mask
    )
    for column in buffer.columns().values():
        column[:] = 1
    buffer.last_values[:] = 9
    return buffer


def packed(dataset: Dataset, shape: tuple[int, int, int], *, number: int = 0, seed: int = 0) -> list[RolloutBuffer]:
    """Return all buffers of a pass."""
    rows = RecordedRows(dataset, shape=shape, seed=seed)
    buffers = []
    for place in range(rows.num_buffers):
        buffer = empty(shape, has_action_mask=rows.has_action_mask)
        count = rows.fill(buffer, number=number, place=place)
        assert count == np.count_nonzero(buffer.agent_mask)
        buffers.append(buffer)
    return buffers


def lanes(buffer: RolloutBuffer) -> list[list[int]]:
    """Return the first number of what every agent of every world saw while it was present."""
    seen = buffer.observations["observation"][..., 0]
    return [
        seen[:, world, agent][buffer.agent_mask[:, world, agent]].astype(int).tolist()
        for world in range(seen.shape[1])
        for agent in range(seen.shape[2])
    ]


def test_one_episode_that_fits_lies_in_the_first_lane_as_it_was_recorded(tmp_path) -> None:
    (buffer,) = packed(recorded(tmp_path / "d", [episode(2, 3)]), (4, 2, 1))
    assert lanes(buffer) == [[200, 201, 202], []]
    lane = (slice(0, 3), 0, 0)
    np.testing.assert_array_equal(buffer.observations["observation"][lane], [[200, -200], [201, -201], [202, -202]])
    np.testing.assert_array_equal(buffer.actions[lane], [2, 0, 1])
    np.testing.assert_array_equal(buffer.rewards[lane], np.float32([0.2, 0.201, 0.202]))
    np.testing.assert_array_equal(buffer.values[lane], np.float32([2, 2.01, 2.02]))
    np.testing.assert_array_equal(buffer.log_probs[lane], np.float32([-0.3, -0.3, -0.3]))
    assert buffer.terminations.reshape(4, 2).T.tolist() == [[False, False, True, False], [False] * 4]
    assert not buffer.truncations.any()
    assert not buffer.bootstrap_values.any()
    assert not buffer.last_values.any()


def test_what_is_not_filled_is_absent_and_empty(tmp_path) -> None:
    (buffer,) = packed(recorded(tmp_path / "d", [episode(2, 3, masked=True)]), (4, 2, 1))
    absent = ~buffer.agent_mask
    assert np.count_nonzero(absent) == 5
    for name, column in buffer.columns().items():
        assert (column[absent] == (name == "action_mask")).all(), name


@pytest.mark.parametrize(("ending", "bootstrap"), [("truncated", 0.25), ("cut", -3.0)])
def test_where_an_episode_was_cut_the_recorded_value_of_what_followed_is_bootstrapped(
    tmp_path, ending, bootstrap
) -> None:
    (buffer,) = packed(recorded(tmp_path / "d", [episode(1, 3, ending, bootstrap=bootstrap)]), (4, 1, 1))
    assert buffer.truncations.ravel().tolist() == [False, False, True, False]
    assert not buffer.terminations.any()
    assert buffer.bootstrap_values.ravel().tolist() == [0, 0, bootstrap, 0]


def test_where_a_lane_ends_within_an_episode_the_value_of_its_next_row_is_bootstrapped(tmp_path) -> None:
    (buffer,) = packed(recorded(tmp_path / "d", [episode(1, 7, "truncated")]), (3, 1, 3))
    assert lanes(buffer) == [[100, 101, 102], [103, 104, 105], [106]]
    assert np.argwhere(buffer.truncations[:, 0]).tolist() == [[0, 2], [2, 0], [2, 1]]
    expected = np.zeros((3, 3), np.float32)
    expected[0, 2], expected[2, 0], expected[2, 1] = 0.5, 1.03, 1.06
    np.testing.assert_array_equal(buffer.bootstrap_values[:, 0], expected)


def test_where_a_buffer_ends_within_an_episode_and_a_lane_the_same_holds_and_the_next_buffer_goes_on(tmp_path) -> None:
    first, second = packed(recorded(tmp_path / "d", [episode(1, 7)]), (4, 1, 1))
    assert (lanes(first), lanes(second)) == ([[100, 101, 102]], [[103, 104, 105, 106]])
    assert first.truncations.ravel().tolist() == [False, False, True, False]
    assert first.bootstrap_values.ravel().tolist() == [0, 0, np.float32(1.03), 0]
    assert second.terminations.ravel().tolist() == [False, False, False, True]
    assert not second.truncations.any()


def test_without_recorded_values_of_what_followed_the_last_row_of_a_cut_episode_lends_its_own(tmp_path) -> None:
    episodes = [
        episode(0, 3, "cut", bootstrap=None), episode(1, 1, "truncated", bootstrap=None), episode(2, 2, bootstrap=None)
    ]  # fmt: skip
    buffers = packed(recorded(tmp_path / "d", episodes), (2, 2, 1))
    (buffer,) = buffers
    assert sorted(lanes(buffer)) == [[0, 1], [200, 201]]
    cut = np.argwhere(buffer.truncations)
    assert len(cut) == 1
    assert buffer.bootstrap_values[tuple(cut[0])] == np.float32(0.02)
    with pytest.raises(DatasetError, match="has no row to learn from"):
        packed(recorded(tmp_path / "short", episodes[1:2]), (2, 2, 1))


def many(count: int = 23, **fields) -> list:
    endings = ("terminated", "truncated", "cut")
    return [episode(number, 1 + number * 7 % 11, endings[number % 3], **fields) for number in range(count)]


def rows_of(episodes: list) -> list[int]:
    return [FIRST * one.group + step for one in episodes for step in range(one.num_steps)]


@pytest.mark.parametrize("shape", [(4, 2, 1), (5, 3, 2), (1, 1, 1), (64, 4, 1), (7, 1, 3)])
def test_a_pass_has_every_accepted_row_once_and_buffers_of_about_one_size(tmp_path, shape) -> None:
    episodes = many()
    rejected = [episode(50, 9, accepted=False), episode(51, 1, accepted=False)]
    dataset = recorded(tmp_path / "d", [*episodes[:10], *rejected, *episodes[10:]])
    assert len(dataset.shards) > 3
    buffers = packed(dataset, shape)
    assert sorted(row for buffer in buffers for lane in lanes(buffer) for row in lane) == rows_of(episodes)
    sizes = [int(np.count_nonzero(buffer.agent_mask)) for buffer in buffers]
    assert max(sizes) - min(sizes) <= 1
    assert len(buffers) == -(-len(rows_of(episodes)) // int(np.prod(shape)))


@pytest.mark.parametrize("shape", [(4, 2, 1), (5, 3, 2), (64, 4, 1)])
def test_advantages_of_lambda_0_are_those_of_the_whole_episodes(tmp_path, shape) -> None:
    """One step ahead is all that they look: so it must not matter where lanes and buffers end."""
    episodes = many(bootstrap=-0.75)
    expected = {}
    for one in episodes:
        values = np.append(one.steps["values"], one.final["bootstrap_values"])
        for step, reward in enumerate(one.steps["rewards"]):
            expected[FIRST * one.group + step] = reward + 0.9 * values[step + 1] - values[step]
    for buffer in packed(recorded(tmp_path / "d", episodes), shape):
        advantages = generalized_advantages(
            buffer.rewards,
            buffer.values,
            terminations=buffer.terminations,
            truncations=buffer.truncations,
            bootstrap_values=buffer.bootstrap_values,
            last_values=buffer.last_values,
            agent_mask=buffer.agent_mask,
            gamma=0.9,
            gae_lambda=0.0,
        )
        rows = buffer.observations["observation"][..., 0][buffer.agent_mask].astype(int)
        np.testing.assert_allclose(advantages[buffer.agent_mask], [expected[row] for row in rows], atol=1e-4)


def test_every_pass_and_seed_has_an_order_of_its_own_and_the_same_one_again(tmp_path) -> None:
    dataset = recorded(tmp_path / "d", many())

    def order(**fields) -> list[int]:
        (buffer,) = packed(dataset, (64, 4, 1), **fields)
        return [row for lane in lanes(buffer) for row in lane]

    orders = [order(), order(number=1), order(seed=1)]
    assert len({tuple(one) for one in orders}) == 3
    assert order(number=1) == orders[1]


def test_masks_come_with_their_rows(tmp_path) -> None:
    one = episode(0, 4, masked=True)
    one.steps["action_mask"][2] = [True, False, True]
    (buffer,) = packed(recorded(tmp_path / "d", [one]), (4, 1, 1))
    np.testing.assert_array_equal(buffer.action_mask[:, 0, 0], one.steps["action_mask"])


@pytest.mark.parametrize(("name", "part"), [("observation", "steps"), ("bootstrap_values", "final")])
def test_what_is_not_finite_is_refused_by_name_before_it_is_learned_from(tmp_path, name, part) -> None:
    one = episode(0, 3, "truncated")
    columns = getattr(one, part)
    columns[name] = np.full_like(columns[name], np.nan)
    dataset = recorded(tmp_path / "d", [one])
    with pytest.raises(DatasetError, match=f"'{name}' is not finite; 'townlet replay validate' says where"):
        packed(dataset, (4, 2, 1))
