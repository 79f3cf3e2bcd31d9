"""Where a run stands in its schedule: a pure function of the stages that were run, so that a resume decides alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from townlet_strategies_anneal.verdict import GAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.dto.anneal import AnnealStageResultDTO
    from townlet_core.dto.comparison import Verdict
    from townlet_strategies_anneal.settings import AnnealSettings, ScheduleEntry

START = 0
"""Number of the policy that a run was begun from with --from; those of stages count from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands.

    Attributes:
        entry: the entry of the sorted schedule that is next, from 0.
        attempt: how often the run has gone back to its best policy.
        repeat: how often this entry was held, in this attempt.
        first: the first entry after the last clone, which no failure goes back beyond.
        current: number of the stage whose policy the next one begins from; None for a policy from nothing.
        clone: number of the stage whose policy the others are held against; None for none.
        best: number of the stage with the best policy; None for none.
        status: how the run has ended; None while it goes on.
        reason: why.
    """

    entry: int = 0
    attempt: int = 0
    repeat: int = 0
    first: int = 0
    current: int | None = None
    clone: int | None = None
    best: int | None = None
    status: Verdict | None = None
    reason: str = ""


def sorted_schedule(settings: AnnealSettings) -> tuple[ScheduleEntry, ...]:
    """Return the entries by cycle; those of one cycle stay in their order."""
    return tuple(sorted(settings.schedule, key=lambda entry: entry.cycle))


def position(
    stages: Iterable[AnnealStageResultDTO], settings: AnnealSettings, *, has_start: bool, is_legacy: bool
) -> Position:
    """Return where a run stands after these stages.

    Args:
        stages: that were run, in order.
        settings: of the run.
        has_start: whether it was begun from a policy.
        is_legacy: whether the flags of the earlier format decide: HOLD then stops no stage, and holds the run.
    """
    start = START if has_start else None
    now = Position(current=start, clone=start, best=start)
    is_held, gained = False, ""
    for stage in stages:
        now = _after(stage, now, settings, is_legacy=is_legacy)
        is_held |= stage.verdict == "HOLD"
        gained = next((f", the last one {check.reason}" for check in stage.checks if check.name == GAIN), "")
    if now.status is None and now.entry == len(settings.schedule):
        if is_legacy and is_held:
            return replace(now, status="HOLD", reason="a flag was raised")
        return replace(now, status="PASS", reason="every stage passed" + (gained if now.clone is None else ""))
    return now


def _after(stage: AnnealStageResultDTO, now: Position, settings: AnnealSettings, *, is_legacy: bool) -> Position:
    """Return where the run stands after one more stage."""
    number = stage.number
    if stage.verdict == "FAIL":
        return _after_failure(stage, now, settings)
    if stage.verdict == "HOLD" and not is_legacy:
        held = replace(now, current=number, repeat=now.repeat + 1)
        if stage.is_clone or held.repeat > settings.hold_repeats:
            return replace(held, status="HOLD", reason=f"stage {number}: {stage.reason}")
        return held
    return replace(
        now,
        entry=now.entry + 1,
        repeat=0,
        first=now.entry + 1 if stage.is_clone else now.first,
        current=number,
        clone=number if stage.is_clone else now.clone,
        best=number if stage.is_best else now.best,
    )


def _after_failure(stage: AnnealStageResultDTO, now: Position, settings: AnnealSettings) -> Position:
    """Return where the run stands after a failure: with the best, a step back to the weight before."""
    failed = replace(now, attempt=now.attempt + 1, repeat=0, current=now.best)
    if stage.is_clone or failed.attempt > settings.retries:
        return replace(failed, status="FAIL", reason=f"stage {stage.number}: {stage.reason}")
    schedule = sorted_schedule(settings)
    is_step = now.entry > now.first and schedule[now.entry - 1].bc_weight > schedule[now.entry].bc_weight
    return replace(failed, entry=now.entry - 1) if is_step else failed
