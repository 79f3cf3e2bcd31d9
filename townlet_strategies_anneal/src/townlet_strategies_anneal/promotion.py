"""What a run's verdict does to the streak of policies that passed."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import write_file
from townlet_core.dto.base import without_clock
from townlet_core.errors import RunWarning, TownletError
from townlet_strategies_anneal.evidence import clone_comparison

if TYPE_CHECKING:
    from townlet_core.context import TrainingContext
    from townlet_core.dto.anneal import AnnealSummaryDTO
    from townlet_core.runs.layout import RunDirectory

MOST_LETTERS = 1000


def recorded(context: TrainingContext, run: RunDirectory, summary: AnnealSummaryDTO) -> AnnealSummaryDTO:
    """Record the verdict of a run with the releases, and return the result with how things stand there.

    A verdict is recorded once, however often a run is resumed. Where it cannot be recorded, the result says why, and
    `townlet releases` is as it was.

    Args:
        context: of the run.
        run: its directory, which has its policy.
        summary: its result.
    """
    if summary.artefact is None:
        return summary.model_copy(update={"promotion_note": "there is no policy"})
    evidence = json.dumps(without_clock(summary.model_dump(mode="json"))).encode()
    # A release is kept with the result and the record of its run, which are written when a run has ended: so now.
    write_file(run.result_path, summary.model_dump_json(indent=2).encode() + b"\n", filesystem=run.filesystem)
    run.write_record(run.record().revised(clock=context.clock.now, agent_steps=summary.agent_steps))
    try:
        outcome = context.services.promotion.record_verdict(
            run.path,
            summary.status,
            by=context.strategy_name,
            reason=summary.reason[:MOST_LETTERS],
            evidence=clone_comparison(summary),
            evidence_file=evidence,
            encoders=context.resolver.encoder,
        )
    except TownletError as error:
        warnings.warn(f"the verdict was not recorded with the releases: {error}", RunWarning, stacklevel=2)
        return summary.model_copy(update={"promotion_note": str(error)})
    event = outcome.event
    assert event is not None
    is_ready = event.streak >= (event.required_passes or 1)
    return summary.model_copy(update={"promotion_streak": event.streak, "promotion_ready": is_ready})
