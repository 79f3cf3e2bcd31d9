"""`townlet capture`: record what a policy does as a dataset; needs no torch."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.cli.capture_progress import capture_progress
from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import count

if TYPE_CHECKING:
    from townlet_core.dto.capture import CaptureResultDTO


@click.command(short_help="Record what a policy does as a dataset.")
@click.option(
    "--policy",
    default="scripted",
    show_default=True,
    metavar="NAME_OR_PATH",
    help="Who acts: scripted, random, idle, or the directory of a run or policy.",
)
@click.option(
    "--env",
    "environment_name",
    metavar="NAME",
    help="The environment; by default the one that the policy was trained in, for a script the town.",
)
@click.option(
    "--episodes",
    type=click.IntRange(1, 1_000_000_000),
    metavar="N",
    help="World-episodes, such as days of a town.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1_000_000_000_000),
    metavar="N",
    help="Agent-steps instead of world-episodes; the last one is cut.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The dataset: a new directory."
)
@click.option("--append", is_flag=True, help="Go on with the dataset in DIR, under seeds that it does not have yet.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    metavar="S",
    help="The seeds of the episodes are drawn from this one.",
)
@click.option(
    "--worlds",
    "num_worlds",
    type=click.IntRange(1, 65536),
    metavar="N",
    help="Worlds that run side by side; it changes the speed, and not what is recorded. By default up to 32, and 8 "
    "with --steps.",
)
@click.option(
    "--stochastic/--greedy",
    default=False,
    help="Sample the actions of a trained policy, or take the most likely ones (the default); random always samples.",
)
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="Mark every episode with a word.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a value of the environment section, such as environment.scenario=storm.",
)
@click.option(
    "--trust-config", is_flag=True, help="Let the run itself name a 'python:' environment, which runs its code."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@pass_state
def command(
    state: CliState,
    /,
    policy: str,
    *,
    environment_name: str | None,
    episodes: int | None,
    steps: int | None,
    out: Path,
    append: bool,
    seed: int,
    num_worlds: int | None,
    stochastic: bool,
    tags: tuple[str, ...],
    sets: tuple[str, ...],
    trust_config: bool,
    as_json: bool,
) -> None:
    """Record world-episodes of a policy, each under its own seed: observations, actions, rewards, and what happened.

    What was finished when it is stopped, or killed, is a valid dataset.

    \b
    townlet capture --env town --policy scripted --episodes 10 --out demos
    townlet capture --policy runs/20261123-064108-ppo-ab12 --steps 100000 --out demos
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.orchestrator.capture import Amount, capture_dataset

    if (episodes is None) == (steps is None):
        raise click.UsageError("say how much to record: either --episodes or --steps")
    with redirect_stdout(sys.stderr):  # what an environment prints is not the result
        result = capture_dataset(
            policy,
            out,
            Amount(episodes=episodes, agent_steps=steps),
            registry=state.registry,
            environment_name=environment_name,
            seed=seed,
            num_worlds=num_worlds,
            stochastic=stochastic,
            sets=sets,
            trust_config=trust_config,
            tags=tags,
            append=append,
            announce=lambda line: click.echo(line, err=True),
            on_progress=capture_progress(episodes),
        )
    if sys.stderr.isatty():
        click.echo(err=True)  # below the line of the progress
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        _print(result)


def _print(result: CaptureResultDTO) -> None:
    actions = "most likely actions" if result.deterministic else "sampled actions"
    who = f"artefact sha256 {result.policy_digest[:12]}, {actions}" if result.policy_digest else "no artefact"
    endings = f"{result.terminated:,} terminated, {result.truncated:,} truncated, {result.cut:,} cut"
    worlds = count(result.world_episodes, "world-episode")
    lines = [
        ("environment", result.environment),
        ("policy", f"{result.policy}  {who}"),
        ("episodes", f"{result.episodes:,} of {worlds}, each under its own seed: {endings}"),
        ("agent-steps", f"{result.agent_steps:,}"),
        ("return", _returns(result)),
        ("seconds", f"{result.duration_sec:.1f}  {result.steps_per_sec:,.0f} agent-steps/s"),
        ("dataset", f"{result.dataset}  {result.dataset_bytes:,} bytes, sha256 {result.dataset_digest[:12]}"),
        ("next", f"townlet replay summary {shlex.quote(result.dataset)}"),
    ]
    for name, text in lines:
        click.echo(f"{name:<12} {text}")


def _returns(result: CaptureResultDTO) -> str:
    if result.return_mean is None:
        return "no life has ended"
    spread = f"{result.return_std:.2f} deviation, {result.return_min:g} to {result.return_max:g}"
    return f"{result.return_mean:.2f} mean, {spread}"
