from __future__ import annotations

import numpy as np
import pytest
from probes import ForeverNextStep
from rollouts import make_case
from training import train

from townlet_core.policy.inputs import Moments
from townlet_strategies_ppo.rewards import RewardScale


def discounted_returns(buffers, gamma: float) -> list[float]:
    """Every present step's discounted sum of its life's rewards so far, by hand."""
    _, worlds, agents = buffers[0].rewards.shape
    found = []
    for world in range(worlds):
        for agent in range(agents):
            total = 0.0
            for buffer in buffers:
                for step in range(len(buffer.rewards)):
                    place = (step, world, agent)
                    if buffer.agent_mask[place]:
                        total = gamma * total + buffer.rewards[place]
                        found.append(total)
                    if buffer.terminations[place] or buffer.truncations[place]:
                        total = 0.0
    return found


@pytest.mark.parametrize("worlds_per_shard", [1, 2, 4])
def test_rewards_are_divided_by_the_deviation_of_all_discounted_returns(worlds_per_shard) -> None:
    buffers = [make_case(seed=seed).buffer for seed in range(3)]
    scale = RewardScale.new(4, 2)
    for buffer in buffers:
        scale.see(buffer, gamma=0.9, worlds_per_shard=worlds_per_shard)
    deviation = np.std(discounted_returns(buffers, 0.9))
    assert scale.moments.count == sum(np.count_nonzero(buffer.agent_mask) for buffer in buffers)
    before = buffers[-1].rewards.copy()
    np.testing.assert_allclose(scale.scaled(buffers[-1].rewards), before / deviation, rtol=1e-6)
    np.testing.assert_array_equal(buffers[-1].rewards, before)


def test_rewards_are_as_they_are_before_anything_was_seen() -> None:
    rewards = np.array([[[5.0]]], np.float32)
    assert RewardScale.new(1, 1).scaled(rewards) is rewards


def test_values_of_normalised_rewards_are_in_their_unit(tmp_path) -> None:
    settings = {"normalize_rewards": True, "learning_rate": 2e-2}
    trained = train(tmp_path, name="python:probes:SeenReward", settings=settings)
    assert trained.values([[-1.0], [1.0]]) == pytest.approx([-1.0, 1.0], abs=0.05)  # of deviation 1 already


def test_rewards_are_clipped_in_the_update_and_not_in_what_is_reported(tmp_path) -> None:
    trained = train(tmp_path, name="python:probes:SeenReward", settings={"reward_clip": 0.25})
    assert trained.values([[-1.0], [1.0]]) == pytest.approx([-0.25, 0.25], abs=1e-2)
    assert trained.records[-1]["episode_return_max"] == 1.0


def test_a_reset_step_of_its_own_is_neither_counted_nor_paid(tmp_path) -> None:
    trained = train(tmp_path, made=ForeverNextStep(8), settings={"num_steps": 60, "total_steps": 400})
    (record,) = trained.records
    assert record["transitions"] == record["agent_steps"] == 8 * 50
    assert record["episodes"] == 8 * 10
    assert record["episode_return_max"] == 5.0
    assert record["episode_return_min"] == 1.0  # a world that was 4 steps old when the rollout began


@pytest.mark.parametrize("reward", [1e-3, 1.0, -50.0])
def test_a_constant_return_does_not_blow_up_its_rewards(reward) -> None:
    buffer = make_case().buffer
    buffer.rewards[:] = reward
    scale = RewardScale.new(*buffer.rewards.shape[1:])
    scale.see(buffer, gamma=0.0, worlds_per_shard=2)
    scaled = scale.scaled(buffer.rewards)
    assert np.abs(scaled).max() <= 10.0 * (1.0 + 1e-6)
    assert (np.sign(scaled) == np.sign(reward)).all()


def test_the_least_deviation_of_returns_is_a_tenth_of_their_root_mean_square() -> None:
    scale = RewardScale(Moments(10.0, np.array(3.0), np.array(0.01)), np.zeros((1, 1)))
    reward = np.ones((1, 1, 1), np.float32)
    assert scale.scaled(reward).item() == pytest.approx(10 / np.sqrt(9.01), rel=1e-6)
    scale.moments = Moments(10.0, np.array(3.0), np.array(0.2))
    assert scale.scaled(reward).item() == pytest.approx(1 / np.sqrt(0.2), rel=1e-6)


def test_recorded_rows_begin_anew_and_what_is_running_goes_on_behind_them() -> None:
    live, recorded, later = (make_case(seed=seed).buffer for seed in range(3))
    scale, lived, alone = (RewardScale.new(4, 2) for _ in range(3))
    scale.see(live, gamma=0.9, worlds_per_shard=4)
    scale.see(recorded, gamma=0.9, worlds_per_shard=4, is_recorded=True)
    scale.see(later, gamma=0.9, worlds_per_shard=4)
    lived.see(live, gamma=0.9, worlds_per_shard=4)
    lived.see(later, gamma=0.9, worlds_per_shard=4)
    alone.see(recorded, gamma=0.9, worlds_per_shard=4)
    np.testing.assert_array_equal(scale.discounted, lived.discounted)
    counts = [one.moments.count for one in (lived, alone)]
    mean = np.average([lived.moments.mean, alone.moments.mean], weights=counts)
    assert scale.moments.mean == pytest.approx(mean)
