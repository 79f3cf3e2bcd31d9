"""The events of the world-episodes that are being recorded, until their episodes are handed over.

Legend: N worlds, E events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.environments.vector import StepEvents
from townlet_core.errors import EnvironmentFault
from townlet_core.replay.columns import EVENT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment

_NOBODY = -1


class RecordedEvents:
    """Gathers the events of an environment: single ones where it keeps them, else its counts that are not zero.

    Attributes:
        kinds: what the column `event.kind` counts.

    Args:
        environment: whose events; it is told to keep them.
        first: what it shows after the reset, which names its counts.
    """

    def __init__(self, environment: VectorEnvironment, first: EnvironmentStep) -> None:
        environment.keep_events()
        self.kinds = environment.event_kinds or tuple(first.events)
        self._environment = environment
        self._place = {name: place for place, name in enumerate(self.kinds)}
        self._waiting: list[StepEvents] = []

    def take(self, after: EnvironmentStep, *, acted: Array, steps: Array) -> None:
        """Take the events of a step.

        Args:
            after: what the environment shows after it.
            acted: (N,) bool, the worlds whose step is recorded.
            steps: (N,) number of the step in each world's episode.

        Raises:
            EnvironmentFault: an event is counted that was not named after the reset.
        """
        if not self.kinds and not after.events:
            return
        events = self._environment.last_events() or self._counted(after.events, steps)
        wanted = acted[events.worlds]
        if not wanted.all():
            events = _rows(events, wanted)
        if len(events.worlds):
            self._waiting.append(events)

    def _counted(self, counts: Mapping[str, Array], steps: Array) -> StepEvents:
        kinds, worlds, values = [], [], []
        for name, numbers in counts.items():
            if name not in self._place:
                raise EnvironmentFault(
                    f"environment '{self._environment.name}': it counts '{name}', and did not after the reset; "
                    "it names the same events in every step"
                )
            some = np.flatnonzero(numbers)
            kinds.append(np.full(len(some), self._place[name]))
            worlds.append(some)
            values.append(numbers[some])
        where = np.concatenate(worlds)
        nobody = np.full(len(where), _NOBODY)
        return StepEvents(np.concatenate(kinds), where, steps[where], nobody, nobody, np.concatenate(values))

    def pop(self, world: int) -> dict[str, Array]:
        """Return what is kept of a world, as the columns of a dataset with group 0, and forget it."""
        if not self._waiting:
            return _columns([])
        parts = ([getattr(events, name) for events in self._waiting] for name in StepEvents.__slots__)
        events = StepEvents(*(np.concatenate(part) for part in parts))
        is_mine = events.worlds == world
        rest = _rows(events, ~is_mine)
        self._waiting = [rest] if len(rest.worlds) else []
        return _columns([_rows(events, is_mine)])


def _rows(events: StepEvents, wanted: Array) -> StepEvents:
    return StepEvents(*(getattr(events, name)[wanted] for name in StepEvents.__slots__))


def _columns(events: list[StepEvents]) -> dict[str, Array]:
    """Return the columns of at most one table of events."""
    names = {"step": "steps", "kind": "kinds", "actor": "actors", "target": "targets", "value": "values"}
    size = sum(len(table.worlds) for table in events)
    columns = {name: np.zeros(size, dtype) for name, dtype in EVENT_COLUMNS.items()}
    for table in events:
        for name, field in names.items():
            columns[f"event.{name}"][:] = getattr(table, field)
    return columns
