"""A recording: what one world of the town was like after every tick, and what happened in it.

Legend: T frames (frame 0 is the state after the reset, frame t that after tick t), A agent slots, O objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.perturbations import KINDS
from townlet_core.simulation.rewards import TERMS
from townlet_core.simulation.town import Town

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from townlet_core.arrays import Array
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.simulation.events import EventRecord

AGENT_STATES = (
    *("y", "x", "present", "life", "hunger", "hygiene", "energy", "wallet", "using", "queue", "covering"),
    "shift_state",
)
OBJECT_STATES = ("stock", "user", "reserved")
_NO_ACTION = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One world of the town, from its reset to the last tick.

    Attributes:
        scenario: who lives there, and among what.
        seed: what everything was drawn from.
        policy: who acted, in words.
        day_ticks: length of a day.
        agents: name -> (T, A): `AGENT_STATES` as in `TownState`; `action`, what was done in the tick, -1 in frame 0;
            `reward`, what that earned, 0 in frame 0.
        reward_terms: name -> (T, A), the terms that add up to the reward.
        objects: name -> (T, O): `OBJECT_STATES` as in `TownState`.
        perturbations: kind -> (T,), ticks that it goes on for, 0 = off.
        events: what happened, in the order of ticks.
    """

    scenario: ScenarioConfig
    seed: int
    policy: str
    day_ticks: int
    agents: dict[str, Array]
    reward_terms: dict[str, Array]
    objects: dict[str, Array]
    perturbations: dict[str, Array]
    events: tuple[EventRecord, ...]

    def __post_init__(self) -> None:
        """Check that the tables fit together; raises `ValueError`."""
        frames = self.num_frames
        agents, objects = (frames, self.scenario.num_agents), (frames, len(self.scenario.objects))
        for tables, shape in (
            (self.agents, agents),
            (self.reward_terms, agents),
            (self.objects, objects),
            (self.perturbations, (frames,)),
        ):
            for name, table in tables.items():
                if table.shape != shape:
                    raise ValueError(f"'{name}' of the recording is {table.shape}; expected {shape}")

    @property
    def num_frames(self) -> int:
        """T, one more than the ticks."""
        return len(self.agents["y"])

    def events_by_frame(self) -> Iterator[tuple[int, list[EventRecord]]]:
        """Yield every frame with the events of its tick."""
        waiting, first = self.events, 0
        for frame in range(self.num_frames):
            last = first
            while last < len(waiting) and waiting[last].tick <= frame:
                last += 1
            yield frame, list(waiting[first:last])
            first = last


class RecordedTown(Town):
    """A town that remembers its world 0, from the last reset on.

    It lives by the rules of `Town` alone: nothing is drawn and nothing changes because somebody looks. A frame is kept
    at the end of a tick, before the next episode begins.
    """

    def reset(self, seeds: Sequence[int] | Array, indices: Sequence[int] | Array) -> None:
        """Begin anew, and forget what was recorded; see `Town.reset`."""
        self.events.is_recording = True
        super().reset(seeds, indices)
        self._seed = int(seeds[0])
        self._agents: dict[str, list[Array]] = {name: [] for name in (*AGENT_STATES, "action", "reward")}
        self._terms: dict[str, list[Array]] = {name: [] for name in TERMS}
        self._objects: dict[str, list[Array]] = {name: [] for name in OBJECT_STATES}
        self._perturbations: list[Array] = []
        self._records: list[EventRecord] = []
        self._earned = np.zeros(self.state.present.shape, np.float32)
        self._capture(is_first=True)

    def advance(self, actions: Array) -> tuple[Array, Array]:
        """Make one tick, up to the end of lives; see `Town.advance`."""
        self._acted = self.state.present[0].copy()
        self._earned, exits = super().advance(actions)
        self._chosen = np.where(self._acted, self.state.last_action[0], _NO_ACTION).astype(np.int8)
        return self._earned, exits

    def settle(self) -> None:
        """End the tick, and keep what it led to; see `Town.settle`."""
        super().settle()
        self._capture(is_first=False)

    def _capture(self, *, is_first: bool) -> None:
        state = self.state
        nothing = np.zeros(self.layout.num_agents, np.float32)
        for name in AGENT_STATES:
            self._agents[name].append(getattr(state, name)[0].copy())
        self._agents["action"].append(nothing.astype(np.int8) + _NO_ACTION if is_first else self._chosen)
        self._agents["reward"].append(nothing if is_first else self._earned[0].copy())
        for name, rows in self._terms.items():
            rows.append(nothing if is_first else self.reward_terms[name][0].copy())
        for name, things in self._objects.items():
            things.append(getattr(state, name)[0].copy())
        self._perturbations.append(state.perturbation[0].copy())
        self._records += [record for record in self.events.records if record.world == 0]

    def recording(self, *, policy: str) -> Recording:
        """Return what was recorded since the last reset.

        Args:
            policy: who acted, in words.
        """
        perturbations = np.stack(self._perturbations)
        return Recording(
            scenario=self.scenario,
            seed=self._seed,
            policy=policy,
            day_ticks=self.config.day_ticks,
            agents={name: np.stack(rows) for name, rows in self._agents.items()},
            reward_terms={name: np.stack(rows) for name, rows in self._terms.items()},
            objects={name: np.stack(rows) for name, rows in self._objects.items()},
            perturbations={name: perturbations[:, column] for column, name in enumerate(KINDS)},
            events=tuple(self._records),
        )
