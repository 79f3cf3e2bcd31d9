"""What the sub-commands of `townlet replay` have in common."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

dataset_argument = click.argument("dataset", type=click.Path(path_type=Path))
"""That it exists is checked when it is opened."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def progress(unit: str) -> Callable[[int, int], None] | None:
    """Return what shows how far a pass has come, on the error stream; None where that is no terminal."""
    if not sys.stderr.isatty():
        return None
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(1, total)
        if percent != shown:
            shown = percent
            click.echo(f"\r{percent:3} % of {total:,} {unit}", nl=done == total, err=True)

    return show


def require_native(*paths: Path) -> None:
    """Check that none of the paths is a file or directory of the earlier format, which has to be imported first.

    Raises:
        UsageError: one is; the text says how.
    """
    from townlet_core.replay.legacy.opening import is_legacy

    for path in paths:
        if is_legacy(path):
            raise UsageError(
                f"{path} is of the earlier format: make a dataset of it first, 'townlet replay import {path} OUT'"
            )
