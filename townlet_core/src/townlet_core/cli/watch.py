"""`townlet watch`: telemetry as a table, summed up, followed as it grows, and held against limits."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from townlet_core.cli.tables import clipped, printable
from townlet_core.cli.watch_summary import describe_exceedance, summary_lines, verdict_lines
from townlet_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from townlet_core.dto.watch import WatchReport
    from townlet_core.tracking.log_watch import LogWatch, News
    from townlet_core.tracking.telemetry_record import TelemetryRecord
    from townlet_core.tracking.thresholds import Threshold

_Bound = Literal["max", "min"]
_LIMITS: dict[str, tuple[str, _Bound, str]] = {
    "kl-max": ("kl_divergence", "max", "Mean KL divergence of an update."),
    "kl-k3-max": ("kl_k3", "max", "Its estimator k3, which is never negative."),
    "loss-max": ("loss_total", "max", "Total loss."),
    "clip-fraction-max": ("clip_fraction", "max", "Share of samples that were clipped."),
    "grad-norm-max": ("grad_norm_max", "max", "Largest gradient norm of an update."),
    "conflict-max": ("queue_conflicts_per_tick", "max", "Queue conflicts for each tick, of all worlds together."),
    "entropy-min": ("entropy", "min", "Mean entropy of the policy."),
    "return-min": ("episode_return_mean", "min", "Mean return of the episodes of an update."),
    "explained-variance-min": ("explained_variance", "min", "Explained variance of the values."),
}
"""Option -> the measure or field, whether it is the most or the least, and the help."""

_VERDICTS = {"within": ExitCode.OK, "unknown": ExitCode.HOLD, "exceeded": ExitCode.FAIL}


def _limit_options(function: Callable[..., None]) -> Callable[..., None]:
    for option, (_, _, text) in reversed(_LIMITS.items()):
        function = click.option(f"--{option}", type=float, metavar="X", help=text)(function)
    return function


@click.command(short_help="Sum up, follow and check telemetry.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Rows to show of what is there.",
)
@click.option("--follow", is_flag=True, help="Go on as lines come, until the run has ended, or Ctrl-C.")
@click.option("--check", is_flag=True, help="End with 0 within the limits, 1 if that cannot be told, 2 outside.")
@_limit_options
@click.option("--max", "maxima", multiple=True, metavar="NAME=X", help="Largest value of any numeric field.")
@click.option("--min", "minima", multiple=True, metavar="NAME=X", help="Smallest value of any numeric field.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="EPOCH", help="Judge only later updates.")
@click.option("--judge-last", type=click.IntRange(min=1), metavar="N", help="Judge only the last N, and what follows.")
@click.option("--stale-sec", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Longest silence.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between two looks.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; with --follow a line for each record, then the report."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    log: Path,
    *,
    last: int,
    follow: bool,
    check: bool,
    maxima: tuple[str, ...],
    minima: tuple[str, ...],
    after: int,
    judge_last: int | None,
    stale_sec: float | None,
    interval: float,
    as_json: bool,
    **limits: float | None,
) -> None:
    """Show what a telemetry file says, of this version or an older one (1.0, 1.1, 1.2).

    LOG is a file or the directory of a run. Every update is held against every limit that is given, and any number
    that is not finite exceeds. A damaged line is an error, and half a last line is left out.

    \b
    townlet watch runs/20261123-064108-ppo-ab12
    townlet watch old/telemetry.jsonl --check --kl-max 0.05 --min entropy=0.1
    townlet watch runs/pole --follow --check --stale-sec 600
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.tracking.log_watch import LogWatch

    if stale_sec is not None and not follow:
        raise UsageError("--stale-sec is for --follow: a file that is only read cannot be silent")
    watch = LogWatch(log, thresholds=_thresholds(limits, maxima, minima), last=last, after=after, judge_last=judge_last)
    printer = _Printer(as_json=as_json, is_following=follow)
    if follow:
        _follow(watch, printer, interval=interval, stale_sec=stale_sec, until_exceeded=check)
    else:
        watch.require()
        printer.show(watch.look(is_final=True))
    printer.finish(
        watch.report(),
        stage=_stage_line(watch),
        is_judged=check or bool(watch.thresholds) or watch.stale_sec is not None,
    )
    if check:
        ctx.exit(_VERDICTS[watch.verdict])


