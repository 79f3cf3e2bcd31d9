"""One action vocabulary over files whose ids mean something in that file only.

An action is known by its JSON, with sorted keys. Ids that a file's own table does not name become actions of their own,
one for each file and id: nothing says that 7 in one file and 7 in another are the same.

Legend: T steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from townlet_core.arrays import Array

UNLISTED = "unlisted:"
MAX_ACTIONS = 65_536
MAX_NAME = 4096
_MAX_ID = 2**62


@dataclass(frozen=True, slots=True)
class FileActions:
    """What the ids of one file mean.

    Attributes:
        names: id -> name: the JSON of an action that the file's table names, else `unlisted:<file>:<id>`.
        unlisted: the ids that are used and not named, ascending.
    """

    names: Mapping[int, str]
    unlisted: tuple[int, ...] = ()


@dataclass(slots=True)
class Vocabulary:
    """The actions of several files; add every file, then use it.

    Attributes:
        unlisted: name of a file -> the ids that it uses and does not name.
    """

    unlisted: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _listed: set[str] = field(default_factory=set)
    _others: dict[str, None] = field(default_factory=dict)

    def add(self, actions: FileActions, name: str) -> None:
        """Add a file's actions, named or not.

        Raises:
            DatasetError: there are too many.
        """
        self._listed |= {text for text in actions.names.values() if not text.startswith(UNLISTED)}
        self._others |= {actions.names[number]: None for number in actions.unlisted}
        if actions.unlisted:
            self.unlisted[name] = actions.unlisted
        if len(self._listed) + len(self._others) > MAX_ACTIONS:
            raise DatasetError(f"{name}: there are more than {MAX_ACTIONS:,} different actions up to this file")

    @property
    def names(self) -> tuple[str, ...]:
        """Every action: those with a JSON in the order of the text, then the others in that of the files."""
        return (*sorted(self._listed), *self._others)


def file_actions(lookup: Any, actions: Array, *, name: str, path: Path) -> FileActions:
    """Return what the ids of a file mean.

    Args:
        lookup: the metadata's `action_lookup`, `{json: id}` or `{id: json}`; None for none.
        actions: (T,), the ids that are used.
        name: what the manifest calls the file.
        path: the file, for errors.

    Raises:
        DatasetError: the table contradicts itself, or an id is negative.
    """
    table = read_lookup(lookup, path)
    used = np.unique(actions)
    if len(used) and (used[0] < 0 or used[-1] > _MAX_ID):
        raise DatasetError(f"{path}: 'actions' has the id {used[0] if used[0] < 0 else used[-1]}; ids count from 0")
    if len(used) > MAX_ACTIONS:
        raise DatasetError(f"{path}: 'actions' has {len(used):,} different ids; at most {MAX_ACTIONS:,} are read")
    unlisted = tuple(number for number in used.tolist() if number not in table)
    stem = name.removesuffix(".npz")
    return FileActions(table | {number: f"{UNLISTED}{stem}:{number}" for number in unlisted}, unlisted)


def read_lookup(lookup: Any, path: Path) -> dict[int, str]:
    """Return a table of either direction as id -> JSON with sorted keys; raises `DatasetError`."""
    if lookup is None:
        return {}
    if not isinstance(lookup, dict):
        raise DatasetError(
            f"{path}: 'action_lookup' is a {type(lookup).__name__}; expected an object of actions and ids"
        )
    if all(type(number) is int for number in lookup.values()):
        pairs = [(number, text) for text, number in lookup.items()]
    elif all(isinstance(text, str) and _is_id(key) for key, text in lookup.items()):
        pairs = [(int(key), text) for key, text in lookup.items()]
    else:
        raise DatasetError(f"{path}: 'action_lookup' is neither {{json: id}} nor {{id: json}} throughout")
    table: dict[int, str] = {}
    ids: dict[str, int] = {}
    for number, raw in pairs:
        text = sorted_json(raw)
        if not 0 <= number <= _MAX_ID or len(text) > MAX_NAME or text.startswith(UNLISTED):
            raise DatasetError(f"{path}: 'action_lookup' has the entry {text[:100]!r} with id {number}")
        if number in table or text in ids:
            raise DatasetError(f"{path}: 'action_lookup' has two actions with id {number}, or {text[:100]!r} twice")
        table[number], ids[text] = text, number
    return table


def _is_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 20 and str(int(key)) == key


def sorted_json(text: str) -> str:
    """Return the JSON of an action with sorted keys and Python's spacing; other text as it is."""
    try:
        action = json.loads(text)
        return json.dumps(action, sort_keys=True) if isinstance(action, dict) else text
    except (ValueError, RecursionError):
        return text


def renumbered(actions: Array, names: Mapping[int, str], place: Mapping[str, int]) -> Array:
    """Return ids of a file as places in a vocabulary, (T,) int64.

    Args:
        actions: (T,), the file's ids, each of which has a name.
        names: id -> name in that file.
        place: name -> place in the vocabulary.
    """
    used, inverse = np.unique(actions, return_inverse=True)
    return np.array([place[names[number]] for number in used.tolist()], np.int64)[inverse.reshape(actions.shape)]
