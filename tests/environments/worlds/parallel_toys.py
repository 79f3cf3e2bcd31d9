"""Tiny PettingZoo worlds for tests: agents of several kinds that come and go by plan, and worlds that fail on purpose.

With `luck` off, agent i (from 0) shows 10 * (i + 1) + age in every number, and earns its action plus
`bonus` * i.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


def box(size: int, low: float = -2000, high: float = 2000) -> spaces.Box:
    return spaces.Box(low, high, (size,), np.float32)


def masked(size: int, count: int) -> spaces.Dict:
    return spaces.Dict({"observation": box(size), "action_mask": spaces.Box(0, 1, (count,), np.int8)})


KINDS: dict[str, list[tuple[spaces.Space[Any], spaces.Space[Any]]]] = {
    "equal": [(box(2), spaces.Discrete(3))] * 3,
    "positive": [(box(2, low=1), spaces.Discrete(3, start=5))] * 3,
    "sizes": [(box(2), spaces.Discrete(3)), (box(4), spaces.Discrete(2, start=7)), (box(2), spaces.Discrete(3))],
    "forces": [(box(2), spaces.Box(-1, 1, (1,))), (box(2), spaces.Box(-3, 2, (3,))), (box(3), spaces.Box(0, 1, (2,)))],
    "indices": [(spaces.Discrete(4), spaces.Discrete(2)), (spaces.Discrete(6, start=1), spaces.Discrete(2))],
    "masked": [(masked(2, 3), spaces.Discrete(3)), (masked(3, 4), spaces.Discrete(4)), (box(3), spaces.Discrete(2))],
    "choices": [(box(2), spaces.MultiDiscrete([2, 3]))] * 2,
    "images": [(spaces.Box(0, 255, (4,), np.uint8), spaces.Discrete(2)), (box(4), spaces.Discrete(2))],
    "grids": [(spaces.Box(0, 1, (2, 2)), spaces.Discrete(2)), (spaces.Box(0, 1, (2, 3)), spaces.Discrete(2))],
    "several": [(box(2), spaces.MultiDiscrete([2, 3])), (box(2), spaces.MultiDiscrete([3, 3]))],
    "mixed": [(box(2), spaces.Discrete(2)), (box(2), box(2))],
}


class Crowd(ParallelEnv):  # type: ignore[misc]  # it ships no types
    """Agent i acts from step `arrives[i]` until it ends by step `leaves[i]`, counted from 1."""

    metadata: ClassVar[dict[str, Any]] = {"name": "crowd"}

    def __init__(
        self,
        kind: str = "equal",
        arrives: tuple[int, ...] = (0, 0, 0),
        leaves: tuple[int, ...] = (6, 6, 6),
        truncated: tuple[int, ...] = (),
        luck: bool = True,
        masks: bool = False,
        bonus: float = 100.0,
        fault: str = "",
        when: int = 0,
    ) -> None:
        self.possible_agents = [f"walker_{index}" for index in range(len(KINDS[kind]))]
        self.kinds = dict(zip(self.possible_agents, KINDS[kind], strict=True))
        self.arrives, self.leaves, self.truncated = arrives, leaves, truncated
        self.luck, self.masks, self.bonus, self.fault, self.when = luck, masks, bonus, fault, when

    def observation_space(self, agent: str) -> Any:
        return self.kinds[agent][0]

    def action_space(self, agent: str) -> Any:
        return self.kinds[agent][1]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.random, self.seed, self.age = np.random.default_rng(seed), seed, 0
        self.shift = int(self.random.integers(1000)) if self.luck else 0
        self.agents = [agent for agent, first in self._each(self.arrives) if first == 0]
        if self.fault == "nobody" and seed == self.when:
            self.agents = []
        return self._seen(self.agents), self._infos(self.agents)

    def _each(self, plan: tuple[int, ...]) -> Any:
        return zip(self.possible_agents, plan, strict=False)

    def _mask(self, agent: str) -> Any:
        """Forbid one action, another at every age; an agent that has only two may do both."""
        mask = np.ones(int(self.action_space(agent).n), np.int8)
        if len(mask) > 2:
            mask[self.age % len(mask)] = 0
        return mask

    def _seen(self, agents: list[str]) -> dict[str, Any]:
        shown = {}
        for agent in agents:
            space = self.observation_space(agent)
            value = 10 * (self.possible_agents.index(agent) + 1) + self.age + self.shift
            if isinstance(space, spaces.Discrete):
                shown[agent] = int(space.start) + value % int(space.n)
            elif isinstance(space, spaces.Dict):
                vector = np.full(space["observation"].shape, value, np.float32)
                shown[agent] = {"observation": vector, "action_mask": self._mask(agent)}
            else:
                shown[agent] = np.full(space.shape, value, np.float32)
        return shown

    def _infos(self, agents: list[str]) -> dict[str, Any]:
        return {agent: {"action_mask": self._mask(agent)} if self.masks else {} for agent in agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert list(actions) == self.agents, (actions, self.agents)
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), (agent, action)
            if self.masks and isinstance(self.action_space(agent), spaces.Discrete):
                assert self._mask(agent)[action - self.action_space(agent).start], (agent, action)
        self.age += 1
        acted = list(self.agents)
        ended = {agent: self.age >= last for agent, last in self._each(self.leaves) if agent in acted}
        cut = {agent: ended[agent] and self.possible_agents.index(agent) in self.truncated for agent in acted}
        come = [agent for agent, first in self._each(self.arrives) if first == self.age]
        self.agents = [
            agent for agent in self.possible_agents if (agent in acted and not ended[agent]) or agent in come
        ]
        rewards = {
            agent: float(np.sum(action)) + self.bonus * self.possible_agents.index(agent)
            for agent, action in actions.items()
        }
        for action in actions.values():
            if isinstance(action, np.ndarray):
                action[...] = 0  # what an environment is given is its own
        everybody = acted + come
        parts = [
            self._seen(everybody),
            rewards,
            {agent: ended[agent] and not cut[agent] for agent in acted},
            cut,
            self._infos(everybody),
        ]
        return self._fail(parts) if self.fault and self.seed == self.when and self.age == 2 else tuple(parts)

    def _fail(self, parts: list[Any]) -> Any:
        observations, rewards, terminations, truncations, infos = parts
        agent = self.possible_agents[1]
        if self.fault == "raises":
            raise ZeroDivisionError("the crowd broke")
        if self.fault == "four values":
            return tuple(parts[:4])
        if self.fault == "a list":
            return list(observations.values()), *parts[1:]
        missing = dict(zip(("observations", "rewards", "terminations", "truncations"), parts[:4], strict=True))
        if self.fault.startswith("no "):
            del missing[self.fault[3:]][agent]
        changed: dict[str, tuple[dict[str, Any], Any]] = {
            "nan": (observations, np.array([0, np.nan], np.float32)),
            "shape": (observations, np.zeros(3, np.float32)),
            "text": (observations, "left"),
            "nan reward": (rewards, float("nan")),
            "huge reward": (rewards, 1e300),
            "text reward": (rewards, "1"),
            "number as flag": (terminations, 1),
            "still there": (terminations, True),
            "late mask": (infos, {"action_mask": np.ones(3, bool)}),
            "lost mask": (infos, {}),
            "wide mask": (infos, {"action_mask": np.ones(4, bool)}),
        }
        if self.fault in changed:
            where, value = changed[self.fault]
            where[agent] = value
        if self.fault == "nan at the end":
            observations[agent] = np.array([np.nan, 0], np.float32)
            truncations[agent] = True
            self.agents.remove(agent)
        if self.fault == "gone":
            self.agents.remove(agent)
        if self.fault == "stranger":
            self.agents.append("stranger")
        return tuple(parts)


def parallel_env(**options: Any) -> Any:
    return Crowd(**options)
