"""From what a pass did, and what the labels are, to the fields that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.dto.bc import BCTelemetry, LabelFields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.dto.bc import HeldOutFields
    from townlet_strategies_bc.ceiling import Ceiling
    from townlet_strategies_bc.labels import Labels
    from townlet_strategies_bc.learner import BCState


def pass_record(
    totals: Mapping[str, float], held_out: HeldOutFields | None, state: BCState, *, has_choices: bool, **fields: Any
) -> BCTelemetry:
    """Return the record of one pass.

    Args:
        totals: what `optimizer.TOTALS` names, summed over the pass.
        held_out: what the held-out rows say; None where nothing is held out.
        state: counters after the pass.
        has_choices: whether actions are choices, which can be right.
        **fields: what the caller knows: rates, durations, digest, and `learns_values`.
    """
    rows, updates = totals["rows"], totals["updates"]
    learns_values = fields.pop("learns_values")
    return BCTelemetry(
        epoch=state.epoch,
        loss=totals["loss"] / rows,
        loss_value=totals["value_loss"] / rows if learns_values else None,
        train_accuracy=totals["right"] / rows if has_choices else None,
        grad_norm=totals["grad_norm"] / updates,
        grad_norm_max=totals["grad_norm_max"],
        updates=int(updates),
        transitions=int(rows),
        steps=state.optimizer_steps,
        agent_steps=state.samples,
        **({} if held_out is None else held_out.model_dump()),
        **fields,
    )


def label_fields(
    labels: Labels, held_out: Labels | None, ceiling: Ceiling | None, *, degenerate_share: float
) -> LabelFields:
    """Return what a result says about the labels: those of the training rows, and the held-out ones."""
    return LabelFields(
        num_actions_seen=labels.num_seen,
        label_majority_share=labels.majority_share,
        held_out_majority_share=None if held_out is None else held_out.majority_share,
        labels_degenerate=labels.are_degenerate(degenerate_share),
        accuracy_ceiling=None if ceiling is None or ceiling.repeated_share == 0 else ceiling.accuracy,
        ceiling_rows=0 if ceiling is None else ceiling.rows,
        ceiling_repeated_share=None if ceiling is None else ceiling.repeated_share,
    )
