"""Tiny Gymnasium worlds for tests: one for each kind of space, and worlds that fail on purpose."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1, 1, (3,), np.float32),
    "double": spaces.Box(-1, 1, (2, 2), np.float64),
    "pixels": spaces.Box(0, 255, (2, 3, 1), np.uint8),
    "index": spaces.Discrete(4, start=5),
    "indices": spaces.MultiDiscrete([3, 2], start=[1, -1]),
    "flags": spaces.MultiBinary(4),
    "dict": spaces.Dict(
        {
            "goal": spaces.Discrete(3),
            "eye": spaces.Box(0, 255, (2, 2), np.uint8),
            "in": spaces.Dict({"x": spaces.Box(0, 1)}),
        }
    ),
    "words": spaces.Text(5),
    "tuple": spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3))),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "two": spaces.Discrete(2),
    "from five": spaces.Discrete(3, start=5),
    "several": spaces.MultiDiscrete([2, 3]),
    "grid": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "force": spaces.Box(-2, 2, (2,), np.float32),
    "switches": spaces.MultiBinary(2),
    "levels": spaces.Box(0, 9, (2, 1), np.int16),
}


class Toy(gymnasium.Env[Any, Any]):
    """Random observations of any space; ends by chance. The reward sums the actions, which shows that they arrive."""

    def __init__(self, observation: str = "box", action: str = "two", end_chance: float = 0.1) -> None:
        self.observation_space = copy.deepcopy(OBSERVATIONS[observation])  # each draws from its own generator
        self.action_space = ACTIONS[action]
        self.end_chance = end_chance
        self.last_action: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        reward = float(np.sum(action)) + self.np_random.random()
        return self.observation_space.sample(), reward, bool(self.np_random.random() < self.end_chance), False, {}


class Masked(Toy):
    """Three actions, of which one, another at every step, is forbidden."""

    def __init__(self) -> None:
        super().__init__(action="from five")

    def _info(self) -> dict[str, Any]:
        mask = np.ones(3, np.int8)
        self.forbidden = int(self.np_random.integers(3))
        mask[self.forbidden] = 0
        return {"action_mask": mask}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, _ = super().reset(seed=seed)
        return observation, self._info()

    def step(self, action: Any) -> Any:
        assert action - 5 != self.forbidden
        *rest, _ = super().step(action)
        return *rest, self._info()


class Faulty(gymnasium.Env[Any, Any]):
    """Fails in one way, at one step of the episode whose reset seed is `when`; counts steps otherwise."""

    def __init__(self, fault: str, when: int, at: int = 3, length: int = 10) -> None:
        self.observation_space = spaces.Dict(
            {"place": spaces.Box(-100, 100, (2,), np.float32), "room": spaces.Discrete(4)}
        )
        self.action_space = spaces.Discrete(2)
        self.fault, self.when, self.at, self.length = fault, when, at, length

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.seed, self.steps = seed, 0
        if self.fault == "reset raises" and seed == self.when:
            raise LookupError("the toy box is empty")
        return self._observation(), {}

    def _observation(self) -> dict[str, Any]:
        return {"place": np.full(2, self.steps, np.float32), "room": self.steps % 4}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation, reward, ended = self._observation(), 1.0, self.steps >= self.length
        if self.seed == self.when and self.steps == self.at:
            return self._fail(observation, reward, ended)
        return observation, reward, ended, False, {}

    def _fail(self, observation: dict[str, Any], reward: Any, ended: Any) -> Any:
        if self.fault == "raises":
            raise ZeroDivisionError("the toy broke")
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "exits":
            os._exit(3)
        if self.fault == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.fault == "hangs":
            time.sleep(600)
        if self.fault == "four values":
            return observation, reward, ended, {}
        changes: dict[str, tuple[str, Any]] = {
            "nan": ("place", np.array([0, np.nan], np.float32)),
            "nan at the end": ("place", np.array([np.nan, 0], np.float32)),
            "infinite": ("place", np.array([-np.inf, 0], np.float32)),
            "shape": ("place", np.zeros(3, np.float32)),
            "scalar": ("place", 0.0),
            "text": ("place", np.array(["a", "b"])),
            "nothing": ("place", None),
            "room too high": ("room", 4),
            "room negative": ("room", -1),
            "room is a float": ("room", 1.5),
        }
        if self.fault in changes:
            name, value = changes[self.fault]
            observation[name] = value
        if self.fault == "nan at the end":
            ended = True
        if self.fault == "lost key":
            del observation["room"]
        reward = {"nan reward": np.nan, "text reward": "1.0", "huge reward": 1e300, "no reward": None}.get(
            self.fault, reward
        )
        ended = {"number as flag": 1, "array as flag": np.array([True])}.get(self.fault, ended)
        return observation, reward, ended, False, {}


def toy(**options: Any) -> Toy:
    return Toy(**options)


def masked() -> Masked:
    return Masked()


def faulty(**options: Any) -> Faulty:
    return Faulty(**options)


def not_an_environment() -> int:
    return 3


def refuses() -> Any:
    raise ImportError("no module named toybox: pip install toybox")


class ToyVector(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """A batch version; registered below."""

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 5,
        mode: str = "next",
        nan: bool = False,
    ) -> None:
        self.num_envs, self.limit, self.nan = num_envs, max_episode_steps, nan
        self.metadata = {"autoreset_mode": getattr(gymnasium.vector.AutoresetMode, f"{mode.upper()}_STEP")}
        self.single_observation_space = spaces.Discrete(1000, start=7)
        self.single_action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.steps = np.arange(self.num_envs) % self.limit
        self.due = np.zeros(self.num_envs, bool)
        return self.steps + 7, {}

    def step(self, actions: Any) -> Any:
        assert ((actions >= 5) & (actions < 8)).all()
        self.steps = np.where(self.due, 0, self.steps + 1)
        cut = self.steps >= self.limit
        rewards = np.where(self.due, 0.0, actions)
        if self.nan and self.steps[0] == 3:
            rewards[2] = np.nan
        self.due = cut
        return self.steps + 7, rewards, np.zeros(self.num_envs, bool), cut, {}


gymnasium.register("ToyVector-v0", entry_point=toy, vector_entry_point=ToyVector, max_episode_steps=5)


def moody() -> Toy:
    """Give other spaces in a process that is not the first."""
    return Toy(observation="box" if multiprocessing.parent_process() is None else "pixels")


class Restless(Toy):
    """Keeps a number over its resets, which no seed says: each step, reset or reward shows it, as `shown` says."""

    resets = 0

    def __init__(self, shown: str) -> None:
        super().__init__(end_chance=0.0)
        self.shown = shown

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        Restless.resets += 1
        self.number = Restless.resets
        observation, info = super().reset(seed=seed)
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        if self.shown == "raises" and self.number > 3:
            raise RuntimeError("not twice")
        if self.shown == "observation":
            observation = observation + np.float32(self.number)
        if self.shown == "reward":
            reward += self.number
        ended = self.shown == "end" and bool(self.np_random.random() < 0.3 * (self.number > 3))
        return observation, reward, ended, False, info


def restless(**options: Any) -> Restless:
    return Restless(**options)
