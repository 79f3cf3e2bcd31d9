"""What happens in a tick: counted for each world, and kept as records where somebody asks for them.

Legend: N worlds, E events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from townlet_core.arrays import Array

KINDS = (
    "queue_conflict",
    "queue_handover",
    "ghost_step",
    "shared_meal",
    "chat_success",
    "chat_failure",
    "shift_late_start",
    "shift_absent",
    "employment_helped_when_late",
    "employment_took_my_shift",
    "affordance_start",
    "affordance_finish",
    "affordance_fail",
    "agent_spawned",
    "agent_exit",
    "perturbation_started",
    "perturbation_ended",
)
FAINT, EVICTION = 1, 2
"""Values of `agent_exit`: why a life ended."""

_COUNT_NAMES = {
    "queue_conflict": "queue_conflict_events",
    "shared_meal": "shared_meal_events",
    "chat_success": "chat_success_events",
    "chat_failure": "chat_failure_events",
    "employment_helped_when_late": "late_help_events",
    "employment_took_my_shift": "shift_takeover_events",
}
_SUM_NAMES = {"queue_conflict": "queue_conflict_intensity_sum", "chat_success": "chat_quality_sum"}
MEASURES = ("faint_events", "eviction_events", "shift_ticks_scheduled", "shift_ticks_attended")
"""Further counts of a tick, which no event record shows on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event.

    Attributes:
        tick: tick of the episode in which it happened, from 1 (the first tick).
        world: number of the world.
        kind: one of `KINDS`.
        actor: slot of who did it, or -1.
        target: slot of whom it happened to, or -1; the object of `affordance_*`; the kind of a perturbation.
        value: intensity of a conflict, quality of a chat, reason of an exit, else 1.
    """

    tick: int
    world: int
    kind: str
    actor: int
    target: int
    value: float


@dataclass(slots=True)
class EventLog:
    """The events of the last tick.

    Attributes:
        counts: (E, N) float64, how many of each kind.
        sums: (2, N) float64, sums of the values of conflicts and of successful chats.
        measures: (4, N) float64, by `MEASURES`.
        is_recording: whether single events are kept.
    """

    counts: Array
    sums: Array
    measures: Array
    is_recording: bool = False
    _kept: list[tuple[Array, ...]] = field(default_factory=list)

    @classmethod
    def empty(cls, num_worlds: int) -> EventLog:
        """Return a log of `num_worlds` worlds in which nothing has happened."""
        return cls(
            np.zeros((len(KINDS), num_worlds)),
            np.zeros((len(_SUM_NAMES), num_worlds)),
            np.zeros((len(MEASURES), num_worlds)),
        )

    def clear(self) -> None:
        """Forget everything."""
        self.counts.fill(0.0)
        self.sums.fill(0.0)
        self.measures.fill(0.0)
        self._kept = []

    def add(
        self,
        kind: str,
        worlds: Array,
        *,
        ticks: Array,
        actors: Array | int = -1,
        targets: Array | int = -1,
        values: Array | float = 1.0,
    ) -> None:
        """Add events.

        Args:
            kind: their kind.
            worlds: (E,) where they happened; a world may stand there more than once.
            ticks: (N,) the tick of each world.
            actors: (E,) or one for all.
            targets: (E,) or one for all.
            values: (E,) or one for all.
        """
        if len(worlds) == 0:
            return
        num_worlds = self.counts.shape[1]
        self.counts[KINDS.index(kind)] += np.bincount(worlds, minlength=num_worlds)
        if kind in _SUM_NAMES:
            weights = np.broadcast_to(np.asarray(values, np.float64), worlds.shape)
            row = list(_SUM_NAMES).index(kind)
            self.sums[row] += np.bincount(worlds, weights=weights, minlength=num_worlds)
        if self.is_recording:
            parts = (KINDS.index(kind), worlds, ticks[worlds] + 1, actors, targets, values)
            self._kept.append(tuple(np.array(np.broadcast_to(part, worlds.shape)) for part in parts))

    def columns(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Return what was kept since the last `clear` as columns (E,): kind (place in `KINDS`), world, tick, ....

        The other three are actor, target and value; all six as in `EventRecord`.
        """
        if not self._kept:
            none = np.zeros(0, np.int64)
            return none, none, none, none, none, np.zeros(0)
        kinds, worlds, ticks, actors, targets, values = map(np.concatenate, zip(*self._kept, strict=True))
        return kinds, worlds, ticks, actors, targets, values

    @property
    def records(self) -> list[EventRecord]:
        """What was kept since the last `clear`; empty where nothing is recorded."""
        rows = zip(*(column.tolist() for column in self.columns()), strict=True)
        return [
            EventRecord(tick=tick, world=world, kind=KINDS[kind], actor=actor, target=target, value=value)
            for kind, world, tick, actor, target, value in rows
        ]

    def by_name(self) -> dict[str, Array]:
        """Return (N,) float64 counts by the names of the telemetry; views, no copies."""
        named = {_COUNT_NAMES.get(kind, kind): self.counts[row] for row, kind in enumerate(KINDS)}
        named |= {name: self.sums[row] for row, name in enumerate(_SUM_NAMES.values())}
        return named | {name: self.measures[row] for row, name in enumerate(MEASURES)}

    def measure(self, name: str, amounts: Array) -> None:
        """Add (N,) amounts to one of `MEASURES`."""
        self.measures[MEASURES.index(name)] += amounts
