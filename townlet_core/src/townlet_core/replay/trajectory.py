"""One agent's episode in memory: the unit that is written, filtered, split and converted.

Legend: R steps, V events.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from townlet_core.replay.schema import OBSERVATION_PREFIX, EpisodeEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from townlet_core.arrays import Array

Ending = Literal["terminated", "truncated", "cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """What one agent saw, did and earned, from its first step to its last; fields as in `EpisodeEntry`.

    Attributes:
        steps: column -> (R, ...): the observations by flattened name, `actions`, `rewards`, `terminations`,
            `truncations`, and where they are known `action_mask`, `log_probs`, `values`.
        final: column -> one row: `final.<observation>`, what was seen after the last step, and `bootstrap_values`, its
            value where a time limit or the end of the recording cut the episode, else 0; empty if unknown.
    """

    steps: Mapping[str, Array]
    ending: Ending
    final: Mapping[str, Array] = field(default_factory=dict)
    group: int = 0
    seed: int | None = None
    agent: int = 0
    life: int = 0
    start_step: int = 0
    source: int = 0
    split: str = ""
    accepted: bool = True
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """R."""
        return len(self.steps["actions"])

    @property
    def episode_return(self) -> float:
        """Sum of the rewards; 0 where none are recorded."""
        return float(self.steps["rewards"].sum(dtype=np.float64)) if "rewards" in self.steps else 0.0

    def entry(self) -> EpisodeEntry:
        """Return what `episodes.json` says about it."""
        return EpisodeEntry(
            num_steps=self.num_steps,
            group=self.group,
            seed=self.seed,
            agent=self.agent,
            life=self.life,
            start_step=self.start_step,
            ending=self.ending,
            episode_return=self.episode_return,
            content=content_digest(self.steps),
            source=self.source,
            split=self.split,
            accepted=self.accepted,
            tags=self.tags,
            metadata=dict(self.metadata),
        )

    @classmethod
    def of(cls, entry: EpisodeEntry, steps: Mapping[str, Array], final: Mapping[str, Array]) -> Trajectory:
        """Return the trajectory of an entry and its rows."""
        return cls(
            steps=steps,
            final=final,
            ending=entry.ending,
            group=entry.group,
            seed=entry.seed,
            agent=entry.agent,
            life=entry.life,
            start_step=entry.start_step,
            source=entry.source,
            split=entry.split,
            accepted=entry.accepted,
            tags=entry.tags,
            metadata=entry.metadata,
        )


def content_digest(steps: Mapping[str, Array]) -> str:
    """Return the SHA-256 over what makes two episodes the same one: observations, actions and rewards."""
    digest = hashlib.sha256()
    for name in sorted(steps):
        if name in ("actions", "rewards") or name.partition(".")[0] == OBSERVATION_PREFIX:
            digest.update(f"{name}\0{steps[name].dtype.str}\0{steps[name].shape}\0".encode())
            digest.update(np.ascontiguousarray(steps[name]).data)
    return digest.hexdigest()
