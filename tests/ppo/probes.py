"""Probe environments: each can be learned only if one part of PPO is right, and its answer is known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ONE = spaces.Box(-10.0, 10.0, (1,), np.float32)


def shown(value: float) -> np.ndarray:
    return np.array([value], dtype=np.float32)


class Probe(gymnasium.Env):
    """An episode of one step that shows nothing; subclasses say what is seen and what it is worth."""

    observation_space: spaces.Space[Any] = ONE
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def first(self) -> float:
        return 0.0

    def reward(self, action: Any) -> float:
        return 1.0

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        self.seen = self.first()
        return shown(self.seen), {}

    def step(self, action: Any):
        return shown(self.seen), self.reward(action), True, False, {}


class OneAction(Probe):
    """P1: nothing to decide, reward 1."""

    action_space = spaces.Discrete(1)


class SeenReward(Probe):
    """P2: the reward is what is seen, -1 or 1."""

    action_space = spaces.Discrete(1)

    def first(self) -> float:
        return float(self.np_random.choice([-1.0, 1.0]))

    def reward(self, action: Any) -> float:
        return self.seen


class Delayed(Probe):
    """P3: two steps, 0 then 1 is seen; the reward comes with the second."""

    action_space = spaces.Discrete(1)

    def step(self, action: Any):
        last, self.seen = self.seen, 1.0
        return shown(1.0), last, last == 1.0, False, {}


class TwoActions(Probe):
    """P4 and P11: action 1 is better by 1; worse if the sign is -1."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def reward(self, action: Any) -> float:
        return self.sign * float(action)


class SeenAction(SeenReward):
    """P5: the better action is the one that is seen: 1 where 1 is seen, 0 where -1 is."""

    action_space = spaces.Discrete(2)

    def reward(self, action: Any) -> float:
        return 1.0 if (action == 1) == (self.seen > 0) else -1.0


class Arms(Probe):
    """P6: arm k pays PAYS[k]."""

    PAYS = (1.0, -2.0, 0.5, 3.0)
    action_space = spaces.Discrete(len(PAYS))

    def reward(self, action: Any) -> float:
        return self.PAYS[action]


class Forever(Probe):
    """P7: reward 1 for ever, told in pieces of 5 steps that end by a time limit, or (the other side) by termination."""

    action_space = spaces.Discrete(1)

    def __init__(self, *, terminates: bool = False) -> None:
        self.terminates = terminates

    def reset(self, *, seed: int | None = None, options: Any = None):
        self.age = 0
        return super().reset(seed=seed)

    def step(self, action: Any):
        self.age += 1
        ends = self.age == 5
        return shown(0.0), 1.0, ends and self.terminates, ends and not self.terminates, {}


class Poison(Probe):
    """P8: action 3 promises most and may not be taken; of the others, 2 is best."""

    action_space = spaces.Discrete(4)
    MASK = np.array([True, True, True, False])

    def reset(self, *, seed: int | None = None, options: Any = None):
        observation, _ = super().reset(seed=seed)
        return observation, {"action_mask": self.MASK}

    def step(self, action: Any):
        assert action != 3, "the poison was taken"
        return shown(0.0), float(action), True, False, {"action_mask": self.MASK}


