"""`townlet rollback`: bring an earlier champion back, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from townlet_core.cli.promote import report
from townlet_core.cli.release_options import actor, change_options, promotion_service
from townlet_core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@click.command("rollback", short_help="Bring an earlier champion back, byte for byte.")
@click.option("--to", metavar="RELEASE", help="An alias, or the beginning of a digest.")
@change_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    to: str | None,
    config: Path | None,
    sets: Sequence[str],
    by: str | None,
    reason: str,
    releases_dir: Path | None,
    as_json: bool,
) -> None:
    """Make the release before the latest promotion the champion again; without one, the first champion.

    Every byte of it is read and compared first. Repeated, it goes back further. The streak begins anew. The exit code
    is 1 if there is nothing to go back to.
    """
    service = promotion_service(releases_dir, config=config, sets=sets)
    outcome = service.rollback(to, by=actor(by), reason=reason)
    report(outcome, as_json=as_json)
    ctx.exit(ExitCode.OK if outcome.done else ExitCode.HOLD)
