"""`townlet evaluate`: run policies over a list of seeds, and hold them against each other; needs no torch."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import printable
from townlet_core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

VERDICTS = {"PASS": ExitCode.OK, "HOLD": ExitCode.HOLD, "FAIL": ExitCode.FAIL}
_OF_OWN_SUITE = {"environment_name": "--env", "episodes": "--episodes", "seed": "--seed", "sets": "--set"}
_OUTPUT = {"out", "as_json"}


@click.command(short_help="Run policies, report their returns, and compare them.")
@click.argument("policy", metavar="POLICY")
@click.option(
    "--against", multiple=True, metavar="POLICY", help="Another policy to run on the same episodes; repeatable."
)
@click.option(
    "--suite", metavar="NAME|FILE", help="The episodes: a suite that is shipped (town, town-hard), or a file."
)
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
    "--trust-config",
    is_flag=True,
    help="Let the run or the suite itself name a 'python:' environment, which runs its code.",
)
@click.option("--stochastic", is_flag=True, help="Sample actions, instead of the most likely one.")
@click.option(
    "--margin",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="X",
    help="How much worse than the other policy still counts as not worse, in units of the score.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the result to a file, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the result, every episode included, as JSON.")
@pass_state
@click.pass_context
def command(
    ctx: click.Context,
    state: CliState,
    /,
    policy: str,
    *,
    against: tuple[str, ...],
    suite: str | None,
    environment_name: str | None,
    episodes: int,
    seed: int,
    sets: tuple[str, ...],
    trust_config: bool,
    stochastic: bool,
    margin: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run POLICY (the directory of a run or artefact, or scripted, random or idle) once for each of a list of seeds.

    With --against, another policy runs the same episodes, and the exit code says whether POLICY is not worse: 0 for
    PASS, 1 for HOLD (the interval of the difference is too wide to tell), 2 for FAIL; of several, the worst.

    \b
    townlet evaluate runs/20261123-064108-ppo-ab12 --episodes 100
    townlet evaluate runs/20261123-064108-ppo-ab12 --against scripted --suite town
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.orchestrator.evaluate import OwnSuite, evaluate_policies

    given = [parameter for parameter in ctx.command.params if _is_given(ctx, parameter)]
    names = {parameter.name or "" for parameter in given}
    _require_one_suite(names, suite)
    if "margin" in names and not against:
        raise click.UsageError("--margin is how much worse than another policy is allowed: name one with --against")
    with redirect_stdout(sys.stderr):  # what an environment prints is not the result
        report = evaluate_policies(
            policy,
            registry=state.registry,
            against=against,
            suite=suite or OwnSuite(environment_name=environment_name, episodes=episodes, seed=seed, sets=sets),
            margin=margin,
            deterministic=not stochastic,
            trust_config=trust_config,
            on_progress=show_progress,
        )
    report = report.model_copy(update={"command": " ".join(_again(ctx, given))})
    text = report.model_dump_json(indent=2)
    if out is not None:
        from townlet_core.checkpoint.atomic import write_file

        write_file(out, text.encode() + b"\n")
    if as_json:
        click.echo(text)
    else:
        from townlet_core.cli.evaluation_table import report_lines

        click.echo("\n".join(report_lines(report)))
    ctx.exit(max((VERDICTS[comparison.verdict] for comparison in report.against), default=ExitCode.OK))


def _is_given(ctx: click.Context, parameter: click.Parameter) -> bool:
    name = parameter.name or ""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _require_one_suite(given: set[str], suite: str | None) -> None:
    """Refuse options that say which episodes, where a suite does."""
    both = [option for name, option in _OF_OWN_SUITE.items() if name in given]
    if suite is not None and both:
        raise click.UsageError(f"--suite says which episodes are run: leave out {' and '.join(both)}")


def _again(ctx: click.Context, given: list[click.Parameter]) -> Iterator[str]:
    """Yield the words of the command that gives the same report."""
    yield "townlet evaluate"
    for parameter in given:
        value = ctx.params[parameter.name or ""]
        if isinstance(parameter, click.Argument):
            yield shlex.quote(value)
        elif parameter.name in _OUTPUT:
            continue
        elif value is True:
            yield parameter.opts[0]
        else:
            for one in value if isinstance(value, tuple) else (value,):
                yield f"{parameter.opts[0]} {shlex.quote(str(one))}"


def show_progress(policy: str, done: int, total: int) -> None:
    """Show on a terminal how many episodes of a policy are done."""
    if sys.stderr.isatty():
        click.echo(f"\r{done}/{total} episodes of {printable(policy)}", nl=done == total, err=True)
