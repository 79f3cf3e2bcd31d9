"""A scripted environment whose every number is known, and a policy that says what it was shown."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core import randomness
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.policy.base import PolicyStep


class ScriptedEnvironment(VectorEnvironment):
    """World w's episode e lasts 2 + (w + e) % 3 steps and ends by truncation where w + e is even, else by termination.

    The observation is (seed of the world, episode, tick), the reward 100 w + 10 e + tick + action / 8 + slot / 4.
    """

    name = "scripted"
    exact = True

    def __init__(self, num_worlds, num_agents=1, *, autoreset=AutoresetMode.SAME_STEP, with_mask=False):
        self.num_worlds, self.num_agents, self.autoreset = num_worlds, num_agents, autoreset
        self.observation_spaces = {"observation": spaces.Box(-np.inf, np.inf, (3,), np.float32)}
        self.action_space = spaces.Discrete(4)
        self.with_mask = with_mask
        self.actions = []

    def reset(self, seeds):
        each = np.full(self.num_worlds, seeds) if isinstance(seeds, int) else np.array(seeds)
        self.worlds = np.arange(self.num_worlds) if isinstance(seeds, int) else np.zeros(self.num_worlds, int)
        keys = randomness.key(each, "scripted", self.worlds)
        self.identity = np.array(randomness.integer_seed(keys)) % 1000
        self.episode, self.tick = np.zeros(self.num_worlds, int), np.zeros(self.num_worlds, int)
        self.resetting = np.zeros(self.num_worlds, bool)
        return self.shown(np.zeros((self.num_worlds, self.num_agents)))

    def seen(self):
        rows = np.stack([self.identity, self.episode, self.tick], axis=1).astype(np.float32)
        return {"observation": np.repeat(rows[:, None], self.num_agents, axis=1)}

    def shown(self, rewards, ended=None, cut=None, finals=None, starts=None):
        shape = (self.num_worlds, self.num_agents)
        none = np.zeros(self.num_worlds, bool)
        ended, cut = (none if part is None else part for part in (ended, cut))
        mask = None
        if self.with_mask:
            mask = np.ones((*shape, 4), bool)
            mask[..., 0] = self.tick[:, None] % 2 == 0
        return EnvironmentStep(
            observations=self.seen(),
            agent_mask=np.broadcast_to(~self.resetting[:, None], shape).copy(),
            action_mask=mask,
            rewards=np.asarray(rewards, np.float32),
            terminations=np.broadcast_to(ended[:, None], shape).copy(),
            truncations=np.broadcast_to(cut[:, None], shape).copy(),
            final_observations=finals,
            episode_starts=none.copy() if starts is None else starts,
            events={"steps_made": np.where(self.resetting, 0.0, 1.0)},
        )

    def step(self, actions):
        self.actions.append(actions.copy())
        was_resetting = self.resetting.copy()
        rewards = 100.0 * self.worlds[:, None] + 10.0 * self.episode[:, None] + self.tick[:, None] + actions / 8.0
        rewards = rewards + np.arange(self.num_agents) / 4.0
        rewards[was_resetting] = -777.0  # nobody may read this
        self.tick = np.where(was_resetting, 0, self.tick + 1)
        self.episode = self.episode + was_resetting
        order = self.worlds + self.episode
        over = ~was_resetting & (self.tick >= 2 + order % 3)
        cut, ended = over & (order % 2 == 0), over & (order % 2 == 1)
        finals, starts = None, was_resetting
        if self.autoreset is AutoresetMode.SAME_STEP:
            finals = self.seen() if over.any() else None
            self.episode, self.tick, starts = self.episode + over, np.where(over, 0, self.tick), over
            self.resetting = np.zeros(self.num_worlds, bool)
        else:
            finals = self.seen() if over.any() else None
            self.resetting = over
        return self.shown(rewards, ended, cut, finals, starts)


class EchoPolicy:
    """Acts by its noise, and gives identity + episode / 16 + tick / 256 of what it sees as the value."""

    noise_size = 1

    def __init__(self):
        self.noises = []

    def act(self, observations, action_mask, agent_mask, noise, state=None):
        del action_mask
        shape = agent_mask.shape
        numbers = np.zeros(shape) if noise is None else noise[..., 0]
        self.noises.append(numbers.copy())
        actions = (numbers * 4).astype(np.int64)
        return PolicyStep(actions, -numbers.astype(np.float32), self.values(observations), (state or 0) + 1)

    def values(self, observations):
        rows = observations["observation"]
        return (rows[..., 0] + rows[..., 1] / 16 + rows[..., 2] / 256).astype(np.float32)


@pytest.fixture
def scripted():
    return ScriptedEnvironment


@pytest.fixture
def echo():
    return EchoPolicy
