"""Guardrails: metrics that must not become worse than with the policy that stages are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.dto.anneal import AnnealCheck
from townlet_core.errors import ConfigError, suggestion
from townlet_core.services.statistics import MIN_EPISODES
from townlet_strategies_anneal.settings import DEFAULT_GUARDRAILS, AnnealSettings, Guardrail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from townlet_core.dto.comparison import ComparisonDTO, Verdict
    from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO


def chosen_guardrails(settings: AnnealSettings, metrics: Collection[str]) -> tuple[Guardrail, ...]:
    """Return the guardrails of a run.

    Args:
        settings: of the run; the default ones hold where their metric is measured.
        metrics: that the environments of the suite have.

    Raises:
        ConfigError: a guardrail is asked for whose metric nobody measures; the text lists those that there are.
    """
    if settings.guardrails == "legacy":
        return ()
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
    guardrails: Iterable[Guardrail], own: EvaluationResultDTO, comparison: ComparisonDTO, *, command: str
) -> list[AnnealCheck]:
    """Return what each guardrail says of a policy.

    Args:
        guardrails: of the run.
        own: the policy's evaluation.
        comparison: of it with the other policy, which the metrics are held against.
        command: that shows the comparison again.
    """
    return [
        _check(guardrail, own, comparison, command)
        for guardrail in guardrails
        if guardrail.metric in comparison.metrics
    ]


def _check(guardrail: Guardrail, own: EvaluationResultDTO, comparison: ComparisonDTO, command: str) -> AnnealCheck:
    name, difference = guardrail.metric, comparison.metrics[guardrail.metric]
    baseline = comparison.other.metrics[name]
    allowed = max(guardrail.tolerance * abs(baseline), guardrail.slack)
    low, high = difference.low, difference.high
    if guardrail.direction == "lower":
        low, high = -high, -low
    verdict, reason = _judge(guardrail, difference, (low, high), allowed)
    return AnnealCheck(
        name=name,
        rule=f"{guardrail.direction} is worse; worse by {allowed:.4g} is allowed"
        + (", and the interval decides" if guardrail.confirm else ", and the mean decides"),
        verdict=verdict,
        reason=reason,
        value=own.metrics[name],
        baseline=baseline,
        allowed=allowed,
        difference=difference,
        command=command,
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
