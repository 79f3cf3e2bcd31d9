"""Promotion: verdicts, streaks, and every move of the champion, over releases that are kept by their bytes.

Each operation is one transaction: one line of the log, or nothing. What was decided on is compared with how things
stand when the line is written; whoever is slower is told.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from townlet_core.checkpoint.filesystem import DISK, FileSystem
from townlet_core.config.promotion import PromotionConfig
from townlet_core.dto.promotion import PromotionOutcome
from townlet_core.errors import RunLockedError, UsageError
from townlet_core.policy.encoder import EncoderResolver, built_in_encoder
from townlet_core.releases.environment import require_environment
from townlet_core.releases.state import unfit
from townlet_core.releases.status import status_of
from townlet_core.releases.store import ReleaseStore
from townlet_core.services.promotion_subject import PromotionSubject

if TYPE_CHECKING:
    from townlet_core.config.root import SimulationConfig
    from townlet_core.dto.comparison import Verdict
    from townlet_core.dto.promotion import PromotionEvidence, PromotionStatus
    from townlet_core.releases.log import History
    from townlet_core.releases.state import ReleaseState
    from townlet_core.runs.status import Clock

_PATIENCE = 50
"""Times that a verdict waits for a lock, each of a fifth of a second: a run that has ended has nothing better to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionService:
    """Records verdicts and moves the champion; all state is in the store.

    Attributes:
        settings: what a promotion takes.
        releases_dir: where the releases are.
        clock: seconds since 1970.
        filesystem: the calls to make.
    """

    settings: PromotionConfig = field(default_factory=PromotionConfig)
    releases_dir: Path = Path("releases")
    clock: Clock = time.time
    filesystem: FileSystem = DISK

    @classmethod
    def from_config(cls, config: SimulationConfig) -> Self:
        """Return the service that the sections `promotion` and `training` describe."""
        settings = config.promotion
        beside_runs = config.training.runs_dir.parent / "releases"
        return cls(settings=settings, releases_dir=settings.releases_dir or beside_runs)

    @property
    def store(self) -> ReleaseStore:
        """The releases."""
        return ReleaseStore(self.releases_dir, clock=self.clock, filesystem=self.filesystem)

    def status(self) -> PromotionStatus:
        """Return how things stand; raises `DataError` where the store contradicts itself."""
        return status_of(self.store.history())

    def champion_path(self) -> Path | None:
        """Return the directory of the champion's bundle, every byte of which was read; None if there is no champion."""
        store = self.store
        return store.verified_bundle(champion) if (champion := store.history().state.champion) else None

    def record_verdict(
        self,
        source: Path,
        verdict: Verdict,
        *,
        by: str,
        reason: str = "",
        evidence: PromotionEvidence | None = None,
        evidence_file: bytes = b"",
        encoders: EncoderResolver = built_in_encoder,
    ) -> PromotionOutcome:
        """Record a verdict on a policy: PASS makes the streak longer, FAIL ends it.

        The same verdict on the same policy of the same run and evidence is recorded once; a policy counts once.

        Args:
            source: directory of a run or of an artefact. The policy is kept as a bundle if it passed.
            verdict: PASS, HOLD or FAIL.
            by: who or what judged.
            reason: why, in one line.
            evidence: the comparison that it rests on, if it is one.
            evidence_file: a JSON document to be kept as it is, such as a result; empty for none.
            encoders: finds the networks of plugins.

        Raises:
            MissingInputError: there is no policy.
            DataError: the policy or the store is damaged.
            UsageError: the evidence is of another policy or verdict, or the releases of another environment.
            RunLockedError: the store stayed locked.
            StorageError: the system refused.
        """
        subject = PromotionSubject.read(source, encoders=encoders)
        if evidence is not None and (evidence.policy, evidence.verdict) != (subject.digest, verdict):
            raise UsageError(f"the comparison says {evidence.verdict} of {evidence.policy[:12]}, not {verdict}")
        given = {"by": by, "reason": reason, "evidence": evidence}
        for attempt in range(_PATIENCE):
            try:
                return self._record(subject, verdict, evidence_file, given)
            except RunLockedError:
                if attempt == _PATIENCE - 1:
                    raise
        raise AssertionError  # the last attempt returns or raises

    def _record(
        self, subject: PromotionSubject, verdict: Verdict, evidence_file: bytes, given: dict[str, Any]
    ) -> PromotionOutcome:
        with self.store.writing() as writer:
            document = hashlib.sha256(evidence_file).hexdigest() if evidence_file else ""
            known = writer.history.known_verdict(subject.run, subject.digest, verdict, document)
            if known is not None:
                return PromotionOutcome(done=True, event=known, reasons=("it was recorded before, and counts once",))
            self.require_environment(subject, writer.history)
            bundle = writer.keep_bundle(subject.files) if verdict == "PASS" else {}
            required, is_pass = self.settings.required_passes, verdict == "PASS"
            is_ready = is_pass and writer.history.state.streak + 1 >= required
            event = writer.append(
                event="candidate" if is_ready else "verdict",
                run=subject.run,
                policy=subject.digest,
                verdict=verdict,
                required_passes=required,
                hold_resets=self.settings.guardrails == "legacy",
                evidence_file=writer.keep_evidence(evidence_file) if evidence_file else "",
                **bundle,
                **given,
            )
        return PromotionOutcome(done=True, event=event)

    def promote(
        self,
        source: Path,
        evidence: PromotionEvidence | None,
        *,
        by: str,
        reason: str = "",
        evidence_file: bytes = b"",
        expected_head: str | None = None,
        encoders: EncoderResolver = built_in_encoder,
    ) -> PromotionOutcome:
        """Make a policy the champion, or say why not.

        Args:
            source: directory of a run, of an artefact, or of a bundle.
            evidence: the comparison with the champion; with no champion yet, with a script.
            by: who.
            reason: why, in one line.
            evidence_file: the document that the comparison was read from, to be kept as it is.
            expected_head: head of the log when the comparison began; by default the present one.
            encoders: finds the networks of plugins.

        Raises:
            UsageError: the releases are of another environment.
            RaceLostError: another process changed the releases in between.
            RunLockedError: another process is changing them.
            DataError: the policy, its bundle or the store is damaged.
            MissingInputError: there is no policy.
            StorageError: the system refused.
        """
        store, subject = self.store, PromotionSubject.read(source, encoders=encoders)
        history = store.history(expected_head=expected_head)
        self.require_environment(subject, history)
        reasons = self._obstacles(history.state, subject.digest)
        reasons += self._doubts(history.state, subject.digest, evidence)
        if reasons:
            return PromotionOutcome(done=False, reasons=tuple(reasons))
        with store.writing(expected_head=history.head) as writer:
            event = writer.append(
                event="promoted",
                by=by,
                reason=reason,
                run=subject.run or history.run_of(subject.digest),
                policy=subject.digest,
                previous_release=history.state.champion,
                required_passes=self.settings.required_passes,
                evidence=evidence,
                **writer.keep_bundle(subject.files),
                evidence_file=writer.keep_evidence(evidence_file) if evidence_file else "",
            )
        return PromotionOutcome(done=True, event=event)

    def obstacles(self, source: Path, *, encoders: EncoderResolver = built_in_encoder) -> tuple[str, ...]:
        """Return why a policy cannot be promoted now, whatever a comparison may show; raises as `promote` does."""
        subject, history = PromotionSubject.read(source, encoders=encoders), self.store.history()
        self.require_environment(subject, history)
        return tuple(self._obstacles(history.state, subject.digest))

    def require_environment(self, subject: PromotionSubject, history: History) -> None:
        """Check that a policy is of the releases' environment; raises `UsageError`."""
        require_environment(self.store, history, policy=subject.digest, environment=subject.environment)

    def _obstacles(self, state: ReleaseState, digest: str) -> list[str]:
        if digest == state.champion:
            return [f"{digest[:12]} is the champion already"]
        reasons, required = [], self.settings.required_passes
        if state.streak < required:
            what = "a policy that passes" if required == 1 else f"{required} policies that pass in a row"
            reasons.append(f"a promotion takes {what}, and {state.streak} did")
        if digest not in state.passed:
            reasons.append(f"{digest[:12]} is not one of those that passed in a row: see 'townlet releases record'")
        return reasons

    def _doubts(self, state: ReleaseState, digest: str, evidence: PromotionEvidence | None) -> list[str]:
        if evidence is None:
            return ["there is no comparison with the champion"]
        doubts = [unfit(evidence, digest, state)]
        if evidence.margin > self.settings.margin:
            doubts.append(
                f"it was compared with a margin of {evidence.margin:g}, and {self.settings.margin:g} is allowed"
            )
        return [doubt for doubt in doubts if doubt]

    def rollback(
        self, to: str | None = None, *, by: str, reason: str = "", expected_head: str | None = None
    ) -> PromotionOutcome:
        """Make the release before the latest promotion in force the champion again, else the initial one.

        Every byte of its bundle is read and compared before anything is written.

        Args:
            to: another release: an alias, or the beginning of a digest.
            by: who.
            reason: why, in one line.
            expected_head: head of the log that the caller decided on; by default the present one.

        Raises:
            RaceLostError: another process changed the releases in between.
            RunLockedError: another process is changing them.
            DataError: the bundle or the store is damaged.
            MissingInputError: the bundle is gone, or `to` names none.
            StorageError: the system refused.
        """
        store = self.store
        state = (history := store.history(expected_head=expected_head)).state
        target = state.rollback_target if to is None else store.find(to)
        if state.champion is None:
            return PromotionOutcome(done=False, reasons=("there is no champion",))
        if target is None or target == state.champion:
            named = state.champion[:12]
            reason = "there is no release before it; name one with --to" if target is None else "that is the champion"
            return PromotionOutcome(done=False, reasons=(f"the champion is {named}: {reason}",))
        with store.writing(expected_head=history.head) as writer:
            event = writer.append(
                event="rollback",
                by=by,
                reason=reason,
                run=history.run_of(target),
                policy=target,
                previous_release=state.champion,
                **writer.known_bundle(target),
            )
        return PromotionOutcome(done=True, event=event)

    def swap(
        self,
        source: Path,
        *,
        by: str,
        reason: str,
        evidence: PromotionEvidence | None = None,
        encoders: EncoderResolver = built_in_encoder,
    ) -> PromotionOutcome:
        """Make a policy the champion by hand, whatever speaks against it; the log says so, and why.

        Raises:
            UsageError: there is no reason, or the releases are of another environment.
            RaceLostError, RunLockedError, DataError, MissingInputError, StorageError: as in `promote`.
        """
        if not reason.strip():
            raise UsageError("a champion that is set by hand needs a reason")
        store, subject = self.store, PromotionSubject.read(source, encoders=encoders)
        history = store.history()
        self.require_environment(subject, history)
        if subject.digest == history.state.champion:
            return PromotionOutcome(done=False, reasons=(f"{subject.digest[:12]} is the champion already",))
        with store.writing(expected_head=history.head) as writer:
            event = writer.append(
                event="policy_swap",
                by=by,
                reason=reason,
                run=subject.run or history.run_of(subject.digest),
                policy=subject.digest,
                previous_release=history.state.champion,
                evidence=evidence,
                **writer.keep_bundle(subject.files),
            )
        return PromotionOutcome(done=True, event=event)
