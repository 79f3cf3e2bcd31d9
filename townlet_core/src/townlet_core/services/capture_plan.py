"""How much a capture is to record, and what has come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from townlet_core.services.step_block import FRAGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING_BYTES = 512 << 20
"""How much may wait for episodes of earlier seeds. [bytes]"""
DEFAULT_MAX_STEPS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePlan:
    """How much to record, and what to say of it.

    Attributes:
        seeds: seed of each world-episode, in order, without end: some may be asked for in vain.
        episodes: world-episodes; None where `agent_steps` says how much.
        agent_steps: stop after the first step of a world with which so many are written; None = whole episodes.
        first_group: number of the first world-episode.
        source: place of the source in the dataset.
        tags: of every trajectory.
        deterministic: take the most likely action instead of a sample.
        max_steps: steps after which an episode that has not ended is an error; `agent_steps` more where they are given.
        fragment_bytes: see `TrajectoryRecorder`.
        waiting_bytes: how much may wait for episodes of earlier seeds.
    """

    seeds: Iterator[int]
    episodes: int | None = None
    agent_steps: int | None = None
    first_group: int = 0
    source: int = 0
    tags: tuple[str, ...] = ()
    deterministic: bool = True
    max_steps: int = DEFAULT_MAX_STEPS
    fragment_bytes: int = FRAGMENT_BYTES
    waiting_bytes: int = WAITING_BYTES


@dataclass(slots=True)
class CaptureStatistics:
    """What was written.

    Attributes:
        episodes: world-episodes, one that was cut included.
        trajectories: lives, and stretches of lives.
        agent_steps: rows.
        endings: trajectories by how they end.
        num_returns: lives that have ended; the four numbers below are of their returns.
        interrupted: somebody asked for a stop before it was all there.
    """

    episodes: int = 0
    trajectories: int = 0
    agent_steps: int = 0
    endings: dict[str, int] = field(default_factory=lambda: {"terminated": 0, "truncated": 0, "cut": 0})
    num_returns: int = 0
    return_mean: float = 0.0
    return_min: float = math.inf
    return_max: float = -math.inf
    interrupted: bool = False
    _squares: float = 0.0

    @property
    def return_std(self) -> float:
        """Standard deviation (n in the denominator)."""
        return math.sqrt(self._squares / self.num_returns) if self.num_returns else 0.0

    def add_return(self, value: float) -> None:
        """Count the return of a life (Welford 1962)."""
        self.num_returns += 1
        before = value - self.return_mean
        self.return_mean += before / self.num_returns
        self._squares += before * (value - self.return_mean)
        self.return_min, self.return_max = min(self.return_min, value), max(self.return_max, value)
