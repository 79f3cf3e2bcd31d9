"""The report of an evaluation as text: what each policy scores and does, and the verdicts; 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from townlet_core.cli.tables import count, number, printable, table
from townlet_core.services.statistics import estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from townlet_core.dto.comparison import ComparisonDTO, EvaluationReportDTO
    from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO

_SCORES = {
    "episode_return": "the return of an episode",
    "reward_mean": "the mean reward of a present agent in a step, over a whole world-episode",
}
_FIELDS = {"episode_return": "return", "length": "length [steps]", "agent_steps": "agent-steps"}
_BEHAVIOUR = {
    "attendance": "shifts attended",
    "faint_events": "faints",
    "eviction_events": "evictions",
    "queue_conflict_events": "queue conflicts",
    "queue_conflict_intensity_sum": "their intensity",
    "chat_success_events": "good chats",
    "chat_failure_events": "failed chats",
    "chat_quality_mean": "quality of chats",
    "late_help_events": "helped when late",
    "shift_takeover_events": "shifts taken over",
    "shared_meal_events": "shared meals",
    "hunger_mean": "hunger (1 = full)",
    "hygiene_mean": "hygiene",
    "energy_mean": "energy",
}
"""Metric of the town -> what a reader is told; of other environments, every metric is shown by its name."""
_LONGEST_NAME = 20
_WIDTH, _INDENT = 80, 13


def report_lines(report: EvaluationReportDTO) -> Iterator[str]:
    """Yield the lines of a report."""
    yield from _line("policy", _who(report))
    yield from _line("environment", report.environment)
    yield from _line("episodes", _episodes(report))
    yield from _line("score", _SCORES[report.score_name])
    if not report.against:
        yield ""
        yield from _table(("", "MEAN", "95 % FROM", "TO"), [(name, *_three(own)) for name, own in _rows(report)])
    for comparison in report.against:
        yield ""
        yield from _line("against", _who(comparison.other))
        yield from _comparison_table(report, comparison)
        yield ""
        yield from _line("verdict", f"{comparison.verdict}  {comparison.reason}")
        yield from _line("rule", _rule(comparison))
        yield from _line("better", _better(comparison))
    yield ""
    yield from _line("seconds", f"{report.duration_sec + sum(one.other.duration_sec for one in report.against):.1f}")
    yield f"{'again':<{_INDENT}}{report.command}"  # in one line, to be copied


def _who(result: EvaluationResultDTO) -> str:
    actions = "most likely actions" if result.deterministic else "sampled actions"
    return (
        f"{result.policy}  sha256 {result.artefact_digest[:12]}, {actions}" if result.artefact_digest else result.policy
    )


def _episodes(report: EvaluationReportDTO) -> str:
    cut = sum(episode.truncated for episode in report.episodes)
    suite = report.suite
    named = f" of suite {suite.name}, sha256 {suite.digest[:12]}" if suite is not None and suite.name != "own" else ""
    return f"{len(report.episodes)}{named}, each under its own seed; {cut} cut by the time limit"


def _rule(comparison: ComparisonDTO) -> str:
    difference = comparison.difference
    return (
        f"mean difference {difference.mean:+.4g} over {count(difference.num_episodes, 'pair')} of episodes, "
        f"{100 * difference.confidence:g} % by paired bootstrap. PASS: no part of the interval is below "
        f"{-comparison.margin + 0.0:g} (--margin {comparison.margin:g}); FAIL: all of it is; else HOLD"
    )


def _better(comparison: ComparisonDTO) -> str:
    return (
        f"in {100 * comparison.probability_of_improvement:.0f} % of episodes; interquartile means differ by "
        f"{comparison.iqm_difference:+.4g}"
    )


def _comparison_table(report: EvaluationReportDTO, comparison: ComparisonDTO) -> Iterator[str]:
    other = dict(_rows(comparison.other))
    rows = []
    for name, own in _rows(report):
        if name not in other:
            continue
        difference = _difference(report, comparison, name)
        rows.append((name, number(own.mean), number(other[name].mean), *_three(difference)))
    yield from _table(("", "POLICY", "OTHER", "DIFFERENCE", "95 % FROM", "TO"), rows)


def _difference(report: EvaluationReportDTO, comparison: ComparisonDTO, label: str) -> Estimate | None:
    if label == "score":
        return comparison.difference
    name = _metrics(report).get(label)
    if name is not None:
        return comparison.metrics.get(name)
    (field,) = [field for field, text in _FIELDS.items() if text == label]
    pairs = zip(report.episodes, comparison.other.episodes, strict=True)
    return estimate([getattr(one, field) - getattr(two, field) for one, two in pairs])


def _rows(result: EvaluationResultDTO) -> list[tuple[str, Estimate]]:
    """Return what the table shows of a policy: label and estimate."""
    rows = [("score", result.score)]
    for field, label in _FIELDS.items():
        if field != result.score_name:
            rows.append((label, estimate([getattr(episode, field) for episode in result.episodes])))
    for label, name in _metrics(result).items():
        rows.append((label, estimate([one.metrics[name] for one in result.episodes if name in one.metrics])))
    return rows


def _metrics(result: EvaluationResultDTO) -> dict[str, str]:
    """Return the metrics that are shown, by label."""
    town = {label: name for name, label in _BEHAVIOUR.items() if name in result.metrics}
    return town or {printable(name): name for name in sorted(result.metrics)}


def _three(found: Estimate | None) -> tuple[str, str, str]:
    return ("-", "-", "-") if found is None else (number(found.mean), number(found.low), number(found.high))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return table(header, rows, right=set(header[1:]), most=_LONGEST_NAME)


def _line(name: str, text: str) -> list[str]:
    """Return lines of at most 80 letters, but for a word that is longer; the name stands before the first."""
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=f"{name:<{_INDENT}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
