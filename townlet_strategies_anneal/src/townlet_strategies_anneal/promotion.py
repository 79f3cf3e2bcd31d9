"""What a run's verdict does to the streak of policies that passed."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import write_file
from townlet_core.dto.base import without_clock
from townlet_core.errors import ConfigError, RunWarning, TownletError
from townlet_core.releases.environment import require_environment
from townlet_strategies_anneal.evidence import clone_comparison

if TYPE_CHECKING:
    from townlet_core.context import TrainingContext
    from townlet_core.dto.anneal import AnnealSummaryDTO
    from townlet_core.runs.layout import RunDirectory

MOST_LETTERS = 1000


def require_releases(context: TrainingContext) -> None:
    """Check, before anything is run, that a verdict can be recorded with the releases.

    Raises:
        ConfigError: what is there is something else, damaged, or cannot be written.
    """
    releases = context.services.promotion.releases_dir
    above = next(path for path in (releases, *releases.absolute().parents) if os.path.lexists(path))
    problem = "" if above.is_dir() else f"{above} is not a directory"
    if not problem and not os.access(above, os.W_OK | os.X_OK):
        problem = f"{above} may not be written"
    if not problem:
        try:
            store, environment = context.services.promotion.store, context.config.environment.name or ""
            require_environment(store, store.history(), policy="of this run", environment=environment)
        except TownletError as error:
            problem = str(error)
    if problem:
        raise ConfigError(
            f"promotion.releases_dir: the verdict of this run could not be recorded in {releases}: {problem}"
        )


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
