"""The gate of a cloned policy: held-out accuracy against a threshold, by labels that can tell, and enough of them.

Three things are asked for: the accuracy; `min_held_out_rows`, because with few rows luck is enough; and more than the
most frequent action alone would reach, because that takes no eyes. Rows of one episode resemble each other, so an
interval that counts them as independent would claim too much, and none is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on held-out rows.

    Attributes:
        accuracy: None where nothing was held out, and for continuous actions.
        rows: how many.
        groups: world-episodes that they are of.
        majority_share: share of their most frequent action; of several choices, the smallest. None like `accuracy`.
    """

    accuracy: float | None
    rows: int
    groups: int
    majority_share: float | None


def decide(measured: Measured, labels: Labels, ceiling: Ceiling | None, settings: BCSettings) -> Gate:
    """Return the verdict.

    Args:
        measured: what was measured.
        labels: those of the training rows.
        ceiling: what the held-out labels allow.
        settings: what is asked for.
    """
    accuracy, threshold = measured.accuracy, settings.accuracy_threshold
    if threshold is None:
        return Gate(passed=None, reason="no gate: strategies.bc.accuracy_threshold is null")
    if labels.are_degenerate(settings.degenerate_share):
        return Gate(passed=False, reason=f"the labels are degenerate: {describe_degenerate(labels)}")
    if accuracy is None:
        is_gaussian = labels.num_seen is None
        return Gate(
            passed=None, reason="continuous actions have no accuracy" if is_gaussian else "nothing was held out"
        )
    reasons = list(_shortcomings(measured, accuracy, threshold, ceiling, settings.min_held_out_rows))
    return Gate(passed=not reasons, reason="; ".join(reasons))


def _shortcomings(
    measured: Measured, accuracy: float, threshold: float, ceiling: Ceiling | None, min_rows: int
) -> Iterator[str]:
    """Yield what is missing for the gate."""
    if accuracy < threshold:
        limit = ""
        if ceiling is not None and ceiling.accuracy < threshold:
            limit = f", and the recorded labels allow {ceiling.accuracy:.4f} at most"
        yield f"held-out accuracy {accuracy:.4f} is below {threshold:g}{limit}"
    if measured.rows < min_rows:
        episodes = "1 world-episode" if measured.groups == 1 else f"{measured.groups:,} world-episodes"
        yield (
            f"only {measured.rows:,} held-out rows in {episodes}: too few to tell "
            f"(strategies.bc.min_held_out_rows is {min_rows:,})"
        )
    if measured.majority_share is not None and accuracy <= measured.majority_share:
        yield (
            f"held-out accuracy {accuracy:.4f} is no more than the most frequent action alone reaches there "
            f"({measured.majority_share:.4f})"
        )


def describe_degenerate(labels: Labels) -> str:
    """Return what is wrong with degenerate labels."""
    if labels.majority_share is None:
        return "every row has the same action"
    if labels.num_seen == 1:
        return "every row takes the same action"
    return f"one action is taken in {labels.majority_share:.2%} of the rows"
