"""All runs of a directory, newest first, and the one that `--resume` means."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.checkpoint.manifest import read_file
from townlet_core.errors import DataError, MissingInputError, StorageError, TownletError, UsageError, suggestion
from townlet_core.runs.layout import RECORD_NAME, RESULT_NAME, STAGES_NAME, TELEMETRY_NAME, RunDirectory
from townlet_core.runs.lock import is_locked

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.runs.status import RunRecord

DAMAGED, KILLED = "damaged", "killed"
RESUMABLE_STATUSES = ("interrupted", "failed", KILLED)
_POLICY_DOCUMENT, _MOST_DOCUMENT_BYTES = "policy.json", 4 << 20
_TAIL_BYTES = 64 << 10
_MOST_CANDIDATES = 10
_MOST = 1e18  # what claims to have made more steps is damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, as it stands now.

    Attributes:
        path: its directory.
        status: `run.json`'s, or `killed` for a running one that nobody holds the lock of, or `damaged`.
        record: what `run.json` says, with the agent-steps of the telemetry where the run did not come to write its
            own, and the environment that its policy is from where the policy says so: recordings may be of another
            one than the configuration's; None if it is damaged.
        reason: what is wrong with a damaged one.
        checkpoints: steps of its checkpoints, ascending.
        last_return: mean return of the episodes in the last line of its telemetry that has one, if near the end.
        best_update: update after which the best policy so far was evaluated; None where nothing was, or in stages.
        best_score: how well it did.
    """

    path: Path
    status: str
    record: RunRecord | None
    reason: str
    checkpoints: tuple[int, ...]
    last_return: float | None
    best_update: int | None = None
    best_score: float | None = None

    @property
    def is_resumable(self) -> bool:
        """Whether the run ended early and has a checkpoint."""
        return self.status in RESUMABLE_STATUSES and bool(self.checkpoints)


def summarise(path: Path) -> RunSummary:
    """Return how the run in the directory `path` stands; what is damaged is said, not raised."""
    try:
        run = RunDirectory(path)
        record = run.record()
        status = KILLED if record.status == "running" and not is_locked(path) else record.status
        if record.status == "running" and status == KILLED:
            record = run.record()  # it may have ended between the two looks
            status = KILLED if record.status == "running" else record.status
        steps = tuple(run.checkpoints().steps())
    except (DataError, MissingInputError, StorageError, UsageError) as error:
        return RunSummary(path=path, status=DAMAGED, record=None, reason=str(error), checkpoints=(), last_return=None)
    tail = _telemetry_tail(run.telemetry_path)
    last_return = _latest(tail, "episode_return_mean")
    agent_steps = _count(tail, "agent_steps")
    if status in ("running", KILLED) and agent_steps is not None:
        record = record.model_copy(update={"agent_steps": agent_steps})
    if trained_in := _trained_in(run.policy_dir):
        record = record.model_copy(update={"environment": trained_in})
    return RunSummary(
        path=path,
        status=status,
        record=record,
        reason=record.message,
        checkpoints=steps,
        last_return=last_return,
        best_update=_count(tail, "best_update"),
        best_score=_best_score(tail),
    )


