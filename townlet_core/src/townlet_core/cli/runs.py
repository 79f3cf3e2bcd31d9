"""``townlet runs``: the runs of a directory and how each stands."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.tables import clipped, printable, short_count, short_number
from townlet_core.cli.tables import table as aligned
from townlet_core.errors import DataError, TownletError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.runs.listing import RunSummary

_HEADER = ("RUN", "STATUS", "STRATEGY", "ENVIRONMENT", "STEPS", "RETURN")
_ENVIRONMENT = _HEADER.index("ENVIRONMENT")
_MOST_BYTES = 64 << 20
_WIDTH, _LEAST = 80, 11
"""Letters of a line, where no name of a run is very long; and of an environment, whose end tells most."""


def _options(function: Callable[..., None]) -> Callable[..., None]:
    directory = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--runs-dir", type=directory, default=Path("runs"), show_default=True, help="Where the runs are."),
    ):
        function = option(function)
    return function


@click.group("runs", invoke_without_command=True)
@_options
@click.pass_context
def command(ctx: click.Context, runs_dir: Path, as_json: bool) -> None:
    """List runs, or show one."""
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if ctx.invoked_subcommand is None:
        _list(runs_dir, as_json=as_json)
    elif given:
        raise click.UsageError(f"options stand after '{ctx.invoked_subcommand}'", ctx=ctx)


@command.command("list")
@_options
def list_command(runs_dir: Path, as_json: bool) -> None:
    """List runs, newest first; the same as 'townlet runs' alone.

    RETURN is the mean return of the last episodes; of an anneal run, the score of its best stage.
    """
    _list(runs_dir, as_json=as_json)


@command.command("show")
@click.argument("run")
@_options
def show_command(run: str, runs_dir: Path, as_json: bool) -> None:
    """Show one run; of an anneal run that has ended, its stages and verdict too. RUN is an id or a path."""
    from townlet_core.runs.listing import find_run

    found = find_run(run, runs_dir=runs_dir)
    summary, result = to_json(found), _staged_result(found)
    if as_json:
        click.echo(json.dumps(summary if result is None else summary | {"result": result}, indent=2))
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        click.echo(f"{name.ljust(width)}  {_shown(value)}".rstrip())
    if result is not None:
        from townlet_core.cli.anneal_table import stage_lines

        verdict = textwrap.wrap(f"verdict  {result['status']}: {result['reason']}", _WIDTH, subsequent_indent=" " * 9)
        click.echo("\n".join(["", *map(printable, [*stage_lines(result), "", *verdict])]))


def _staged_result(run: RunSummary) -> dict[str, Any] | None:
    """Return the result of a run of stages as JSON; None if it is another run, or has none that can be read."""
    from pydantic import ValidationError

    from townlet_core.checkpoint.manifest import read_file
    from townlet_core.dto.anneal import AnnealSummaryDTO
    from townlet_core.runs.layout import RESULT_NAME

    try:
        text = read_file(run.path / RESULT_NAME, _MOST_BYTES, DataError)
        return AnnealSummaryDTO.model_validate_json(text).model_dump(mode="json")
    except (TownletError, ValidationError):
        return None


def _list(runs_dir: Path, *, as_json: bool) -> None:
    from townlet_core.runs.listing import list_runs

    runs = list_runs(runs_dir)
    if as_json:
        click.echo(json.dumps({"runs": [to_json(run) for run in runs]}, indent=2))
    elif runs:
        click.echo("\n".join(table(runs)))
    else:
        where = "holds no runs" if runs_dir.is_dir() else "does not exist"
        click.echo(f"no runs yet: {runs_dir} {where}; 'townlet train' makes the first one")


def to_json(run: RunSummary) -> dict[str, Any]:
    """Return what is known about a run as JSON values; fields of a damaged record are missing."""
    summary: dict[str, Any] = {"id": run.path.name, "path": str(run.path), "status": run.status}
    if run.record is not None:
        summary |= run.record.model_dump(mode="json", exclude={"schema_version", "id", "status", "message"})
    return summary | {
        "last_return": run.last_return,
        "best_update": run.best_update,
        "best_score": run.best_score,
        "checkpoints": list(run.checkpoints),
        "resumable": run.is_resumable,
        "message": run.reason,
    }


def table(runs: Sequence[RunSummary]) -> list[str]:
    """Return the lines of an aligned table, with what is wrong below the row of a damaged run."""
    rows = [_row(run) for run in runs]
    others = zip(*([*row[:_ENVIRONMENT], *row[_ENVIRONMENT + 1 :]] for row in (_HEADER, *rows)), strict=True)
    room = max(_LEAST, _WIDTH - sum(max(map(len, column)) + 2 for column in others))
    for row in rows:
        row[_ENVIRONMENT] = clipped(row[_ENVIRONMENT][::-1], room)[::-1]
    header, *lines = aligned(_HEADER, rows, right=("STEPS", "RETURN"))
    shown = [header]
    for run, line in zip(runs, lines, strict=True):
        shown += [line] if run.record is not None else [line, f"    {printable(run.reason)}"]
    return shown


def _row(run: RunSummary) -> list[str]:
    record = run.record
    if record is None:
        return [printable(run.path.name), run.status, "-", "-", "-", "-"]
    shown = run.last_return if run.last_return is not None else run.best_score
    steps = short_count(record.agent_steps)
    return [run.path.name, run.status, record.strategy, printable(record.environment), steps, short_number(shown)]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return printable(", ".join(f"{name} {item}" for name, item in value.items())) or "-"
    if isinstance(value, list):  # of numbers, or of sentences
        return ("; " if any(isinstance(item, str) for item in value) else ", ").join(
            printable(str(item)) for item in value
        ) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else printable(str(value))
