"""`townlet replay summary`: what is in a dataset, as tables with small plots."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from townlet_core.cli.replay_options import dataset_argument, json_option, progress
from townlet_core.cli.tables import bar, count, number, printable, size, sparkline, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from townlet_core.dto.dataset_summary import DatasetSummary, PartCount, Spread

_SHOWN = 12
_NAME_WIDTH = 20
_WIDTH = 69
_NUMBERS = ("MEAN", "DEVIATION", "MIN", "MAX")


@click.command("summary", short_help="Tell what is in a dataset.")
@dataset_argument
@click.option(
    "--features",
    type=click.Choice(["some", "all", "none"]),
    default="some",
    show_default=True,
    help=f"Which entries of the observations: the {_SHOWN} of the largest deviation, all, or none.",
)
@click.option("--dataset", "name", metavar="NAME", help="Which data set of a catalogue of the earlier format.")
@json_option
def summary_command(dataset: Path, *, features: str, name: str | None, as_json: bool) -> None:
    """Tell what is in DATASET: episodes, lengths, returns, actions, observations, events.

    DATASET is a directory, or of the earlier format a manifest, a capture directory, a catalogue or a sample.

    \b
    townlet replay summary demonstrations
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.cli.replay_summary_legacy import legacy_lines
    from townlet_core.services.replay import ReplayDatasetService

    summary = ReplayDatasetService().summarize_dataset(dataset, dataset=name, on_progress=progress("rows"))
    if as_json:
        click.echo(summary.model_dump_json(indent=2))
    else:
        click.echo("\n".join(legacy_lines(summary) if summary.format == "legacy" else _lines(summary, features)))


def _lines(summary: DatasetSummary, features: str) -> Iterator[str]:
    yield from _facts(summary)
    yield from _distributions(summary)
    yield from _actions(summary)
    if features != "none":
        yield from _features(summary, show_all=features == "all")
    if summary.events:
        rows = [(printable(kind), f"{event.count:,}", number(event.value)) for kind, event in summary.events.items()]
        yield ""
        yield from table(("EVENT", "COUNT", "SUM OF VALUES"), rows, right={"COUNT", "SUM OF VALUES"}, most=_NAME_WIDTH)


def _facts(summary: DatasetSummary) -> Iterator[str]:
    contents = f"{count(summary.episodes, 'episode')} of {count(summary.groups, 'world-episode')}"
    state = "complete" if summary.complete else "not complete: its writer did not come to the end"
    facts = [
        ("dataset", printable(summary.path)),
        ("digest", f"sha256 {summary.digest[:12]}"),
        ("contents", f"{contents}, {count(summary.agent_steps, 'agent-step')}"),
        ("size", f"{size(summary.bytes)} in {count(summary.shards, 'shard')}"),
        ("state", f"{state}; not verified (townlet replay validate)"),
    ]
    for source in summary.sources:
        who = source.policy or source.kind
        digest = f" ({source.policy_digest[:12]})" if source.policy_digest else ""
        place = "/".join(filter(None, (source.environment, source.scenario))) or "unknown"
        text = f"{printable(who)}{digest} in {printable(place)}: {_part(source)}"
        facts.append(("source", text))
    variants = " or ".join(sorted({f"variant {printable(one.variant)}" for one in summary.sources if one.variant}))
    shapes = ", ".join(_shape(name, shape) for name, shape in summary.observations.items())
    facts += [("observed", line) for line in wrap(f"{variants}: {shapes}".removeprefix(": "), _WIDTH)]
    if set(summary.splits) != {""}:
        facts += [("split", f"{printable(name) or 'none'}: {_part(part)}") for name, part in summary.splits.items()]
    facts += [("tag", f"{printable(name)}: {_part(part)}") for name, part in summary.tags.items()]
    if summary.rejected:
        facts.append(("rejected", count(summary.rejected, "episode")))
    facts.append(("endings", ", ".join(f"{number_of:,} {ending}" for ending, number_of in summary.endings.items())))
    for name, text in facts:
        yield f"{name:<10} {text}"


