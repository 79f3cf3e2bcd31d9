"""`townlet bench`: measure speed on this machine; one sub-command per subject, all with ``--json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.state import CliState, pass_state

if TYPE_CHECKING:
    from collections.abc import Sequence

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_threads = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of matrix products."
)


@click.group("bench", short_help="Measure speed on this machine.")
def command() -> None:
    """Measure speed on this machine.

    Figures depend on what else the machine does: the JSON says how busy it was.
    """


@command.command("ppo")
@click.option(
    "--envs",
    type=click.IntRange(1, 65536),
    multiple=True,
    default=(8, 64),
    show_default=True,
    help="Worlds; repeatable.",
)
@click.option(
    "--vectorization",
    type=click.Choice(["sync", "workers", "entry_point"]),
    multiple=True,
    default=("sync", "entry_point"),
    show_default=True,
    help="How worlds are stepped; repeatable.",
)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=4.0, show_default=True, help="Seconds of each, after warm-up."
)
@_threads
@_json
@pass_state
def ppo(
    state: CliState,
    *,
    envs: tuple[int, ...],
    vectorization: tuple[str, ...],
    seconds: float,
    threads: int,
    as_json: bool,
) -> None:
    """Steps per second of PPO on CartPole-v1, whole updates, and where the time goes."""
    from townlet_core.bench.ppo import measure_ppo

    rows = [
        measure_ppo(state.registry, num_worlds=number, vectorization=how, seconds=seconds, num_threads=threads)
        for number in envs
        for how in vectorization
    ]
    _print("ppo", rows, as_json=as_json)


@command.command("solve")
@click.option("--seeds", type=click.IntRange(1, 1000), default=10, show_default=True, help="Seeds 0 to N-1.")
@_threads
@_json
@pass_state
def solve(state: CliState, *, seeds: int, threads: int, as_json: bool) -> None:
    """Seconds and steps until PPO's defaults solve CartPole-v1, and the final policy's return."""
    from townlet_core.bench.solve import measure_solve

    rows = [measure_solve(state.registry, seed=seed, num_threads=threads) for seed in range(seeds)]
    _print("solve", rows, as_json=as_json)


@command.command("startup")
@click.option("--runs", type=click.IntRange(1, 10_000), default=15, show_default=True, help="Runs of each command.")
@_json
def startup(*, runs: int, as_json: bool) -> None:
    """Milliseconds that 'townlet --help' and 'townlet plugins' take, beside a click hello-world."""
    from townlet_core.bench.startup import measure_startup

    _print("startup", measure_startup(runs=runs), as_json=as_json)


def _print(subject: str, rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    from townlet_core.bench.machine import describe_machine

    machine = describe_machine()
    if as_json:
        click.echo(json.dumps({"bench": subject, "machine": machine, "rows": rows}, indent=2))
        return
    table = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    click.echo(f"\n{machine['processor']}, {machine['usable_processors']} processors, load {machine['load_1min']}")


def _cell(value: object) -> str:
    if value is None:
        return "never"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
