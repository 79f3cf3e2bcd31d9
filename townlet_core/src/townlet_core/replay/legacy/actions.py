"""How actions of a native dataset are written in the earlier format: the town's by a table, others by their names.

Legend: T steps, F features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gymnasium import spaces

from townlet_core.errors import DatasetError
from townlet_core.replay.legacy.vocabulary import sorted_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.replay.schema import DatasetManifest

TOWN_ACTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "wait": {"kind": "wait"},
    "north": {"kind": "move", "position": [0, -1]},
    "east": {"kind": "move", "position": [1, 0]},
    "south": {"kind": "move", "position": [0, 1]},
    "west": {"kind": "move", "position": [-1, 0]},
    "use": {"kind": "request", "object": "here"},
    "leave": {"kind": "release", "object": "here", "success": True},
    "chat": {"kind": "chat", "quality": None, "target": "neighbour"},
}
"""The town's eight actions. A position is relative to the agent, (x, y) with y to the south; `here` is the object that
the agent stands at, and `neighbour` whoever it stands next to: observations name neither."""

START: Final[Mapping[str, Any]] = {"affordance": "use", "kind": "start", "object": "here"}
"""What `use` is where the agent holds the object's reservation."""

HOLDS_RESERVATION = "reservation_active"
"""The feature that says so."""


@dataclass(frozen=True, slots=True)
class ActionTable:
    """The actions of a dataset as the earlier format has them.

    Attributes:
        names: JSON of each action; its place is its id.
        use: id of the town's `use`; None elsewhere.
    """

    names: tuple[str, ...]
    use: int | None = None

    @classmethod
    def of(cls, manifest: DatasetManifest, path: object) -> ActionTable:
        """Return the table of a dataset.

        Raises:
            DatasetError: its actions are not Discrete.
        """
        space = manifest.action_space
        if not isinstance(space, spaces.Discrete):
            raise DatasetError(f"{path}: the earlier format has one number for an action, and here they are {space}")
        given = manifest.action_names or tuple(f"action_{number}" for number in range(int(space.n)))
        plain = [name.lower() for name in given]
        if set(plain) == set(TOWN_ACTIONS):
            names = [*(_dumps(TOWN_ACTIONS[name]) for name in plain), _dumps(START)]
            return cls(tuple(names), plain.index("use"))
        names = [sorted_json(name) if _is_object(name) else _dumps({"kind": name}) for name in given]
        if len(set(names)) < len(names):  # two actions of one name are told apart
            names = [_dumps({"id": number, "kind": name}) for number, name in enumerate(given)]
        return cls(tuple(names))

    def ids(self, actions: Array, features: Array, feature_names: Sequence[str]) -> Array:
        """Return the ids of recorded actions, (T,) int64.

        Args:
            actions: (T,), counted from 0.
            features: (T, F), what was seen before them.
            feature_names: names of the columns.
        """
        ids = actions.astype(np.int64)
        if self.use is not None and HOLDS_RESERVATION in feature_names:
            holds = features[:, list(feature_names).index(HOLDS_RESERVATION)] > 0
            ids[(ids == self.use) & holds] = len(self.names) - 1
        return ids

    @property
    def lookup(self) -> dict[str, int]:
        """The table as metadata has it, `{json: id}`."""
        return {name: number for number, name in enumerate(self.names)}


def _dumps(action: Mapping[str, Any]) -> str:
    return json.dumps(action, sort_keys=True)


def _is_object(name: str) -> bool:
    try:
        return isinstance(json.loads(name), dict)
    except (ValueError, RecursionError):
        return False
