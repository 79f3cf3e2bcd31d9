from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from townlet_core.environments.vector import AutoresetMode
from townlet_core.testing.environment_traces import random_actions

MODES = [{}, {"vectorization": "workers", "num_workers": 2}]


def to_world(name, action):
    return np.clip(action, -2, 2) if name.startswith("Pendulum") else int(action)


@pytest.mark.parametrize("mode", MODES, ids=["sync", "workers"])
@pytest.mark.parametrize(
    ("name", "limit"),
    [("CartPole-v1", None), ("CartPole-v1", 12), ("Pendulum-v1", 9), ("FrozenLake-v1", 6), ("Taxi-v4", 7)],
)
def test_every_step_equals_a_hand_stepped_world(make, episode_seed, mode, name, limit) -> None:
    num_worlds, num_steps, seed = 3, 80, 11
    environment = make(f"gymnasium:{name}", num_worlds=num_worlds, max_episode_steps=limit, **mode)
    assert environment.autoreset is AutoresetMode.SAME_STEP
    worlds = [gymnasium.make(name, max_episode_steps=limit) for _ in range(num_worlds)]
    episodes = [0] * num_worlds
    shown = environment.reset(seed)
    for world, hand in enumerate(worlds):
        first, _ = hand.reset(seed=episode_seed(seed, world))
        np.testing.assert_array_equal(shown.observations["observation"][world, 0], first)
    num_ends = num_cuts = 0
    for index in range(num_steps):
        actions = random_actions(environment, shown, list(range(num_worlds)), index)
        shown = environment.step(actions)
        for world, hand in enumerate(worlds):
            last, reward, terminated, truncated, info = hand.step(to_world(name, actions[world, 0]))
            assert shown.rewards[world, 0] == np.float32(reward)
            assert shown.terminations[world, 0] == terminated
            assert shown.truncations[world, 0] == truncated
            assert shown.episode_starts[world] == (terminated or truncated)
            if terminated or truncated:
                num_ends += 1
                num_cuts += truncated and not terminated
                np.testing.assert_array_equal(shown.final_observations["observation"][world, 0], last)
                episodes[world] += 1
                last, info = hand.reset(seed=episode_seed(seed, world, episodes[world]))
            np.testing.assert_array_equal(shown.observations["observation"][world, 0], last)
            if "action_mask" in info:
                np.testing.assert_array_equal(shown.action_mask[world, 0], info["action_mask"].astype(bool))
    assert num_ends >= 3
    assert num_cuts >= 1 or limit is None
    assert (shown.action_mask is not None) == name.startswith("Taxi")


def test_final_observations_are_shown_only_when_somebody_ended(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=4, max_episode_steps=5)
    shown = environment.reset(0)
    assert shown.final_observations is None
    for index in range(1, 11):
        shown = environment.step(np.zeros((4, 1), np.int64))
        assert (shown.final_observations is not None) == (index % 5 == 0)


def test_a_time_limit_is_a_truncation_and_an_end_of_the_process_a_termination(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=1, max_episode_steps=5)
    environment.reset(0)
    steps = [environment.step(np.zeros((1, 1), np.int64)) for _ in range(5)]
    assert steps[-1].truncations.all()
    assert not steps[-1].terminations.any()
    environment = make("gymnasium:CartPole-v1", num_worlds=1)
    environment.reset(0)
    for _ in range(12):
        shown = environment.step(np.zeros((1, 1), np.int64))
        if shown.terminations.any():
            break
    assert shown.terminations.all()
    assert not shown.truncations.any()


def test_entry_point_shows_the_last_observation_then_the_reset_with_nobody_acting_in_between(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=3, vectorization="entry_point", max_episode_steps=20)
    assert environment.autoreset is AutoresetMode.NEXT_STEP
    assert not environment.exact
    hand = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point", max_episode_steps=20)
    from townlet_core.randomness import integer_seed, key

    shown = environment.reset(5)
    observations, _ = hand.reset(seed=integer_seed(key(5, "environment"))[0])
    np.testing.assert_array_equal(shown.observations["observation"][:, 0], observations)
    before, num_ends, num_cuts = np.zeros(3, bool), 0, 0
    for index in range(80):
        actions = random_actions(environment, shown, [1, 2, 3], index) if index > 40 else np.full((3, 1), index % 2)
        actions[~shown.agent_mask] = 999  # an absent agent's action is ignored
        legal = np.where(shown.agent_mask, actions, 0)
        shown = environment.step(actions)
        observations, rewards, terminated, truncated, _ = hand.step(legal[:, 0])
        ended = terminated | truncated
        np.testing.assert_array_equal(shown.observations["observation"][:, 0], observations)
        np.testing.assert_array_equal(shown.rewards[:, 0], rewards)
        np.testing.assert_array_equal(shown.terminations[:, 0], terminated)
        np.testing.assert_array_equal(shown.truncations[:, 0], truncated)
        np.testing.assert_array_equal(shown.agent_mask[:, 0], ~ended)
        np.testing.assert_array_equal(shown.episode_starts, before)
        assert (shown.final_observations is not None) == ended.any()
        if ended.any():
            np.testing.assert_array_equal(shown.final_observations["observation"][ended, 0], observations[ended])
        before = ended
        num_ends += int(ended.sum())
        num_cuts += int(truncated.sum())
    assert num_ends > num_cuts > 0


def test_entry_point_counts_from_zero_and_keeps_its_own_time_limit(make) -> None:
    environment = make("gymnasium:toy_worlds:ToyVector-v0", num_worlds=4, vectorization="entry_point")
    shown = environment.reset(0)
    np.testing.assert_array_equal(shown.observations["observation"][:, 0], [0, 1, 2, 3])
    shown = environment.step(np.full((4, 1), 2))
    np.testing.assert_array_equal(shown.rewards[:, 0], [7, 7, 7, 7])
    shown = environment.step(np.full((4, 1), 0))
    np.testing.assert_array_equal(shown.truncations[:, 0], [False, False, False, True])