class SmallProcess(gymnasium.Env):
    """P10: a random deterministic decision process of 5 states and 2 actions, cut after 16 steps."""

    STATES, ACTIONS = 5, 2
    NEXT = np.random.default_rng(10).integers(0, STATES, (STATES, ACTIONS))
    REWARD = np.random.default_rng(11).normal(size=(STATES, ACTIONS))
    observation_space = spaces.Discrete(STATES)
    action_space = spaces.Discrete(ACTIONS)

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        self.state, self.age = int(self.np_random.integers(self.STATES)), 0
        return self.state, {}

    def step(self, action: Any):
        reward = float(self.REWARD[self.state, action])
        self.state, self.age = int(self.NEXT[self.state, action]), self.age + 1
        return self.state, reward, False, self.age == 16, {}

    @classmethod
    def solve(cls, probabilities: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Return V (states,) and A (states, actions) of a policy (states, actions), by a linear solve."""
        transitions = np.zeros((cls.STATES, cls.STATES))
        for state in range(cls.STATES):
            for action in range(cls.ACTIONS):
                transitions[state, cls.NEXT[state, action]] += probabilities[state, action]
        values = np.linalg.solve(np.eye(cls.STATES) - gamma * transitions, (probabilities * cls.REWARD).sum(axis=1))
        return values, cls.REWARD + gamma * values[cls.NEXT] - values[:, None]


class Target(Probe):
    """P12: the target lies at 3, beyond what an action may reach; the best action is the bound, 1."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reward(self, action: Any) -> float:
        assert -1.0 <= action[0] <= 1.0
        return -((float(action[0]) - 3.0) ** 2)


class Broken(Probe):
    """A task without end in which something goes wrong at the step `at` of each world: a field, or an exception."""

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at, self.age = fault, at, 0

    def step(self, action: Any):
        self.age += 1
        observation, reward = shown(0.0), float(action)
        if self.age == self.at:
            if self.fault == "raises":
                raise RuntimeError("the floor gave way")
            observation, reward = {
                "observation": (shown(np.nan), reward),
                "reward": (observation, np.nan),
                "huge": (observation, 1e38),
            }[self.fault]
        return observation, reward, False, False, {}


class ArrayEnvironment(VectorEnvironment):
    """What the environments below share: they are arrays, and show one observation of two numbers."""

    def __init__(self, num_worlds: int, num_agents: int, action_space: spaces.Space[Any]) -> None:
        self.name, self.exact = type(self).__name__, True
        self.num_worlds, self.num_agents = num_worlds, num_agents
        self.observation_spaces: Mapping[str, spaces.Space[Any]] = {
            "observation": spaces.Box(-10.0, 10.0, (2,), np.float32)
        }
        self.action_space = action_space
        self.autoreset = AutoresetMode.SAME_STEP
        self.shape = (num_worlds, num_agents)


class TwoAgents(ArrayEnvironment):
    """P9: each of two agents sees what it is, and must do that; being right is worth 1 to the one, 2 to the other.

    Which agent of a world is which is drawn anew in every episode, of one step.
    """

    def __init__(self, num_worlds: int) -> None:
        super().__init__(num_worlds, 2, spaces.Discrete(2))

    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        self.rng = np.random.default_rng(seeds)
        return self._show(np.zeros(self.shape, np.float32), ended=False, final=None)

    def _show(self, rewards: np.ndarray, *, ended: bool, final: np.ndarray | None) -> EnvironmentStep:
        first = self.rng.integers(2, size=self.num_worlds)
        self.kinds = np.stack([first, 1 - first], axis=1)
        self.seen = np.eye(2, dtype=np.float32)[self.kinds]
        return EnvironmentStep(
            observations={"observation": self.seen},
            agent_mask=np.ones(self.shape, bool),
            rewards=rewards,
            terminations=np.full(self.shape, ended),
            truncations=np.zeros(self.shape, bool),
            final_observations=None if final is None else {"observation": final},
            episode_starts=np.full(self.num_worlds, True),
        )

    def step(self, actions: np.ndarray) -> EnvironmentStep:
        rewards = ((actions == self.kinds) * (1.0 + self.kinds)).astype(np.float32)
        return self._show(rewards, ended=True, final=self.seen)


class ForeverNextStep(ArrayEnvironment):
    """P7 in the other autoreset mode: a step that nobody makes follows each end; it pays -100, to nobody."""

    def __init__(self, num_worlds: int, *, terminates: bool = False) -> None:
        super().__init__(num_worlds, 1, spaces.Discrete(1))
        self.autoreset = AutoresetMode.NEXT_STEP
        self.terminates = terminates

    def reset(self, seeds: int | Sequence[int]) -> EnvironmentStep:
        self.ages = np.arange(self.num_worlds) % 5 * (not self.terminates)
        return self._show(np.zeros(self.num_worlds, bool), starts=True)

    def step(self, actions: np.ndarray) -> EnvironmentStep:
        reset = self.ages == 5
        self.ages = np.where(reset, 0, self.ages + 1)
        return self._show(reset, starts=False)

    def _show(self, reset: np.ndarray, *, starts: bool) -> EnvironmentStep:
        ended = (self.ages == 5)[:, None]
        seen = {"observation": np.zeros((*self.shape, 2), np.float32)}
        return EnvironmentStep(
            observations=seen,
            agent_mask=~ended,
            rewards=np.where(reset, -100.0, 1.0).astype(np.float32)[:, None],
            terminations=ended & self.terminates,
            truncations=ended & (not self.terminates),
            final_observations=seen if ended.any() else None,
            episode_starts=reset | starts,
        )