def _shape(name: str, shape: tuple[int, ...]) -> str:
    size_of = " x ".join(map(str, shape)) or "a number"
    return f"{printable(name).removeprefix('observation.')} {size_of}"


def _part(part: PartCount) -> str:
    return f"{count(part.episodes, 'episode')}, {count(part.agent_steps, 'agent-step')}"


def _distributions(summary: DatasetSummary) -> Iterator[str]:
    yield ""
    header = ("", "MEAN", "DEVIATION", "MIN", "25 %", "MEDIAN", "75 %", "MAX")
    rows = []
    for name, numbers in (("length", summary.lengths), ("return", summary.returns)):
        inner = (number(numbers.q25), number(numbers.median), number(numbers.q75))
        rows.append((name, number(numbers.mean), number(numbers.std), number(numbers.min), *inner, number(numbers.max)))
    others = {"reward": summary.rewards, "log-prob": summary.log_probs, "value": summary.values}
    for name, spread in others.items():
        if spread.count or spread.non_finite:
            ends = (number(spread.min), "", "", "", number(spread.max))
            rows.append((name, number(spread.mean), number(spread.std), *ends))
    yield from table(header, rows, right=header[1:])
    yield ""
    for name, plotted in (("length", summary.lengths), ("return", summary.returns), ("reward", summary.rewards)):
        if plotted.histogram is not None:
            bounds = f"{number(plotted.histogram.low)} to {number(plotted.histogram.high)}"
            yield f"{name:<10} {sparkline(plotted.histogram)}  {bounds}"
    for name, spread in others.items():
        if spread.non_finite:
            yield f"{name:<10} {spread.non_finite:,} are NaN or infinite: see 'townlet replay validate'"
    if summary.scripted_share:
        yield f"{'certain':<10} {summary.scripted_share:.1%} of the rows have log-probability 0: scripts, or one choice"


def _actions(summary: DatasetSummary) -> Iterator[str]:
    yield ""
    if not summary.actions:
        yield from _spreads("ACTION", [(line.name, line) for line in summary.action_values])
        return
    num_components = 1 + max(share.component for share in summary.actions)
    rows = []
    for share in summary.actions:
        name = share.name if num_components == 1 else f"{share.component}: {share.name}"
        allowed = "-" if share.allowed is None else f"{share.allowed:.1%}"
        rows.append((printable(name), f"{share.count:,}", f"{share.share:.1%}", allowed, bar(share.share, 30)))
    yield from table(
        ("ACTION", "COUNT", "SHARE", "ALLOWED", ""), rows, right={"COUNT", "SHARE", "ALLOWED"}, most=_NAME_WIDTH
    )
    most = math.log(len(summary.actions)) if num_components == 1 else None
    bound = "" if most is None else f" of at most {most:.3f}"
    allowed = "" if summary.allowed_actions is None else f"; {summary.allowed_actions:.1f} allowed at a time"
    yield f"entropy {number(summary.action_entropy)} nats{bound}{allowed}"
    if summary.impossible_actions:
        what = count(summary.impossible_actions, "action")
        yield f"{what} outside the action space, counted nowhere above: see 'townlet replay validate'"


def _features(summary: DatasetSummary, *, show_all: bool) -> Iterator[str]:
    lines = list(summary.features)
    constant = sum(line.std == 0 for line in lines)
    if not show_all:
        lines = sorted(lines, key=lambda line: -(line.std or 0.0))[:_SHOWN]
    yield ""
    yield from _spreads("OBSERVATION", [(line.name, line) for line in lines])
    if len(lines) < len(summary.features):
        yield f"{len(lines)} of {len(summary.features)} entries; --features all shows the others"
    if constant:
        yield f"{constant} of {len(summary.features)} never change"


def _spreads(title: str, lines: list[tuple[str, Spread]]) -> list[str]:
    rows = [
        (
            printable(name).removeprefix("observation."),
            *(number(getattr(line, field)) for field in ("mean", "std", "min", "max")),
            sparkline(line.histogram),
        )
        for name, line in lines
    ]
    return table((title, *_NUMBERS, ""), rows, right=_NUMBERS, most=_NAME_WIDTH)
