"""The gate of a cloned policy: held-out accuracy against a threshold, and never by labels that hardly differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_strategies_bc.ceiling import Ceiling
    from townlet_strategies_bc.labels import Labels
    from townlet_strategies_bc.settings import BCSettings


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict.

    Attributes:
        passed: None where nothing was measured, or no gate was asked for.
        reason: why it was not passed, or not measured.
    """

    passed: bool | None
    reason: str = ""


def decide(accuracy: float | None, labels: Labels, ceiling: Ceiling | None, settings: BCSettings) -> Gate:
    """Return the verdict on a policy of this held-out accuracy."""
    threshold = settings.accuracy_threshold
    if threshold is None:
        return Gate(passed=None, reason="no gate: strategies.bc.accuracy_threshold is null")
    if labels.are_degenerate(settings.degenerate_share):
        return Gate(passed=False, reason=f"the labels are degenerate: {describe_degenerate(labels)}")
    if accuracy is None:
        is_gaussian = labels.num_seen is None
        return Gate(
            passed=None, reason="continuous actions have no accuracy" if is_gaussian else "nothing was held out"
        )
    if accuracy >= threshold:
        return Gate(passed=True)
    reason = f"held-out accuracy {accuracy:.4f} is below {threshold:g}"
    if ceiling is not None and ceiling.accuracy < threshold:
        reason += f", and the recorded labels allow {ceiling.accuracy:.4f} at most"
    return Gate(passed=False, reason=reason)


def describe_degenerate(labels: Labels) -> str:
    """Return what is wrong with degenerate labels."""
    if labels.majority_share is None:
        return "every row has the same action"
    if labels.num_seen == 1:
        return "every row takes the same action"
    return f"one action is taken in {labels.majority_share:.2%} of the rows"
