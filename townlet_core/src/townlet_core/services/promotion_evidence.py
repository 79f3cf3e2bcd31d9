"""Evidence for a promotion: the comparison with the champion, recomputed from the episodes of an evaluation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from townlet_core.checkpoint.manifest import first_problem, read_file
from townlet_core.dto.comparison import EvaluationReportDTO
from townlet_core.dto.promotion import PromotionEvidence
from townlet_core.errors import DataError, MissingInputError, UsageError
from townlet_core.releases.state import SCRIPTS
from townlet_core.releases.writer import MAX_EVIDENCE_BYTES
from townlet_core.services.comparison import compare

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.dto.evaluation import EvaluationResultDTO
    from townlet_core.services.promotion_subject import PromotionSubject


def read_report(path: Path) -> EvaluationReportDTO:
    """Return what `townlet evaluate --out` wrote.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is something else; the text names the field.
    """
    if not os.path.lexists(path):
        raise MissingInputError(f"{path} does not exist")
    try:
        return EvaluationReportDTO.model_validate_json(read_file(path, MAX_EVIDENCE_BYTES, DataError))
    except ValidationError as error:
        raise DataError(
            f"{path} is not what 'townlet evaluate --against POLICY --out FILE' writes: {first_problem(error)}"
        ) from error


def evidence_of(
    report: EvaluationReportDTO, subject: PromotionSubject, champion: PromotionSubject | None, *, margin: float
) -> PromotionEvidence:
    """Return what an evaluation says of a policy beside the champion; beside a script where there is no champion.

    Everything follows from the returns of the episodes; what the evaluation itself concludes is not looked at.

    Args:
        report: the evaluation of the policy, with a comparison with the champion.
        subject: the policy.
        champion: the release in force, if there is one.
        margin: how much worse still counts as not worse, in units of the score.

    Raises:
        UsageError: it is of another policy, or has no such comparison.
    """
    if not subject.is_called(report.artefact_digest):
        judged = report.artefact_digest[:12] or report.policy
        raise UsageError(f"the evaluation is of {judged}, and not of policy {subject.digest[:12]}")
    others = [comparison.other for comparison in report.against]
    other = (
        _script_of(others)
        if champion is None
        else next((one for one in others if champion.is_called(one.artefact_digest)), None)
    )
    if other is None:
        missing = " or ".join(SCRIPTS) if champion is None else f"the champion, {champion.digest[:12]}"
        raise UsageError(f"the evaluation holds the policy against {_named(others)}, and not against {missing}")
    found = compare(report, other, margin=margin)
    return PromotionEvidence.of_difference(
        subject.digest,
        other.policy if champion is None else champion.digest,
        found.difference,
        suite="" if report.suite is None else report.suite.name,
        metric=report.score_name,
        margin=margin,
        verdict=found.verdict,
    )


def _script_of(others: list[EvaluationResultDTO]) -> EvaluationResultDTO | None:
    """Return the evaluation of the script or, if there is none, of chance."""
    scripts = {one.policy: one for one in others if not one.artefact_digest}
    return next((scripts[name] for name in SCRIPTS if name in scripts), None)


def _named(others: list[EvaluationResultDTO]) -> str:
    return ", ".join(one.artefact_digest[:12] or one.policy for one in others) or "nobody"
