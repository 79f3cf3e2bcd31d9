"""Verdicts: what a stage's numbers and episodes say, rule by rule; the worst of them is the stage's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from townlet_core.dto.anneal import AnnealCheck, worst
from townlet_core.services.comparison import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.dto.comparison import ComparisonDTO, Verdict
    from townlet_core.dto.evaluation import Estimate
    from townlet_strategies_anneal.settings import AnnealSettings

BESIDE = "score beside the "
"""Begins the name of a check that a policy is not worse than somebody."""

GAIN = "gain"
"""Name of the check of the last stage that asks for more than not being worse."""


def decide(checks: Sequence[AnnealCheck]) -> tuple[Verdict, str]:
    """Return the worst verdict, and what the first check says that has it; with only passes, what the first says."""
    verdict = worst(check.verdict for check in checks)
    decisive = next((check for check in checks if check.verdict == verdict), None)
    return verdict, "nothing to compare with" if decisive is None else f"{decisive.name}: {decisive.reason}"


def not_worse(name: str, comparison: ComparisonDTO, margin: float, *, command: str, is_strict: bool) -> AnnealCheck:
    """Return whether a policy is not worse than another.

    Args:
        name: what the other is called.
        comparison: with it.
        margin: how much worse still counts as not worse.
        command: that shows the comparison again.
        is_strict: PASS takes evidence that it is not worse; else it takes none that it is.
    """
    verdict, reason = judge(comparison.difference, margin)
    if verdict == "HOLD" and not is_strict:
        verdict = "PASS"
    rule = f"not worse than the {name}, margin {margin:.4g}"
    if not is_strict:
        rule += "; fails only if all of the interval is worse"
    return _of_scores(
        f"{BESIDE}{name}", rule, verdict, reason, comparison, against=name, allowed=margin, command=command
    )


def gain(name: str, comparison: ComparisonDTO, least: float, *, command: str, beside: str = "") -> AnnealCheck:
    """Return whether a policy is better than another by at least so much; it never fails.

    Args:
        name: what the other is called; who is no clone has to be excelled, also where `least` is 0.
        comparison: with it.
        least: how much better it has to be.
        command: that shows the comparison again.
        beside: how the policy stands beside somebody else, in words; empty for nobody.
    """
    low, high = comparison.difference.low, comparison.difference.high
    is_clone = name == "clone"
    verdict: Verdict = "PASS" if low >= least and (is_clone or low > 0) else "HOLD"
    numbers = f"{low:+.4g} to {high:+.4g}"
    reason = f"better by {numbers}"
    if not is_clone:
        reason = (
            f"better than {name} by {numbers}" if verdict == "PASS" else f"not surely better than {name}: by {numbers}"
        )
    rule = f"at least {least:g} better than {'the clone' if is_clone else name}"
    if not is_clone and least == 0:
        rule = f"all of the interval is better than {name}"
    if beside:
        reason += f"; {beside}"
    return _of_scores(GAIN, rule, verdict, reason, comparison, against=name, allowed=least, command=command)


def nobody_to_beat() -> AnnealCheck:
    """Return what is said of the last stage where there is neither a clone nor anybody who acts by chance."""
    return AnnealCheck(
        name=GAIN,
        rule="better than random, where nothing was cloned",
        verdict="HOLD",
        reason="there is nobody to compare with: no clone, no policy of --from, and random actions cannot be taken",
    )


def _of_scores(
    name: str,
    rule: str,
    verdict: Verdict,
    reason: str,
    comparison: ComparisonDTO,
    *,
    against: str,
    allowed: float,
    command: str,
) -> AnnealCheck:
    difference: Estimate = comparison.difference
    return AnnealCheck(
        name=name,
        rule=rule,
        verdict=verdict,
        reason=reason,
        value=comparison.other.score.mean + difference.mean,
        baseline=comparison.other.score.mean,
        against=against,
        allowed=allowed,
        difference=difference,
        command=command,
    )


def check_learning(result: Any, settings: AnnealSettings, *, divergence: float | None) -> list[AnnealCheck]:
    """Return what the limits of entropy, where the strategy reports it, and of divergence say.

    Args:
        result: of the stage; its entropy is that of the last update.
        settings: of the run.
        divergence: from the clone; None where it was not measured.
    """
    checks = []
    entropy = getattr(result, "entropy", None)
    if settings.entropy_floor is not None and entropy is not None:
        checks.append(
            _limit("entropy", f"at least {settings.entropy_floor:g}", entropy, settings.entropy_floor, is_least=True)
        )
    if settings.kl_cap is not None and divergence is not None:
        checks.append(_limit("divergence", f"at most {settings.kl_cap:g}", divergence, settings.kl_cap, is_least=False))
    return checks


def _limit(name: str, rule: str, value: float, limit: float, *, is_least: bool) -> AnnealCheck:
    is_kept = math.isfinite(value) and (value >= limit if is_least else value <= limit)
    return AnnealCheck(
        name=name,
        rule=rule,
        verdict="PASS" if is_kept else "FAIL",
        reason=f"{value:.4g} nats",
        value=value if math.isfinite(value) else None,
        allowed=limit,
    )


def check_flags(flags: dict[str, bool | None]) -> list[AnnealCheck]:
    """Return what the flags of the earlier format say, where they decide: any that is raised is HOLD.

    Args:
        flags: by name; None for one without a baseline, which is not raised.
    """
    return [
        AnnealCheck(
            name=name,
            rule="the flag of the earlier format is not raised",
            verdict="HOLD" if raised else "PASS",
            reason="raised" if raised else "not raised" if raised is not None else "no baseline",
        )
        for name, raised in flags.items()
    ]


def check_gate(result: Any, threshold: float) -> AnnealCheck:
    """Return whether a clone reached the accuracy that was asked for.

    Args:
        result: of the cloning stage: `gate_passed`, `gate_reason`, `accuracy`.
        threshold: the accuracy.
    """
    passed, accuracy = result.gate_passed, result.accuracy
    text = "not measured" if accuracy is None else f"accuracy {accuracy:.4f}"
    verdict: Verdict = "HOLD" if passed is None else "PASS" if passed else "FAIL"
    return AnnealCheck(
        name="gate",
        rule=f"held-out accuracy of at least {threshold:g}",
        verdict=verdict,
        reason="; ".join(part for part in (text, result.gate_reason) if part),
        value=accuracy,
        allowed=threshold,
    )


def check_return(
    score: float, *, demonstrator: float, random: float | None, share: float, name: str = "the demonstrator"
) -> AnnealCheck:
    """Return whether a clone scores enough in the environment, of what its demonstrator does.

    Accuracy alone does not bound that: small errors add up, because each leads to where nobody has shown anything.

    Args:
        score: of the clone.
        demonstrator: of who it was cloned from.
        random: of random actions; None where they cannot be taken.
        share: of the way from random to the demonstrator; without random, the share of the demonstrator's size that
            may be missing is 1 - share.
        name: of the demonstrator.
    """
    floor = demonstrator - (1.0 - share) * abs(demonstrator)
    if random is not None:
        floor = demonstrator - (1.0 - share) * max(0.0, demonstrator - random)
    is_enough = score >= floor
    reason = f"{score:.4g} is {'at or above' if is_enough else 'below'} {floor:.4g}, and {name} has {demonstrator:.4g}"
    if not is_enough:
        reason += ": more passes (epochs of its entry), more demonstrations"
    return AnnealCheck(
        name="score of the clone",
        rule=f"at least {share:g} of the way from random to {name}",
        verdict="PASS" if is_enough else "FAIL",
        reason=reason,
        value=score,
        baseline=demonstrator,
        against=name,
        allowed=demonstrator - floor,
    )


def non_finite(reason: str) -> AnnealCheck:
    """Return the failure of a stage whose learning was not finite."""
    return AnnealCheck(name="finite", rule="everything that is learned is finite", verdict="FAIL", reason=reason)
