"""Watches one telemetry file: reads what is new, sums it up, holds it against limits, and follows it as it grows."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from townlet_core.dto.watch import WatchReport
from townlet_core.errors import DataError, MissingInputError, UsageError
from townlet_core.runs.layout import RECORD_NAME, TELEMETRY_NAME
from townlet_core.runs.status import read_record
from townlet_core.tracking.telemetry_reader import TelemetryTail, missing_log, telemetry_path
from townlet_core.tracking.telemetry_summary import LogSummary
from townlet_core.tracking.thresholds import ThresholdCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from townlet_core.tracking.telemetry_record import TelemetryRecord
    from townlet_core.tracking.thresholds import Threshold

ENDED = ("finished", "failed")
"""Statuses of a run that will write no more; an interrupted one may be resumed while somebody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one look at the file brought.

    Attributes:
        records: the new records, at a first look the last of them.
        num_new: how many there were.
        begun_again: whether the file was shortened or replaced, and read from its beginning.
    """

    records: tuple[TelemetryRecord, ...]
    num_new: int
    begun_again: bool


class LogWatch:
    """One telemetry file, and what is known about it.

    Args:
        path: the file, or a run directory; it need not exist yet.
        thresholds: limits.
        last: records that the first look returns at most; later ones return all that are new.
        after: updates up to this epoch are not judged.
        judge_last: of what the first look finds, only so many records are judged; None for all.

    Attributes:
        thresholds: the limits.
        tail: the file.
        summary: what its records amount to.
        check: how they stand to the limits.
        stale_sec: seconds without a new record, if that was too long.

    Raises:
        UsageError: `last` or `judge_last` is not positive.
    """

    def __init__(
        self,
        path: Path,
        *,
        thresholds: Sequence[Threshold] = (),
        last: int = 10,
        after: int = 0,
        judge_last: int | None = None,
    ) -> None:
        if last < 1 or (judge_last is not None and judge_last < 1):
            raise UsageError("'last' and 'judge_last' have to be at least 1")
        self._path = path
        self.thresholds = tuple(thresholds)
        self._last, self._after, self._judge_last = last, after, judge_last
        self.stale_sec: float | None = None
        self._begin(telemetry_path(path))

    def _begin(self, path: Path) -> None:
        self.tail = TelemetryTail(path)
        self._forget()

    def _forget(self) -> None:
        self.summary = LogSummary()
        self.check = ThresholdCheck(self.thresholds, after=self._after)
        self._is_first_look = True

    def require(self) -> None:
        """Check that the file is there; raises `MissingInputError`."""
        if not self.tail.exists():
            raise missing_log(self._path)

    def look(self, *, is_final: bool = False) -> News:
        """Read what is new.

        Args:
            is_final: nothing is to come, so a last line without its newline is read too, if it is whole.

        Raises:
            DataError: a line is damaged.
            StorageError: the system refused.
            UsageError: a limit is for a field that there is not.
        """
        if not self.summary.updates and (path := telemetry_path(self._path)) != self.tail.path:
            self._begin(path)  # it has just become clear that a directory is meant
        begun_again = self.tail.begin_again_if_rewritten()
        if begun_again:
            self._forget()
        num_new = 0
        shown: deque[TelemetryRecord] = deque(maxlen=self._last if self._is_first_look else None)
        judged: deque[TelemetryRecord] = deque(maxlen=self._judge_last if self._is_first_look else None)
        for record in self._new_records(is_final=is_final):
            num_new += 1
            self.summary.add(record)
            shown.append(record)
            if judged.maxlen is None:
                self.check.add(record)
            else:
                judged.append(record)
        for record in judged:
            self.check.add(record)
        if self.summary.updates:
            self.check.require_known(self.summary.series)
            self._is_first_look = False
        return News(records=tuple(shown), num_new=num_new, begun_again=begun_again)

    def _new_records(self, *, is_final: bool) -> Iterator[TelemetryRecord]:
        yield from self.tail.records()
        if is_final and (record := self.tail.unfinished_record()) is not None:
            yield record

    def run_status(self) -> str:
        """Return what the `run.json` beside the file says; empty if there is none that can be read."""
        with suppress(DataError, MissingInputError):
            if self.tail.path.name == TELEMETRY_NAME:
                return read_record(self.tail.path.with_name(RECORD_NAME)).status
        return ""

    def follow(
        self,
        *,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
        interval_sec: float = 1.0,
        stale_sec: float | None = None,
        until_exceeded: bool = False,
    ) -> Iterator[News]:
        """Yield what is new whenever something is, until the run has ended; the file need not exist yet.

        Args:
            sleep: waits for so many seconds, such as `time.sleep`.
            clock: seconds that never go back, such as `time.monotonic`.
            interval_sec: seconds between two looks.
            stale_sec: after so long without a new record `stale_sec` is set, and news without records are yielded.
            until_exceeded: end as soon as a limit is left, `stale_sec` included.

        Raises:
            DataError: a line is damaged.
            StorageError: the system refused.
            UsageError: a limit is for a field that there is not.
        """
        changed_at = clock()
        while True:
            has_ended = self.run_status() in ENDED  # asked first: what was written before it ended is then read
            news = self.look(is_final=has_ended)
            if news.num_new:
                changed_at, self.stale_sec = clock(), None
            silence = clock() - changed_at
            is_stale = stale_sec is not None and silence > stale_sec and not has_ended
            if news.num_new or news.begun_again or (is_stale and self.stale_sec is None):
                self.stale_sec = silence if is_stale else None
                yield news
            if has_ended or (until_exceeded and self.verdict == "exceeded"):
                return
            sleep(interval_sec)

    @property
    def verdict(self) -> Literal["within", "unknown", "exceeded"]:
        """How the records stand to the limits."""
        if self.check.is_exceeded or self.stale_sec is not None:
            return "exceeded"
        return "within" if self.check.num_judged and not self.check.unmeasured() else "unknown"

    def report(self) -> WatchReport:
        """Return all that is known."""
        summary = self.summary
        return WatchReport(
            path=str(self.tail.path),
            run_status=self.run_status(),
            kinds=dict(summary.kinds),
            updates=summary.updates,
            best_return=summary.best_return,
            largest_kl=summary.largest_kl,
            zero_std_batches=summary.zero_std_batches,
            non_finite_values=summary.non_finite_values,
            first_non_finite=summary.first_non_finite,
            epochs_repeated=summary.epochs_repeated,
            unfinished_line=bool(self.tail.unfinished),
            fields={name: series.statistics() for name, series in summary.series.items()},
            fields_left_out=summary.fields_left_out,
            exceeded=tuple(self.check.exceedances()),
            stale_sec=self.stale_sec,
            unmeasured=tuple(self.check.unmeasured()),
            judged=self.check.num_judged,
            verdict=self.verdict,
        )
