"""`townlet evaluate`: run a trained policy over a list of seeds; needs no torch."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.cli.state import CliState, pass_state

if TYPE_CHECKING:
    from townlet_core.dto.evaluation import EvaluationResultDTO


@click.command(short_help="Run a trained policy and report its returns.")
@click.argument("policy", type=click.Path(path_type=Path))
@click.option(
    "--env", "environment_name", metavar="NAME", help="The environment; by default the one it was trained in."
)
@click.option(
    "--episodes", type=click.IntRange(1, 1_000_000), default=100, show_default=True, metavar="N", help="Episodes."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    metavar="S",
    help="Their seeds are drawn from this one.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a value of the environment section, such as environment.options.g=9.8.",
)
@click.option(
    "--trust-config", is_flag=True, help="Let the run itself name a 'python:' environment, which runs its code."
)
@click.option("--stochastic", is_flag=True, help="Sample actions, instead of the most likely one.")
@click.option("--json", "as_json", is_flag=True, help="Print the result, every episode included, as JSON.")
@pass_state
def command(
    state: CliState,
    /,
    policy: Path,
    *,
    environment_name: str | None,
    episodes: int,
    seed: int,
    sets: tuple[str, ...],
    trust_config: bool,
    stochastic: bool,
    as_json: bool,
) -> None:
    """Run POLICY, the directory of an artefact or of a run, once for each of a list of seeds.

    \b
    townlet evaluate runs/20261123-064108-ppo-ab12 --episodes 100
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.orchestrator.evaluate import evaluate_artefact

    with redirect_stdout(sys.stderr):  # what an environment prints is not the result
        result = evaluate_artefact(
            policy,
            registry=state.registry,
            environment_name=environment_name,
            episodes=episodes,
            seed=seed,
            sets=sets,
            deterministic=not stochastic,
            trust_config=trust_config,
            on_progress=_progress,
        )
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        _print(result)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done}/{total} episodes", nl=done == total, err=True)


def _print(result: EvaluationResultDTO) -> None:
    actions = "most likely actions" if result.deterministic else "sampled actions"
    spread = f"{result.return_std:.2f} deviation, {result.return_min:g} to {result.return_max:g}"
    lines = [
        ("environment", result.environment),
        ("artefact", f"sha256 {result.artefact_digest[:12]}"),
        ("episodes", f"{len(result.episodes)}, each under its own seed, {actions}"),
        ("return", f"{result.return_mean:.2f} mean, {spread}"),
        (
            "length",
            f"{result.length_mean:.1f} steps mean; {sum(e.truncated for e in result.episodes)} cut by the time limit",
        ),
        ("seconds", f"{result.duration_sec:.1f}"),
    ]
    for name, text in lines:
        click.echo(f"{name:<12} {text}")
