"""`townlet replay validate`: what is wrong with a dataset, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from townlet_core.cli.replay_options import dataset_argument, json_option, progress, require_native
from townlet_core.cli.tables import count, printable
from townlet_core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.dto.dataset_findings import Finding, Place, ValidationReport

_WIDTH = 80
_INDENT = "       "


@click.command("validate", short_help="Check a dataset, and explain what is wrong with it.")
@dataset_argument
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OTHER",
    help="Another dataset, such as the one that a policy is tested on: nothing of it may be in this one.",
)
@click.option("--strict", is_flag=True, help="End with 65 for warnings too, not only for errors.")
@click.option(
    "--places",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    metavar="N",
    help="Places that are told for each finding.",
)
@json_option
@click.pass_context
def validate_command(
    ctx: click.Context, /, dataset: Path, *, against: Path | None, strict: bool, places: int, as_json: bool
) -> None:
    """Check DATASET: files, values, masks, episodes, splits and labels. Ends with 65 if there are errors.

    \b
    townlet replay validate train --against test
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.replay.validate import validate_path

    require_native(dataset, *([] if against is None else [against]))
    report = validate_path(dataset, against=against, limit=places, on_progress=progress("bytes"))
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        click.echo("\n".join(_lines(report)))
    if report.errors or (strict and report.warnings):
        ctx.exit(ExitCode.BAD_DATA)


def _lines(report: ValidationReport) -> Iterator[str]:
    for finding in report.findings:
        yield from _finding(finding)
        yield ""
    totals = (count(report.errors, "error"), count(report.warnings, "warning"), count(report.notes, "note"))
    digest = f" (sha256 {report.digest[:12]})" if report.digest else ""
    yield f"{printable(report.path)}{digest}: {', '.join(totals)}"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"{finding.code}   {finding.severity}: {finding.name}, found {finding.count:,} x"
    for text in (finding.meaning, f"-> {finding.remedy}"):
        yield from _indented(text)
    for place in finding.places:
        yield from _indented(printable(_place(place)))
    if finding.count > len(finding.places):
        yield f"{_INDENT}and {finding.count - len(finding.places):,} more"


def _indented(text: str) -> list[str]:
    return wrap(
        text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )


def _place(place: Place) -> str:
    parts = [place.file or place.column or ""]
    if place.episode is not None:
        parts.append(f"episode {place.episode}")
    if place.row is not None:
        parts.append(f"row {place.row}")
    where = ", ".join(filter(None, parts))
    return f"{where}: {place.detail}" if place.detail and where else where or place.detail
