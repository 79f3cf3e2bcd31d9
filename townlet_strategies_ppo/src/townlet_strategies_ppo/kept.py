"""The checkpoints that a run keeps: the newest ones, and beside each the one that it names as the best."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from townlet_core.dto.ppo import PPOTelemetry
from townlet_core.errors import CheckpointError, RunWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.checkpoint.store import CheckpointStore, LoadedCheckpoint

RECORD_FILE = "telemetry.json"
"""File of a checkpoint: the record of the last update; a checkpoint that was saved before the first one has none."""


class KeptCheckpoints:
    """What a run saves and goes on from.

    Args:
        store: where they are; its `keep_last` says how many.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self._bests: dict[int, int | None] = {}

    def newest(self) -> LoadedCheckpoint | None:
        """Return the newest one that is intact, with a warning for each that is not."""
        loaded = self.store.load_newest()
        for reason in () if loaded is None else loaded.skipped:
            warnings.warn(f"a newer checkpoint was skipped: {reason}", RunWarning, stacklevel=2)
        record = None if loaded is None else read_record(loaded.files, where=str(loaded.path))
        if record is not None:
            self._bests = {record.epoch: record.best_update}
        return loaded

    def save(self, step: int, files: Mapping[str, bytes], record: PPOTelemetry | None) -> None:
        """Save one, and let go of what neither it nor the others that stay need.

        Args:
            step: updates made.
            files: plain name -> contents, but for the record.
            record: of the last update.
        """
        written = {} if record is None else {RECORD_FILE: record.model_dump_json(indent=1).encode()}
        self._bests[step] = None if record is None else record.best_update
        self._bests = {saved: self._bests[saved] for saved in sorted(self._bests)[-self.store.keep_last :]}
        self.store.save(step, {**files, **written}, keep={best for best in self._bests.values() if best is not None})


def read_record(files: Mapping[str, bytes], *, where: str) -> PPOTelemetry | None:
    """Return the record of a checkpoint, None where it was saved before the first update.

    Raises:
        CheckpointError: it cannot be read; the text names `where`.
    """
    if RECORD_FILE not in files:
        return None
    try:
        return PPOTelemetry.model_validate_json(files[RECORD_FILE])
    except ValueError as error:
        raise CheckpointError(f"{where} has no readable {RECORD_FILE}: {error}") from error
