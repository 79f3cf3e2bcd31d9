"""`townlet scenarios`: the scenarios of the town, or one of them in detail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.config.scenario import ScenarioConfig

_HEADER = ("SCENARIO", "AGENTS", "TICKS", "GRID", "WHAT IT SHOWS")
_LETTERS = {"fridge": "F", "stove": "S", "shower": "W", "bed": "B", "grocer": "G", "cafe": "C"}


@click.command("scenarios", short_help="List the scenarios of the town, or show one.")
@click.argument("name", required=False, metavar="[NAME_OR_FILE]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, *, as_json: bool) -> None:
    """List the scenarios of the town, or show one: a shipped one by its name, or a YAML file of your own.

    \b
    townlet scenarios queue_conflict
    townlet train --set environment.scenario=queue_conflict
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.simulation.scenarios import list_scenarios, load_scenario

    scenarios = list_scenarios() if name is None else [load_scenario(name)]
    if as_json:
        data = [scenario.model_dump(mode="json") for scenario in scenarios]
        click.echo(json.dumps(data if name is None else data[0], indent=2))
    elif name is None:
        _print_table([_row(scenario) for scenario in scenarios])
    else:
        _print_one(scenarios[0])


def _row(scenario: ScenarioConfig) -> tuple[str, ...]:
    rows, columns = scenario.size
    return (
        scenario.name,
        str(scenario.num_agents),
        f"{scenario.ticks:,}",
        f"{rows} x {columns}",
        scenario.description,
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(len(_HEADER) - 1)]
    for row in (_HEADER, *rows):
        cells = [
            cell.rjust(width) if 1 <= column <= 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _print_one(scenario: ScenarioConfig) -> None:
    rows, columns = scenario.size
    click.echo(f"{scenario.name}: {scenario.description}")
    begin = f", from tick {scenario.start_tick} of the day" if scenario.start_tick else ""
    click.echo(f"{scenario.ticks:,} ticks{begin}, {rows} x {columns} tiles, seed {scenario.seed}\n")
    grid = [["."] * columns for _ in range(rows)]
    for thing in scenario.objects:
        grid[thing.at[0]][thing.at[1]] = _LETTERS[thing.kind]
    slot = 0
    lines = []
    for agent in scenario.agents:
        if agent.at is not None:
            grid[agent.at[0]][agent.at[1]] = str(slot % 10)
        last = slot + agent.count - 1
        who = f"agent {slot}" if agent.count == 1 else f"agents {slot} to {last}"
        place = "anywhere" if agent.at is None else f"at {list(agent.at)}"
        job = "no job" if agent.shift is None else f"{agent.job} from {agent.shift[0]} to {agent.shift[1]}"
        lines.append(f"{who:<16} {place}, {job}, {agent.wallet:g} meals of money")
        slot = last + 1
    click.echo("\n".join(" ".join(row) for row in grid))
    used = {thing.kind for thing in scenario.objects}
    click.echo("  ".join(f"{letter} {kind}" for kind, letter in _LETTERS.items() if kind in used) + "\n")
    click.echo("\n".join(lines))
    for event in scenario.perturbations:
        click.echo(f"tick {event.tick:<11} {event.kind} for {event.ticks} ticks")
