"""`townlet view`: a day of the town as a page that plays it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from townlet_core.cli.state import CliState, pass_state


@click.command(short_help="Watch a day of the town in a browser.")
@click.argument("source", metavar="RUN_OR_SCENARIO_OR_CAPTURE")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="The page; by default SCENARIO-SEED.html, here.",
)
@click.option("--png", "frames", type=click.IntRange(min=0), multiple=True, metavar="TICK", help="Also a picture.")
@click.option("--gif", "wants_gif", is_flag=True, help="Also an animation of every 4th tick.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="The seed; by default the scenario's.")
@click.option(
    "--policy",
    metavar="NAME_OR_PATH",
    help="Who acts: scripted, random, idle, or the directory of a run or policy; by default the run's, or scripted.",
)
@click.option(
    "--world-ticks", "num_ticks", type=click.IntRange(1, 20_000), metavar="N", help="Ticks; by default an episode."
)
@click.option("--episode", type=click.IntRange(min=0), metavar="K", help="Which world-episode of a captured dataset.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a value of the environment section.")
@pass_state
def command(
    state: CliState,
    /,
    source: str,
    *,
    out: Path | None,
    frames: tuple[int, ...],
    wants_gif: bool,
    seed: int | None,
    policy: str | None,
    num_ticks: int | None,
    episode: int | None,
    sets: tuple[str, ...],
) -> None:
    """Simulate one world once more and write a page that plays it: one file, which needs no network.

    The argument is the directory of a run, the name of a scenario ('townlet scenarios' lists them), a YAML file, or
    the directory of a dataset that 'townlet capture' has recorded, of which one world-episode is lived once more.

    \b
    townlet view default
    townlet view runs/20261123-064108-ppo-ab12 --seed 7 --out day.html
    townlet view demos --episode 3
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.checkpoint.atomic import write_file
    from townlet_core.orchestrator.view import record_town
    from townlet_core.report.town_picture import require_pillow, town_gif, town_png
    from townlet_core.report.town_player import town_player

    if frames or wants_gif:
        require_pillow()  # before the simulation, which may take a while
    recording = record_town(
        source,
        registry=state.registry,
        policy=policy,
        seed=seed,
        num_ticks=num_ticks,
        episode=episode,
        sets=sets,
        on_progress=_progress,
    )
    page = out or Path(f"{recording.scenario.name}-{recording.seed}.html")
    files = {page.with_name(f"{page.stem}-{frame}.png"): town_png(recording, frame) for frame in frames}
    if wants_gif:
        files[page.with_suffix(".gif")] = town_gif(recording)
    for path, data in {page: town_player(recording).encode(), **files}.items():
        write_file(path, data)
        click.echo(f"{path}  {len(data) / 1000:,.0f} kB")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 20 == 0 or done == total):
        click.echo(f"\r{done}/{total} ticks", nl=done == total, err=True)
