"""``townlet config migrate``: a configuration of the earlier simulator as one of today's, key by key."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.cli.options import strategy_settings
from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import printable
from townlet_core.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.config.earlier import Migration, Outcome

_WIDTH = 80
_LONGEST_VALUE = 400
_KINDS = ("taken", "changed", "left out", "unknown")
_INDENT = " " * 10
MOST_VALUES = 20_000
"""Values that an earlier configuration may have once its aliases are written out."""


@click.command("migrate", short_help="Turn a configuration of the earlier simulator into one of today's.")
@click.argument("old", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write today's form here.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_state
def migrate(state: CliState, old: Path, out: Path | None, *, force: bool, as_json: bool) -> None:
    """Turn OLD, a configuration of the earlier simulator, into one of today's, and tell what became of each key.

    Without --out the new configuration is printed, and what became of the keys goes to the error stream. Paths are
    kept as they are written: then as now they are relative to the working directory.

    \b
    townlet config migrate old.yaml --out new.yaml
    townlet train new.yaml
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.checkpoint.atomic import write_file
    from townlet_core.config.document import read_document
    from townlet_core.config.dump import to_yaml
    from townlet_core.config.earlier import migrate as migrated

    try:
        document = read_document(old, max_expanded=MOST_VALUES)
    except MissingInputError as error:
        raise MissingInputError(f"there is no file {old}") from error
    if out is not None:
        _require_free(out, old, force=force)
    migration = migrated(document, strategy_settings(state), source=str(old))
    text = f"# What {printable(str(old))} of the earlier simulator says, as townlet config migrate puts it.\n"
    text += to_yaml(migration.values)
    if out is not None:
        write_file(out, text.encode("utf-8"))
    if as_json:
        click.echo(json.dumps(_report(migration, old, out), indent=2))
        return
    if out is None:
        click.echo(text, nl=False)
    for line in _lines(migration, out):
        click.echo(line, err=out is None)


def _require_free(out: Path, old: Path, *, force: bool) -> None:
    """Check that nothing is lost when `out` is written.

    Raises:
        UsageError: it is the earlier configuration itself, or it exists and is not to be replaced.
    """
    if not os.path.lexists(out):
        return
    if out.exists() and out.samefile(old):
        raise UsageError(f"{out} is the earlier configuration itself; choose another name")
    if out.is_dir():
        raise UsageError(f"{out} is a directory; name a file")
    if not force:
        raise UsageError(f"{out} exists; choose another name, or replace it with --force")


def _report(migration: Migration, old: Path, out: Path | None) -> dict[str, object]:
    return {
        "source": str(old),
        "out": None if out is None else str(out),
        "config": migration.values,
        "counts": {kind: sum(one.became == kind for one in migration.outcomes) for kind in _KINDS},
        "keys": [asdict(outcome) for outcome in migration.outcomes],
        "missing": list(migration.missing),
    }


def _lines(migration: Migration, out: Path | None) -> Iterator[str]:
    """Yield what became of each key, the number of each kind, and what is next; nothing is wider than a terminal."""
    for outcome in migration.outcomes:
        yield from _outcome(outcome)
    numbers = Counter(outcome.became for outcome in migration.outcomes)
    yield ""
    yield ", ".join(f"{numbers[kind]} {kind}" for kind in _KINDS)  # type: ignore[index]  # the kinds are all of them
    for sentence in migration.missing:
        yield from _wrapped(sentence, "missing   ")
    if out is not None:
        name = printable(str(out))
        yield f"wrote     {name}"
        yield f"next      townlet train {name}"


def _outcome(outcome: Outcome) -> Iterator[str]:
    where = "" if outcome.line is None else f" (line {outcome.line})"
    yield from _wrapped(f"{outcome.key}{where}", f"{outcome.became:<10}")
    for path, value in outcome.now.items():
        text = json.dumps(value, ensure_ascii=False)
        shown = text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
        yield from _wrapped(f"{path}: {shown}", f"{_INDENT}-> ")
    if outcome.reason:
        yield from _wrapped(outcome.reason, f"{_INDENT}   ")


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        printable(text), _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    )
