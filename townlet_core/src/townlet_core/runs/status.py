"""What `run.json` says: which run this is, what it was made with, and how far it got."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import DISK, FileSystem
from townlet_core.errors import DataError, MissingInputError

if TYPE_CHECKING:
    from pathlib import Path

Clock = Callable[[], float]
"""Returns seconds since 1970, such as `time.time`. Times are information: nothing in a run is ordered by them."""

MAX_RECORD_BYTES = 1 << 20
MOST_WARNINGS = 50
_Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]  # one line, shown in terminals
_Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as `2026-11-23T06:41:08Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunRecord(BaseModel):
    """The contents of `run.json`.

    Attributes:
        schema_version: version of this format.
        id: name of the run.
        status: how the run stands; a `running` run that nobody holds the lock of was killed.
        strategy: name of the strategy.
        environment: name of the environment.
        seed: the run's seed.
        versions: package name -> version, of what the run was made with.
        machine: the processor, its matrix kernels and the device that the run was made on; empty in older records.
        num_threads: threads to learn with; None while the choice is the strategy's, whose checkpoints have the number.
        created: when the run began, UTC.
        updated: when this record was written, UTC.
        agent_steps: agent-steps so far; of a run that is going, those of its start (the telemetry knows better).
        config_digest: SHA-256 of the resolved configuration, but for what does not change results.
        scenario_digest: SHA-256 of the town's scenario, whose file may change; empty in other environments.
        initial_policy: digest of the artefact that the run began from; empty if it began from none.
        message: why the run ended as it did, where that needs saying.
        warnings: what may have made its bytes others than those of an uninterrupted run, oldest first.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    id: _Text
    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    strategy: _Text
    environment: _Text
    seed: Annotated[int, Field(ge=0)]
    versions: dict[str, str]
    machine: dict[str, _Text] = Field(default_factory=dict)
    num_threads: Annotated[int, Field(ge=1)] | None
    created: _Time
    updated: _Time
    agent_steps: Annotated[int, Field(ge=0)] = 0
    config_digest: _Text
    scenario_digest: _Text = ""
    initial_policy: _Text = ""
    message: Annotated[str, Field(max_length=65536)] = ""
    warnings: Annotated[tuple[_Text, ...], Field(max_length=MOST_WARNINGS)] = ()

    def revised(self, *, clock: Clock, **changes: Any) -> RunRecord:
        """Return the record with some fields changed, checked, and `updated` set."""
        return RunRecord.model_validate(self.model_dump() | changes | {"updated": timestamp(clock())})

    def write(self, path: Path, *, filesystem: FileSystem = DISK) -> None:
        """Write the record to `path` in one step; raises `StorageError`."""
        write_file(path, self.model_dump_json(indent=1).encode() + b"\n", filesystem=filesystem)


def read_record(path: Path) -> RunRecord:
    """Return the record in the file `path`.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is not a record; the text names the field.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECORD_BYTES + 1)
        if len(raw) > MAX_RECORD_BYTES:
            raise DataError(f"{path} is damaged: it has more than {MAX_RECORD_BYTES} bytes")
        return RunRecord.model_validate_json(raw)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{path} is damaged: {field + ': ' if field else ''}{problem['msg']}") from error
