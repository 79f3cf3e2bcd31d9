"""The comparison that a promotion takes: the policy and the champion, or a script, on the same episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.errors import UsageError
from townlet_core.orchestrator.evaluate import OwnSuite, evaluate_policies
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.releases.state import SCRIPTS
from townlet_core.services.promotion_evidence import evidence_of
from townlet_core.services.promotion_subject import PromotionSubject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.dto.comparison import EvaluationReportDTO
    from townlet_core.dto.promotion import PromotionEvidence
    from townlet_core.plugins.registry import Registry
    from townlet_core.services.promotion import PromotionService


def champion_comparison(
    service: PromotionService,
    source: Path,
    *,
    registry: Registry,
    report: EvaluationReportDTO | None = None,
    trust_config: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> tuple[PromotionEvidence, bytes]:
    """Return what is known of a policy beside the champion, and the document that it rests on.

    Args:
        service: knows the champion, and how policies are compared.
        source: directory of a run, of an artefact, or of a bundle.
        registry: the plugins.
        report: an evaluation that has been made; by default one is made now.
        trust_config: as in `evaluate_policies`.
        on_progress: called with (policy, episodes done, episodes in all).

    Raises:
        UsageError: the releases are of another environment; or `report` is of another policy, or does not compare it
            with the champion.
        TownletError: as `evaluate_policies` raises.
    """
    encoders = PluginResolver(registry, trust_code=False).encoder
    subject, settings = PromotionSubject.read(source, encoders=encoders), service.settings
    service.require_environment(subject, service.store.history())
    champion_path = service.champion_path()
    champion = None if champion_path is None else PromotionSubject.read(champion_path, encoders=encoders)

    def evaluated(other: str) -> EvaluationReportDTO:
        in_town = "town" if subject.environment == "town" else None
        return evaluate_policies(
            str(source),
            registry=registry,
            against=(other,),
            suite=settings.suite or in_town or OwnSuite(episodes=settings.episodes),
            margin=settings.margin,
            deterministic=settings.deterministic,
            trust_config=trust_config,
            on_progress=on_progress,
        )

    if report is None and champion_path is not None:
        report = evaluated(str(champion_path))
    elif report is None:
        script, chance = SCRIPTS
        try:
            report = evaluated(script)
        except UsageError:  # this environment brings no script along
            report = evaluated(chance)
    evidence = evidence_of(report, subject, champion, margin=settings.margin)
    return evidence, report.model_dump_json(indent=1).encode() + b"\n"
