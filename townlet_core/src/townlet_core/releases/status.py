"""`status.json`: how things stand, for people and programs, and a witness of how long the log was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.manifest import first_problem, read_file
from townlet_core.dto.promotion import PromotionStatus
from townlet_core.errors import DataError
from townlet_core.releases.state import NOTHING, ReleaseState

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.checkpoint.filesystem import FileSystem
    from townlet_core.releases.log import History

STATUS_NAME = "status.json"
_MAX_BYTES = 64 << 10


def status_of(history: History, count: int | None = None) -> PromotionStatus:
    """Return how things stood after the first `count` events, at most as many as there are; by default after all."""
    count = len(history.events) if count is None else count
    state = history.states[count - 1] if count else ReleaseState()
    return PromotionStatus(
        state=state.phase,
        streak=state.streak,
        candidate=state.candidate,
        champion=state.champion,
        previous=state.previous,
        events=count,
        head=history.digests[count - 1] if count else NOTHING,
    )


def differing(status: PromotionStatus, history: History) -> list[str]:
    """Return the fields in which a status, of at most as many events, is not what follows from the log."""
    follows = status_of(history, status.events)
    return [name for name in type(status).model_fields if getattr(status, name) != getattr(follows, name)]


def read_status(path: Path) -> PromotionStatus | None:
    """Return what the file says; None if there is none.

    Raises:
        DataError: it is damaged.
        StorageError: it may not be read.
    """
    if not os.path.lexists(path):
        return None
    raw = read_file(path, _MAX_BYTES, DataError)
    try:
        status = PromotionStatus.model_validate_json(raw)
    except ValidationError as error:
        raise DataError(f"{path} is damaged: {first_problem(error)}") from error
    if _encoded(status) != raw:
        raise DataError(f"{path} is damaged: it is not written as a status is")
    return status


def write_status(path: Path, history: History, *, filesystem: FileSystem) -> None:
    """Write how things stand to `path`, in one step; raises `StorageError`."""
    write_file(path, _encoded(status_of(history)), filesystem=filesystem)


def _encoded(status: PromotionStatus) -> bytes:
    return status.model_dump_json(indent=1).encode() + b"\n"
