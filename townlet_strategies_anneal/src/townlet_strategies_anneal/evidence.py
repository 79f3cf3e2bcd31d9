"""The comparison that the verdict of a run rests on, as the releases keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.dto.promotion import PromotionEvidence
from townlet_strategies_anneal.verdict import BESIDE

if TYPE_CHECKING:
    from townlet_core.dto.anneal import AnnealStageResultDTO, AnnealSummaryDTO


def clone_comparison(summary: AnnealSummaryDTO) -> PromotionEvidence | None:
    """Return how the best policy of a run that passed compares with the clone that it was held against, or with chance.

    None where the best policy is the clone itself, which its gate has judged, where the flags of the earlier format
    decided, and where the run did not pass: its best policy then is not what the verdict is about.

    Args:
        summary: the result of the run.
    """
    if summary.status != "PASS" or not summary.best_stage or summary.artefact is None:
        return None
    stage = summary.stages[summary.best_stage - 1]
    others = {"clone": _clone(summary, stage), "random": "random"}
    for check in stage.checks:
        against = others.get(check.name.removeprefix(BESIDE)) if check.name.startswith(BESIDE) else None
        if against and check.difference is not None and check.verdict == "PASS":
            return PromotionEvidence.of_difference(
                summary.artefact.digest,
                against,
                check.difference,
                suite=stage.suite,
                metric=summary.score_name,
                margin=check.allowed or 0.0,
                verdict="PASS",
            )
    return None


def _clone(summary: AnnealSummaryDTO, judged: AnnealStageResultDTO) -> str:
    """Return the digest of the policy that a stage was held against; empty for none."""
    digests = [baseline.digest for baseline in summary.baselines if baseline.name == "start"]
    before = summary.stages[: judged.number - 1]
    digests += [stage.digest for stage in before if stage.is_clone and stage.verdict == "PASS"]
    return digests[-1] if digests else ""
