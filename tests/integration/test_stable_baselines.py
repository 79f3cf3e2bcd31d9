"""Another library trains on the town as it would on any Gymnasium environment, without an adapter."""

import warnings

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

from townlet_core.config.scenario import ScenarioConfig
from townlet_core.environments import TownEnv

LARDER = ScenarioConfig.model_validate(
    {
        "name": "larder",
        "ticks": 40,
        "size": [6, 6],
        "objects": [{"kind": "fridge", "at": [2, 2]}],
        "agents": [{"at": [2, 4], "hunger": [0.2, 0.3]}],
    }
)
"""One hungry agent, a fridge two tiles away, and time for two meals, or for none."""


@pytest.fixture
def one_thread():
    """Small products are slower on two threads, above all where other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mean_return(choose, episodes=10):
    env, total = TownEnv(LARDER), 0.0
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 + episode)
        is_over = False
        while not is_over:
            observation, reward, terminated, truncated, _ = env.step(choose(observation))
            total += reward
            is_over = terminated or truncated
    return total / episodes


def test_its_checker_finds_a_map_that_is_no_picture_and_nothing_else():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(TownEnv("storm"))
    assert all("image" in str(warning.message) for warning in caught), [str(warning.message) for warning in caught]


@pytest.mark.timeout(600)  # about a minute of computing, and a machine may be busy
def test_stable_baselines_learns_to_eat_on_the_town(one_thread):
    learner = PPO(
        "MultiInputPolicy",
        TownEnv(LARDER),
        n_steps=1000,
        batch_size=250,
        n_epochs=4,
        learning_rate=2e-3,
        gamma=0.97,
        policy_kwargs={"net_arch": [32]},
        seed=0,
        device="cpu",
    )
    learner.learn(20_000)
    assert learner.num_timesteps == 20_000
    chance = np.random.default_rng(0)
    at_random = mean_return(lambda _: chance.integers(8))
    learned = mean_return(lambda observation: learner.predict(observation)[0])
    assert learned > at_random + 0.6, "it earns about -1.6, and -2.8 at random"
