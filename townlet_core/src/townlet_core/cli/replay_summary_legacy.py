"""What `townlet replay summary` prints of files of the earlier format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.cli.tables import bar, count, number, printable, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.dto.replay import LegacyShape, LegacySummary

_SHOWN = 20
_NAME_WIDTH = 50


def legacy_lines(summary: LegacySummary) -> Iterator[str]:
    """Yield the lines of the summary."""
    yield from _facts(summary)
    yield ""
    total = sum(summary.actions.values())
    shown = list(summary.actions.items())[:_SHOWN]
    rows = [(printable(name), f"{taken:,}", f"{taken / total:.1%}", bar(taken / total, 10)) for name, taken in shown]
    if rows:
        yield from table(("ACTION", "COUNT", "SHARE", ""), rows, right={"COUNT", "SHARE"}, most=_NAME_WIDTH)
    if len(shown) < len(summary.actions):
        yield f"and {len(summary.actions) - len(shown):,} more"
    yield ""
    recorded = summary.recorded_metrics
    names = {**summary.metrics, **recorded}
    cells = [(printable(key), number(summary.metrics.get(key)), number(recorded.get(key))) for key in names]
    yield from table(("METRIC", "VALUE", "RECORDED"), cells, right={"VALUE", "RECORDED"}, most=_NAME_WIDTH)


def _facts(summary: LegacySummary) -> Iterator[str]:
    facts = [
        ("path", printable(summary.path)),
        ("format", f"of the earlier simulator: {summary.form}"),
        ("contents", f"{count(summary.samples, 'sample')}, {count(summary.agent_steps, 'step')}"),
    ]
    if summary.rejected:
        facts.append(("rejected", count(summary.rejected, "sample")))
    if summary.observation_only:
        facts.append(("observed", f"{count(summary.observation_only, 'sample')} without actions, for inspection only"))
    facts += [("shape", _shape(shape)) for shape in summary.shapes]
    facts += [
        ("unlisted", f"{printable(file)} uses ids that no table names: {', '.join(map(str, ids))}")
        for file, ids in summary.unlisted.items()
    ]
    facts += [("note", printable(note)) for note in summary.notes]
    for name, text in facts:
        yield f"{name:<10} {text}"


def _shape(shape: LegacyShape) -> str:
    window = " x ".join(map(str, shape.map_shape))
    return f"{count(shape.samples, 'sample')}: {shape.features} features, {f'map {window}' if window else 'no map'}"
