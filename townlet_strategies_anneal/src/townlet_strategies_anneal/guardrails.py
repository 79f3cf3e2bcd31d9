"""Guardrails: metrics that must not become worse than with the clone, or with its demonstrator where that is worse.

A policy that comes back to what its demonstrator did has done nothing wrong, even where its clone did better; so of
those that it is held against, the worse one counts, for each metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from townlet_core.dto.anneal import AnnealCheck
from townlet_core.errors import ConfigError, suggestion
from townlet_core.services.statistics import MIN_EPISODES, estimate
from townlet_strategies_anneal.settings import DEFAULT_GUARDRAILS, AnnealSettings, Guardrail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from townlet_core.dto.comparison import ComparisonDTO, Verdict
    from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Somebody whose metrics a policy is held against.

    Attributes:
        name: who.
        means: of each metric, in the episodes of the suite.
        differences: of each metric, what the policy has more of it, episode by episode.
        command: that shows the comparison again; empty for who was only recorded.
    """

    name: str
    means: Mapping[str, float]
    differences: Mapping[str, Estimate]
    command: str = ""


def level_of(name: str, comparison: ComparisonDTO, *, command: str) -> Level:
    """Return the level of somebody who has run the same episodes."""
    return Level(name=name, means=comparison.other.metrics, differences=comparison.metrics, command=command)


def recorded_level(name: str, rates: Mapping[str, float], own: EvaluationResultDTO) -> Level:
    """Return the level of somebody who was recorded in other episodes.

    Args:
        name: who.
        rates: metric -> what a step of a world has of it.
        own: the policy's evaluation, whose episodes say how many steps count.
    """
    means, differences = {}, {}
    for metric, rate in rates.items():
        episodes = [episode for episode in own.episodes if metric in episode.metrics]
        if episodes:
            expected = [rate * episode.num_steps for episode in episodes]
            means[metric] = sum(expected) / len(expected)
            more = [one.metrics[metric] - other for one, other in zip(episodes, expected, strict=True)]
            differences[metric] = estimate(more)
    return Level(name=name, means=means, differences=differences)


def chosen_guardrails(settings: AnnealSettings, metrics: Collection[str]) -> tuple[Guardrail, ...]:
    """Return the guardrails of a run.

    Args:
        settings: of the run; the default ones hold where their metric is measured.
        metrics: that the environments of the suite have.

    Raises:
        ConfigError: a guardrail is asked for whose metric nobody measures; the text lists those that there are.
    """
    if settings.guardrails == "default":
        return tuple(guardrail for guardrail in DEFAULT_GUARDRAILS if guardrail.metric in metrics)
    for guardrail in settings.guardrails:
        if guardrail.metric not in metrics:
            known = sorted(metrics)
            raise ConfigError(
                f"strategies.anneal.guardrails: nothing measures {guardrail.metric!r} here"
                f"{suggestion(guardrail.metric, known)}; there are: {', '.join(known) or 'none'}"
            )
    return settings.guardrails


def check_guardrails(
    guardrails: Iterable[Guardrail], own: EvaluationResultDTO, levels: Sequence[Level]
) -> list[AnnealCheck]:
    """Return what each guardrail says of a policy.

    Args:
        guardrails: of the run.
        own: the policy's evaluation.
        levels: who it is held against; for each metric the one that does worst, of equals the first.
    """
    worst = ((guardrail, _worst(guardrail, levels)) for guardrail in guardrails)
    return [_check(guardrail, own, level) for guardrail, level in worst if level is not None]


def _worst(guardrail: Guardrail, levels: Sequence[Level]) -> Level | None:
    """Return who does worst by a metric; None where nobody is known to have it."""
    known = [level for level in levels if guardrail.metric in level.differences]
    sign = 1.0 if guardrail.direction == "higher" else -1.0
    return max(known, key=lambda level: sign * level.means[guardrail.metric], default=None)


def _check(guardrail: Guardrail, own: EvaluationResultDTO, level: Level) -> AnnealCheck:
    name, difference = guardrail.metric, level.differences[guardrail.metric]
    baseline = level.means[name]
    allowed = max(guardrail.tolerance * abs(baseline), guardrail.slack)
    low, high = difference.low, difference.high
    if guardrail.direction == "lower":
        low, high = -high, -low
    verdict, reason = _judge(guardrail, difference, (low, high), allowed)
    return AnnealCheck(
        name=name,
        rule=f"{guardrail.direction} is worse; worse than {level.name}, {baseline:.4g}, by {allowed:.4g} is allowed"
        + (", and the interval decides" if guardrail.confirm else ", and the mean decides"),
        verdict=verdict,
        reason=f"{reason}, beside {level.name} with {baseline:.4g}",
        value=own.metrics[name],
        baseline=baseline,
        against=level.name,
        allowed=allowed,
        difference=difference,
        command=level.command,
    )


def _judge(
    guardrail: Guardrail, difference: Estimate, worse: tuple[float, float], allowed: float
) -> tuple[Verdict, str]:
    """Return the verdict, and why; `worse` is the interval of how much worse it is."""
    low, high = worse
    if not guardrail.confirm:
        mean = difference.mean if guardrail.direction == "higher" else -difference.mean
        return ("PASS", f"worse by {mean:.4g}") if mean <= allowed else ("FAIL", f"worse by {mean:.4g}")
    text = f"worse by {low:.4g} to {high:.4g}"
    if high <= allowed and low == high:
        return "PASS", text  # the same in every episode
    if difference.num_episodes < MIN_EPISODES:
        return "HOLD", f"{difference.num_episodes} episodes have it, and it takes {MIN_EPISODES} to tell"
    if high <= allowed:
        return "PASS", text
    return ("FAIL", text) if low > allowed else ("HOLD", f"{text}, and {allowed:.4g} is allowed: cannot tell")
