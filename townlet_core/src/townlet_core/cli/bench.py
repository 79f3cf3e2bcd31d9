"""`townlet bench`: measure speed on this machine; one sub-command per subject, all with ``--json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from townlet_core.cli.bench_tables import bench_lines, shown
from townlet_core.cli.state import CliState, pass_state

if TYPE_CHECKING:
    from collections.abc import Sequence

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_threads = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of matrix products."
)
_steps = click.option(
    "--num-steps", type=click.IntRange(1, 1_000_000), default=64, show_default=True, help="Steps between two updates."
)
_views = click.option(
    "--variants",
    type=click.Choice(["hybrid", "full", "compact"]),
    multiple=True,
    default=("hybrid",),
    show_default=True,
    help="What agents see; repeatable.",
)
_REPEATABLE = "Worlds that are stepped together; repeatable."


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
    _print("ppo", rows, as_json=as_json, keys=3)


@command.command("ppo-memory")
@click.option(
    "--worlds", type=click.IntRange(1, 65536), multiple=True, default=(1024,), show_default=True, help=_REPEATABLE
)
@_steps
@_views
@_threads
@_json
@pass_state
def ppo_memory(
    state: CliState,
    *,
    worlds: tuple[int, ...],
    num_steps: int,
    variants: tuple[str, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Peak memory of PPO in the town, beside one rollout and the network.

    Without those two it cannot be; of the network count the parameters, their gradient and Adam's moments. Two updates
    are made in a process of their own. Peaks are above what is resident once the environment has been reset.
    """
    from townlet_core.bench.ppo_memory import measure_ppo_memory

    rows = [
        measure_ppo_memory(state.registry, num_worlds=number, num_steps=num_steps, variant=view, num_threads=threads)
        for number in worlds
        for view in variants
    ]
    _print("ppo-memory", rows, as_json=as_json, keys=3)
    if not as_json:
        click.echo("MB; ratio: peak / (buffer + network); with env: (env + peak) / the same")


@command.command("bc")
@click.option(
    "--rows", type=click.IntRange(256, 100_000_000), default=200_000, show_default=True, help="Rows of the dataset."
)
@click.option(
    "--batch-size", type=click.IntRange(1, 65_536), default=256, show_default=True, help="Rows of an optimiser step."
)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=5.0, show_default=True, help="Seconds of ours, after warm-up."
)
@_threads
@_json
@pass_state
def bc(state: CliState, *, rows: int, batch_size: int, seconds: float, threads: int, as_json: bool) -> None:
    """Samples per second of behaviour cloning, beside bare loops of torch over the same rows in memory.

    Ours reads from a dataset on disk; 64 numbers, 8 actions, MLP 64x64. Contenders take turns.
    """
    from townlet_core.bench.bc import measure_bc

    measured = measure_bc(state.registry, rows=rows, seconds=seconds, batch_size=batch_size, num_threads=threads)
    _print("bc", measured, as_json=as_json, keys=1)


@command.command("solve")
@click.option("--seeds", type=click.IntRange(1, 1000), default=10, show_default=True, help="Seeds 0 to N-1.")
@_threads
@_json
@pass_state
def solve(state: CliState, *, seeds: int, threads: int, as_json: bool) -> None:
    """Seconds and steps until PPO's defaults solve CartPole-v1, and the final policy's return."""
    from townlet_core.bench.solve import measure_solve

    rows = [measure_solve(state.registry, seed=seed, num_threads=threads) for seed in range(seeds)]
    _print("solve", rows, as_json=as_json, keys=1)


@command.command("startup")
@click.option("--runs", type=click.IntRange(1, 10_000), default=15, show_default=True, help="Runs of each command.")
@_json
def startup(*, runs: int, as_json: bool) -> None:
    """Milliseconds that 'townlet --help' and 'townlet plugins' take, beside a click hello-world."""
    from townlet_core.bench.startup import measure_startup

    _print("startup", measure_startup(runs=runs), as_json=as_json)