def _trained_in(policy: Path) -> str:
    """Return the environment that the policy of a run is from; empty where there is none, or it does not say."""
    try:
        document = json.loads(read_file(policy / _POLICY_DOCUMENT, _MOST_DOCUMENT_BYTES, DataError))
        environment = document["provenance"]["environment"]
    except (TownletError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return environment if isinstance(environment, str) else ""


def logged_agent_steps(telemetry_path: Path) -> int | None:
    """Return the agent-steps that a telemetry file ends with; None where its last records have none."""
    return _count(_telemetry_tail(telemetry_path), "agent_steps")


def unfinished_stage(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the name of the stage that the run at `path` is in, and the last record of that stage's telemetry.

    None where there is no stage, or the newest one has ended. The record is empty where it has none yet.
    """
    stages = sorted((stage for stage in (path / STAGES_NAME).glob("[0-9]*-*") if stage.is_dir()), key=_number_of_stage)
    if not stages or (stages[-1] / RESULT_NAME).exists():
        return None
    return stages[-1].name, next(iter(_telemetry_tail(stages[-1] / TELEMETRY_NAME)), {})


def _number_of_stage(stage: Path) -> int:
    number = stage.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Return the runs in `runs_dir`, newest first, damaged ones last; none if there is no such directory.

    A directory without `run.json` is not a run; links are not followed.

    Raises:
        StorageError: the directory cannot be listed.
    """
    with storage_guard("list", runs_dir):
        if not runs_dir.is_dir():
            return []
        paths = sorted(path for path in runs_dir.iterdir() if _is_run(path))
    return sorted((summarise(path) for path in paths), key=_age, reverse=True)


def find_run(name: str, *, runs_dir: Path) -> RunSummary:
    """Return the run with the id `name` in `runs_dir`, or at the path `name`.

    Raises:
        MissingInputError: there is none; the text offers the closest id.
    """
    for path in (runs_dir / name, type(runs_dir)(name)):
        if "\0" not in name and _is_run(path):
            return summarise(path)
    ids = [run.path.name for run in list_runs(runs_dir)]
    raise MissingInputError(f"there is no run {name!r} in {runs_dir}, nor at that path{suggestion(name, ids)}")


def find_resumable(runs_dir: Path, config_digest: str) -> RunSummary:
    """Return the newest run in `runs_dir` that can be resumed and has this configuration.

    Raises:
        MissingInputError: there is none; the text lists the runs that come near, and why they are not it.
    """
    runs = list_runs(runs_dir)
    for run in runs:
        if run.is_resumable and run.record is not None and run.record.config_digest == config_digest:
            return run
    near = [f"\n  {run.path}: {_why_not(run, config_digest)}" for run in runs]
    more = f"\n  and {len(near) - _MOST_CANDIDATES} more" if len(near) > _MOST_CANDIDATES else ""
    listed = "".join(near[:_MOST_CANDIDATES]) + more if near else " (there are no runs at all)"
    advice = "; name a run with --run-dir, or start a new one without --resume"
    raise MissingInputError(f"no run in {runs_dir} can be resumed with this configuration{advice}{listed}")


def _why_not(run: RunSummary, config_digest: str) -> str:
    if run.record is None:
        return f"damaged ({run.reason})"
    reasons = [run.status]
    if run.status in RESUMABLE_STATUSES and not run.checkpoints:
        reasons.append("has no checkpoint")
    reasons.append("same configuration" if run.record.config_digest == config_digest else "another configuration")
    return ", ".join(reasons)


def _is_run(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and os.path.lexists(path / RECORD_NAME)


def _age(run: RunSummary) -> tuple[bool, str, str]:
    return (run.record is not None, run.record.created if run.record else "", run.path.name)


def _telemetry_tail(path: Path) -> list[dict[str, Any]]:
    """Return the last records, newest first: a list of runs must not read all that they ever wrote."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            lines = file.read(_TAIL_BYTES).split(b"\n")
    except OSError:
        return []
    records = []
    for line in reversed(lines[1:] if start else lines):
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def _count(records: list[dict[str, Any]], name: str) -> int | None:
    count = _latest(records, name)
    return None if count is None or not 0 <= count < _MOST else int(count)


def _best_score(records: list[dict[str, Any]]) -> float | None:
    """Return how well the best policy did: of an update, or of a stage, whose line has the score of its own policy."""
    score = _latest(records, "best_score")
    return score if score is not None else _latest([stage for stage in records if stage.get("is_best")], "score_mean")


def _latest(records: list[dict[str, Any]], name: str) -> float | None:
    """Return the first number of that name."""
    values = (record.get(name) for record in records)
    return next((float(value) for value in values if isinstance(value, int | float)), None)