def _thresholds(limits: Mapping[str, float | None], maxima: Sequence[str], minima: Sequence[str]) -> list[Threshold]:
    """Return the limits that were given."""
    from townlet_core.tracking.thresholds import Threshold

    found = []
    for option, (name, bound, _) in _LIMITS.items():
        limit = limits[option.replace("-", "_")]
        if limit is not None:
            found.append(Threshold(name=name, bound=bound, limit=limit))
    given: tuple[tuple[_Bound, Sequence[str]], ...] = (("max", maxima), ("min", minima))
    for kind, texts in given:
        for text in texts:
            name, _, number = text.rpartition("=")
            try:
                found.append(Threshold(name=name.strip(), bound=kind, limit=float(number)))
            except ValueError as error:
                raise UsageError(f"--{kind} {text!r} is not NAME=X with a number X, such as lr=0.001") from error
    return found


def _follow(
    watch: LogWatch, printer: _Printer, *, interval: float, stale_sec: float | None, until_exceeded: bool
) -> None:
    """Show what comes, until the run has ended, a limit is left, or Ctrl-C."""
    if not watch.tail.exists():
        click.echo(f"waiting for {printable(str(watch.tail.path))}", err=True)
    try:
        for news in watch.follow(
            sleep=time.sleep,
            clock=time.monotonic,
            interval_sec=interval,
            stale_sec=stale_sec,
            until_exceeded=until_exceeded,
        ):
            if watch.stale_sec is not None and not until_exceeded:
                click.echo(f"no new line for {watch.stale_sec:.0f} s", err=True)
            printer.show(news)
            if not until_exceeded:  # else it ends now, and the report says so
                printer.warn(watch.report())
    except KeyboardInterrupt:  # the way to end it, not an interruption of anything
        click.echo(err=True)


def _stage_line(watch: LogWatch) -> str:
    """Return where a run of stages is in its present stage, of which its own log has no line yet; else ''."""
    from townlet_core.runs.listing import unfinished_stage
    from townlet_core.tracking.console import describe_progress
    from townlet_core.tracking.log_watch import ENDED

    found = unfinished_stage(watch.tail.path.parent)
    if found is None or watch.run_status() in (*ENDED, ""):
        return ""
    name, record = found
    update = f", update {record['epoch']}: {describe_progress(record)}" if "epoch" in record else ""
    return clipped(printable(f"{'stage':<12} {name}, not finished{update}"), 80)


class _Printer:
    """Writes records and the report, as text or as JSON."""

    def __init__(self, *, as_json: bool, is_following: bool) -> None:
        self._as_json = as_json
        self._is_following = is_following
        self._records: list[dict[str, Any]] = []
        self._num_warned = 0
        from townlet_core.cli.watch_table import WatchTable

        self._table = WatchTable()

    def show(self, news: News) -> None:
        """Write the records of one look; as JSON only while following, else they are part of the one document."""
        if news.begun_again:
            click.echo("the file was shortened or replaced: read again from its beginning", err=True)
            self._num_warned = 0
        if not self._as_json:
            for line in self._table.lines(news.records):
                click.echo(line)
        elif self._is_following:
            for record in news.records:
                click.echo(json.dumps(_to_json(record)))
        else:
            self._records = [_to_json(record) for record in news.records]

    def warn(self, report: WatchReport) -> None:
        """Say which limits have been left since the last call."""
        for exceedance in report.exceeded[self._num_warned :]:
            click.echo(f"exceeded: {printable(describe_exceedance(exceedance))}", err=True)
        self._num_warned = len(report.exceeded)

    def finish(self, report: WatchReport, *, stage: str, is_judged: bool) -> None:
        """Write the report, the line about the present stage, and what it says about limits if there were any."""
        if self._as_json:
            values = report.model_dump(mode="json")
            whole = json.dumps({"report": values}) if self._is_following else None
            click.echo(whole or json.dumps({"records": self._records, "report": values}, indent=2))
            return
        if report.updates:
            click.echo()
        for line in summary_lines(report):
            click.echo(line)
        if stage:
            click.echo(stage)
        if is_judged:
            for line in verdict_lines(report):
                click.echo(line)


def _to_json(record: TelemetryRecord) -> dict[str, Any]:
    """Return a record as JSON has it: null for what is not finite."""
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.values.items()
    }
    return {"line": record.line, "kind": record.model.title, "values": values}
