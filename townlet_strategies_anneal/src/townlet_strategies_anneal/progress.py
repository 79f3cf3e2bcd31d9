"""What an anneal run keeps in its checkpoints: the stages that were run, with their verdicts, and the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from townlet_core.dto.anneal import AnnealBaseline, AnnealStageResultDTO
from townlet_core.dto.base import ResultBase
from townlet_core.errors import CheckpointError

if TYPE_CHECKING:
    from townlet_core.checkpoint.store import LoadedCheckpoint

PROGRESS_FILE = "anneal.json"


class Progress(ResultBase):
    """Everything that the rest of a run depends on, besides the files of its stages.

    Attributes:
        has_start: whether the run was begun from a policy, which is in `start/`.
        baselines: who was run before anything was learned; None until that is done.
        stages: that were run.
        telemetry_offset: bytes of telemetry that belong to them.
    """

    has_start: bool
    baselines: tuple[AnnealBaseline, ...] | None = None
    stages: tuple[AnnealStageResultDTO, ...] = ()
    telemetry_offset: int = 0

    @property
    def agent_steps(self) -> int:
        """What all stages learned from; where one went on from another, only what it made itself."""
        return sum(
            stage.agent_steps - (0 if stage.continues is None else self.stages[stage.continues - 1].agent_steps)
            for stage in self.stages
            if stage.digest
        )

    def files(self) -> dict[str, bytes]:
        """Return the files of a checkpoint."""
        return {PROGRESS_FILE: self.model_dump_json(indent=1).encode() + b"\n"}


def read_progress(loaded: LoadedCheckpoint) -> Progress:
    """Return what a checkpoint holds; raises `CheckpointError`."""
    try:
        return Progress.model_validate_json(loaded.files[PROGRESS_FILE])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{loaded.path} has no readable {PROGRESS_FILE}: {error}") from error