@command.command("town")
@click.option(
    "--worlds", type=click.IntRange(1, 65536), multiple=True, default=(1, 64, 1024), show_default=True, help=_REPEATABLE
)
@click.option(
    "--variants",
    type=click.Choice(["hybrid", "full", "compact"]),
    multiple=True,
    default=("hybrid", "full", "compact"),
    show_default=True,
    help="What agents see; repeatable.",
)
@click.option(
    "--agents",
    type=click.IntRange(8, 64),
    multiple=True,
    default=(8, 16, 32, 64),
    show_default=True,
    help="Agents of each of 64 larger towns, multiples of 8; repeatable.",
)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=2.0, show_default=True, help="Seconds of each, after warm-up."
)
@click.option("--profile", is_flag=True, help="Say where the time goes, system by system, instead of how fast it is.")
@_json
def town(
    *,
    worlds: tuple[int, ...],
    variants: tuple[str, ...],
    agents: tuple[int, ...],
    seconds: float,
    profile: bool,
    as_json: bool,
) -> None:
    """Agent-steps per second of the town: of a tick with its action mask, and with observations as well.

    Actions are drawn at random from what is possible, newcomers and perturbations included; the measurement begins
    after 300 ticks, and uses one thread. Seconds are those of the processor, which other work on the machine adds
    little to.
    """
    from townlet_core.bench.town import GROWTH_WORLDS, crowded_scenario, measure_town
    from townlet_core.bench.town_profile import profile_town
    from townlet_core.services.town_view import VIEWS
    from townlet_core.simulation.scenarios import load_scenario

    scenario = load_scenario("default")
    if profile:
        rows = [
            row
            for number in worlds
            for view in variants
            for row in profile_town(scenario, num_worlds=number, variant=view)
        ]
        _print("town", rows, as_json=as_json, keys=2)
        return
    crowds = [crowded_scenario(number) for number in agents]
    rows = [
        measure_town(scenario, num_worlds=number, variant=variant, map_dtype=map_dtype, seconds=seconds)
        for variant, map_dtype in VIEWS
        if variant in variants
        for number in worlds
    ]
    rows += [measure_town(crowd, num_worlds=GROWTH_WORLDS, variant=variants[0], seconds=seconds) for crowd in crowds]
    _print("town", rows, as_json=as_json, keys=5)


@command.command("town-ppo")
@click.option(
    "--worlds", type=click.IntRange(1, 65536), multiple=True, default=(128,), show_default=True, help=_REPEATABLE
)
@_steps
@_views
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=10.0, show_default=True, help="Seconds of each, after warm-up."
)
@_threads
@_json
@pass_state
def town_ppo(
    state: CliState,
    *,
    worlds: tuple[int, ...],
    num_steps: int,
    variants: tuple[str, ...],
    seconds: float,
    threads: int,
    as_json: bool,
) -> None:
    """Agent-steps per second of PPO in the town, where the time goes, and how near that is to its limit.

    The limit is what the matrix products of an update take alone, timed in the same run: one forward pass to act, and
    in every pass over the rollout a forward pass and the gradients of weights and of layers' inputs; with the shapes
    that a shard and a minibatch give them, and on as many threads, each of which makes the products of its part of the
    shards.
    """
    from townlet_core.bench.town_ppo import measure_town_ppo

    rows = [
        measure_town_ppo(
            state.registry, num_worlds=number, num_steps=num_steps, variant=view, seconds=seconds, num_threads=threads
        )
        for number in worlds
        for view in variants
    ]
    _print("town-ppo", rows, as_json=as_json, keys=3)
    if not as_json:
        click.echo("of limit: what an update's matrix products alone take, of its seconds")


