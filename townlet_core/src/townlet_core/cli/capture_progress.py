"""The line that shows how far a capture is: worlds run in step, so their agent-steps tell it, and not their ends."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from townlet_core.cli.tables import count

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_SEC = 0.5
_WIDTH = 78


def capture_progress(
    world_episodes: int | None, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int, int | None], None]:
    """Return what shows it, twice a second, on a terminal alone.

    Args:
        world_episodes: how many are asked for; None where agent-steps are.
        clock: returns seconds.
    """
    begin = shown = clock()

    def show(done: int, agent_steps: int, expected: int | None) -> None:
        nonlocal shown
        now = clock()
        if now - shown < _EVERY_SEC or not sys.stderr.isatty():
            return
        shown = now
        rate = agent_steps / max(now - begin, 1e-9)
        of_all = "" if world_episodes is None else f"/{world_episodes:,}"
        line = f"{count(agent_steps, 'agent-step')}, {done:,}{of_all} world-episodes, {rate:,.0f}/s"
        if world_episodes is not None and done:  # what they took so far is known better than what they may take
            average = agent_steps * world_episodes // done
            expected = average if expected is None else min(average, expected)
        if expected is not None and rate > 0:
            line += f", about {duration(max(0, expected - agent_steps) / rate)} left"
        click.echo(f"\r{line:<{_WIDTH}}", nl=False, err=True)

    return show


def duration(seconds: float) -> str:
    """Return seconds as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
