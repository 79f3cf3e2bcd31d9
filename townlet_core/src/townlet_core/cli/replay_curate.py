"""`townlet replay curate`: filter, split and join datasets into a new one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.replay_options import json_option, progress, require_native
from townlet_core.cli.tables import count, printable
from townlet_core.errors import TownletWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from townlet_core.dto.curation import CurationReport

_PATH = click.Path(path_type=Path)
_RULES = (
    click.option("--accepted-only", is_flag=True, help="Leave out what an earlier curator has rejected."),
    click.option("--min-length", type=click.IntRange(1), metavar="N", help="Fewest steps of an episode."),
    click.option("--max-length", type=click.IntRange(1), metavar="N", help="Most steps of an episode."),
    click.option("--min-return", type=float, metavar="X", help="Least return of an episode."),
    click.option("--max-return", type=float, metavar="X", help="Highest return of an episode."),
    click.option("--tag", multiple=True, metavar="TAG", help="Only episodes with this tag."),
    click.option("--not-tag", multiple=True, metavar="TAG", help="No episode with this tag."),
    click.option("--scenario", multiple=True, metavar="NAME", help="Only episodes of this scenario."),
    click.option("--agent", multiple=True, type=click.IntRange(0), metavar="N", help="Only episodes of this agent."),
    click.option(
        "--ending",
        multiple=True,
        type=click.Choice(["terminated", "truncated", "cut"]),
        help="Only episodes that ended so.",
    ),
    click.option(
        "--source-policy", multiple=True, metavar="POLICY", help="Only what this policy did: a name, or a digest."
    ),
    click.option("--dedupe", is_flag=True, help="Of equal episodes, only the first."),
    click.option(
        "--top-return",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="FRACTION",
        help="Of those that are left, this share of the best.",
    ),
    click.option("--limit-episodes", type=click.IntRange(1), metavar="N", help="Of those that are left, the first N."),
)


def _rules(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_RULES):
        function = option(function)
    return function


@click.command("curate", short_help="Filter, split and join datasets into a new one.")
@click.argument("datasets", nargs=-1, required=True, type=_PATH, metavar="DATASET...")
@click.argument("out", type=_PATH)
@_rules
@click.option("--reject", is_flag=True, help="Keep what does not pass too, marked as rejected: it is not trained on.")
@click.option("--split", metavar="SHARES", help="Parts, whole world-episodes in each: train=0.8,test=0.2.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, metavar="S", help="Seed of the split."
)
@click.option("--add-tag", "add_tags", multiple=True, metavar="TAG", help="Tag every episode that passes.")
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would be.")
@json_option
def curate_command(
    *,
    datasets: tuple[Path, ...],
    out: Path,
    reject: bool,
    split: str | None,
    seed: int,
    add_tags: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **rules: Any,
) -> None:
    """Write the episodes of DATASET that pass every rule to OUT, a new dataset that names its parents.

    Several datasets are joined if their spaces are equal; the world-episodes of the second are counted from where
    those of the first end. An option that stands several times allows any of its values. DATASET is never changed.

    \b
    townlet replay curate demonstrations chosen --top-return 0.5 --split train=0.8,test=0.2
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.replay.curate import curate
    from townlet_core.replay.curation_plan import Curation
    from townlet_core.replay.curation_rules import CurationRules
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.splits import parse_split, unusual

    curation = Curation(
        rules=CurationRules.of(**rules),
        split=None if split is None else parse_split(split),
        seed=seed,
        add_tags=add_tags,
        reject=reject,
    )
    if curation.split and (said := unusual(curation.split)):
        warnings.warn(said, TownletWarning, stacklevel=1)
    require_native(*datasets)
    report = curate(
        [Dataset(path) for path in datasets],
        out,
        curation=curation,
        dry_run=dry_run,
        on_progress=progress("agent-steps"),
        on_verify=progress("bytes verified"),
    )
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        click.echo("\n".join(_lines(report, reject=reject)))


def _lines(report: CurationReport, *, reject: bool) -> Iterator[str]:
    what = "rejected" if reject else "left out"
    for rule, episodes in report.failed.items():
        yield f"--{rule.replace('_', '-'):<18} {count(episodes, 'episode')} {what}"
    before, after = report.before, report.after
    yield (
        f"{count(after.episodes, 'episode')} of {before.episodes:,}, "
        f"{count(after.agent_steps, 'agent-step')} of {before.agent_steps:,}"
    )
    if report.rejected:
        yield f"{count(report.rejected, 'episode')} of them rejected"
    for name, part in report.splits.items():
        worlds = count(part.groups, "world-episode")
        yield (
            f"{printable(name):<10} {worlds} ({part.share:.1%}, wanted {part.wanted:.1%}): "
            f"{count(part.episodes, 'episode')}, {count(part.agent_steps, 'agent-step')}"
        )
    digest = f" (sha256 {report.digest[:12]})" if report.digest else ""
    yield f"{'nothing written to' if report.dry_run else 'written to'} {printable(report.path)}{digest}"