@command.command("town-score")
@click.argument("policies", nargs=-1, metavar="[POLICY]...")
@click.option(
    "--worlds", type=click.IntRange(2, 65536), default=64, show_default=True, help="Worlds, each under its own seed."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Their seeds are drawn from this."
)
@click.option("--scenario", default="default", show_default=True, help="The town's scenario, or a file.")
@click.option("--ticks", type=click.IntRange(1, 1_000_000), help="Length of the episode, instead of the scenario's.")
@click.option("--greedy", is_flag=True, help="An artefact takes its most likely action, instead of a sample.")
@_json
@pass_state
def town_score(
    state: CliState,
    *,
    policies: tuple[str, ...],
    worlds: int,
    seed: int,
    scenario: str,
    ticks: int | None,
    greedy: bool,
    as_json: bool,
) -> None:
    """How well each POLICY does in the town, every agent and every tick counted.

    POLICY is random, idle or scripted (all three where none is named), or the directory of an artefact or of a run.

    \b
    townlet bench town-score scripted runs/20261123-064108-ppo-ab12
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.bench.town_score import SCRIPTS, measure_score

    chosen = policies or SCRIPTS
    measured = (
        measure_score(
            state.registry,
            policy,
            num_worlds=worlds,
            seed=seed,
            scenario=scenario,
            max_ticks=ticks,
            deterministic=greedy,
        )
        for policy in chosen
    )
    _print("town-score", shown(measured, total=len(chosen)), as_json=as_json, keys=1)


@command.command("replay")
@click.option(
    "--sizes",
    type=click.IntRange(1, 1_000_000),
    multiple=True,
    default=(40, 4000),
    show_default=True,
    help="Sizes of the dataset, in MB; repeatable.",
)
@click.option("--epochs", type=click.IntRange(1, 1000), default=1, show_default=True, help="Passes over the data.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where the datasets are written, and deleted again; by default the system's place for such files.",
)
@_json
def replay(*, sizes: tuple[int, ...], epochs: int, directory: Path | None, as_json: bool) -> None:
    """Speed and peak memory of cloning from small and large datasets, and the time of looking at them.

    Each training is a process of its own; every row is read at least once, in shuffled order. Peaks count the program
    and its libraries as well; resident memory includes mapped pages of the dataset.
    """
    from townlet_core.bench.replay import measure_replay

    _print("replay", measure_replay(sizes, epochs=epochs, directory=directory), as_json=as_json, keys=1)


@command.command("clone")
@click.option(
    "--days",
    type=click.IntRange(1, 100_000),
    multiple=True,
    default=(1, 3, 10, 30),
    show_default=True,
    help="Demonstrated days, each of one world; repeatable.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Seeds 0 to N-1.")
@click.option(
    "--variant",
    type=click.Choice(["hybrid", "full", "compact"]),
    default="compact",
    show_default=True,
    help="What agents see.",
)
@click.option(
    "--worlds", type=click.IntRange(2, 65536), default=32, show_default=True, help="Days that a clone is scored on."
)
@_json
@pass_state
def clone(state: CliState, *, days: tuple[int, ...], seeds: int, variant: str, worlds: int, as_json: bool) -> None:
    """How well policies cloned from the town's script do what it does, by the number of demonstrated days."""
    from townlet_core.bench.clone import measure_clones

    measured = measure_clones(state.registry, days=days, seeds=seeds, variant=variant, score_worlds=worlds)
    _print("clone", shown(measured, total=len(days) * seeds, keys=2), as_json=as_json, keys=2)


@command.command("verdicts")
@click.option(
    "--episodes",
    type=click.IntRange(1, 100_000),
    multiple=True,
    default=(8, 16, 32, 64),
    show_default=True,
    help="Episodes of a comparison; repeatable.",
)
@click.option(
    "--effect",
    "effects",
    type=float,
    multiple=True,
    default=(-1.0, -0.5, 0.0, 0.5),
    show_default=True,
    metavar="X",
    help="True mean difference, in standard deviations of a difference; repeatable.",
)
@click.option(
    "--margin", type=click.FloatRange(0), default=0.5, show_default=True, metavar="X", help="In the same unit."
)
@click.option(
    "--distribution",
    type=click.Choice(["normal", "skewed"]),
    default="normal",
    show_default=True,
    help="Of the differences; skewed: most a little better, a few much worse.",
)
@click.option("--draws", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="Comparisons.")
@click.option(
    "--resamples", type=click.IntRange(10, 1_000_000), default=1000, show_default=True, help="Of each interval."
)
@_json
def verdicts(
    *,
    episodes: tuple[int, ...],
    effects: tuple[float, ...],
    margin: float,
    distribution: Literal["normal", "skewed"],
    draws: int,
    resamples: int,
    as_json: bool,
) -> None:
    """How often the verdicts of `townlet evaluate --against` are right, where the truth is known.

    `wrong` is the share of PASS where the policy is worse by more than the margin, and of FAIL where it is not; at the
    margin itself, the larger of the two.
    """
    from townlet_core.bench.verdicts import measure_verdicts

    measured = (
        measure_verdicts(
            episodes=number,
            effect=effect,
            margin=margin,
            distribution=distribution,
            draws=draws,
            resamples=resamples,
        )
        for effect in effects
        for number in episodes
    )
    rows = shown(measured, total=len(effects) * len(episodes), keys=4)
    _print("verdicts", rows, as_json=as_json, keys=4)


def _print(subject: str, rows: Sequence[dict[str, Any]], *, as_json: bool, keys: int | None = None) -> None:
    from townlet_core.bench.machine import describe_machine

    machine = describe_machine()
    if as_json:
        click.echo(json.dumps({"bench": subject, "machine": machine, "rows": rows}, indent=2))
        return
    for line in bench_lines(rows, keys=keys):
        click.echo(line)
    click.echo(f"\n{machine['processor']}, {machine['usable_processors']} processors, load {machine['load_1min']}")
