"""What benchmarks print: tables that fit a terminal, and a line for each row that is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_WIDTH = 80
_GAP = "  "
_HEADINGS = {
    "num_worlds": "worlds",
    "num_agents": "agents",
    "num_steps": "steps",
    "num_threads": "threads",
    "vectorization": "stepping",
    "steps_per_sec": "steps/s",
    "steps_per_sec_median": "median",
    "steps_per_cpu_sec": "/cpu s",
    "step_per_sec": "steps/s",
    "step_per_sec_median": "median",
    "observed_per_sec": "seen/s",
    "observed_per_sec_median": "median seen/s",
    "share_environment": "env",
    "share_acting": "act",
    "share_learning": "learn",
    "update_sec": "update s",
    "product_sec": "products s",
    "share_of_limit": "of limit",
    "share_of_limit_cpu": "(cpu)",
    "gflop_per_agent_step": "gflop",
    "imports_mb": "imports",
    "environment_mb": "env MB",
    "buffer_mb": "buffer",
    "network_mb": "network",
    "peak_mb": "peak MB",
    "ratio_with_environment": "with env",
}
"""What stands above a column instead of its name in the JSON."""


def bench_lines(rows: Sequence[dict[str, Any]], *, keys: int | None = None) -> Iterator[str]:
    """Yield the lines of a table; one that is wider than a terminal goes on below, with the first columns again.

    Args:
        rows: column -> value; all have the same columns. Shares of the time are percentages.
        keys: columns that tell rows apart, and stand in front of each part; None leaves the table in one piece.
    """
    columns = [[_HEADINGS.get(name, name), *(_shown(name, row[name]) for row in rows)] for name in rows[0]]
    if keys is None:
        yield from _lines(columns)
        return
    front, others = columns[:keys], columns[keys:]
    part: list[list[str]] = []
    for column in others:
        if part and _width([*front, *part, column]) > _WIDTH:
            yield from _lines([*front, *part])
            yield ""
            part = []
        part.append(column)
    yield from _lines([*front, *part])


def shown(rows: Iterable[dict[str, Any]], *, total: int, keys: int = 1) -> list[dict[str, Any]]:
    """Return all rows, with a line on the error stream when each is done, if that is a terminal."""
    done: list[dict[str, Any]] = []
    for row in rows:
        done.append(row)
        if sys.stderr.isatty():
            what = ", ".join(f"{name} {_cell(value)}" for name, value in list(row.items())[:keys])
            click.echo(f"{len(done)} of {total} done: {what}", err=True)
    return done


def _lines(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield _GAP.join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)


def _shown(name: str, value: object) -> str:
    if name.startswith("share_") and isinstance(value, int | float):
        return f"{value:.0%}"
    if isinstance(value, float) and abs(value) >= 1e4:  # no benchmark is that exact
        value = round(value)
    return _cell(value)


def _cell(value: object) -> str:
    if value is None:
        return "never"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
