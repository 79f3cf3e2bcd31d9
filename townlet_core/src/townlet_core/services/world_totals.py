"""What a whole world-episode comes to: every present agent at every step, newcomers included.

Sums are kept for each world, and for each slot where agents are added up, so that they do not depend on the neighbours.

Legend: N worlds, A agents per world, M needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.environments.vector import AutoresetMode

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment

RATIOS = {
    "attendance": ("shift_ticks_attended", "shift_ticks_scheduled"),
    "chat_quality_mean": ("chat_quality_sum", "chat_success_events"),
    "queue_conflict_intensity_mean": ("queue_conflict_intensity_sum", "queue_conflict_events"),
}
"""Metric -> the sum above and the sum below; where the one below is 0, an episode does not have the metric."""
NEEDS = {"hunger_mean": "need_hunger", "hygiene_mean": "need_hygiene", "energy_mean": "need_energy"}
"""Metric -> the feature that is averaged over agents and steps, where an environment shows one of that name."""


class WorldTotals:
    """Sums over the first episode of each world.

    Attributes:
        is_going: (N,) bool, whether that episode is not over yet.
        num_steps: (N,) int64, its steps so far.
        earned: (N, A) float64, the rewards of whoever was in the slot.
        agent_steps: (N, A) int64, steps in which somebody was there.

    Args:
        environment: it has just been reset.
        is_going: (N,) bool, the worlds that count.
    """

    def __init__(self, environment: VectorEnvironment, is_going: Array) -> None:
        shape = (environment.num_worlds, environment.num_agents)
        self.is_going = is_going.copy()
        self.num_steps = np.zeros(shape[0], dtype=np.int64)
        self.earned = np.zeros(shape)
        self.agent_steps = np.zeros(shape, dtype=np.int64)
        self._resets_later = environment.autoreset is AutoresetMode.NEXT_STEP
        self._events: dict[str, Array] = {}
        self._observation, self._columns = _need_columns(environment)
        self._needs = np.zeros((*shape, len(self._columns)))

    def see(self, shown: EnvironmentStep) -> None:
        """Add what the agents see before they act."""
        if self._columns:
            needs = shown.observations[self._observation][..., list(self._columns.values())]
            there = shown.agent_mask & self.is_going[:, None]
            np.add(self._needs, needs, out=self._needs, where=there[..., None])

    def add(self, acted: Array, after: EnvironmentStep) -> None:
        """Add a step.

        Args:
            acted: (N, A) bool, who acted in it.
            after: what the environment shows then.
        """
        if self._resets_later:  # this step was the reset
            self.is_going &= ~after.episode_starts
        counted = acted & self.is_going[:, None]
        np.add(self.earned, after.rewards, out=self.earned, where=counted)
        self.agent_steps += counted
        self.num_steps += self.is_going
        for name, counts in after.events.items():
            total = self._events.setdefault(name, np.zeros(len(self.num_steps)))
            np.add(total, counts, out=total, where=self.is_going)
        self.is_going &= ~after.episode_starts

    def reward_mean(self, world: int) -> float:
        """Return the mean reward of a present agent in a step of a world."""
        return float(self.earned[world].sum() / self.agent_steps[world].sum())

    def metrics(self, world: int) -> dict[str, float]:
        """Return the sums of a world's events, and what follows from them and from its agents' needs."""
        sums = {name: float(total[world]) for name, total in self._events.items()}
        ratios = {
            name: sums[above] / sums[below]
            for name, (above, below) in RATIOS.items()
            if above in sums and sums.get(below, 0.0) > 0
        }
        means = self._needs[world].sum(axis=0) / self.agent_steps[world].sum()
        return sums | ratios | dict(zip(self._columns, means.tolist(), strict=True))


def _need_columns(environment: VectorEnvironment) -> tuple[str, dict[str, int]]:
    """Return the observation that shows the needs, and their columns by metric; nothing where none does."""
    for observation, features in environment.feature_names.items():
        if set(NEEDS.values()) <= set(features):
            return observation, {metric: features.index(feature) for metric, feature in NEEDS.items()}
    return "", {}
