"""What promotion goes by and leaves behind: the evidence, one event for each move, how things stand, what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from townlet_core.dto.base import ResultBase
from townlet_core.dto.comparison import Verdict

if TYPE_CHECKING:
    from townlet_core.dto.evaluation import Estimate

Phase = Literal["monitoring", "ready", "promoted"]
EventName = Literal["verdict", "candidate", "promoted", "rollback", "policy_swap"]

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DigestOrNothing = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_Line = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]  # is shown in terminals
_Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class PromotionEvidence(ResultBase):
    """A policy compared with another one on the same episodes, and what follows from that."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    policy: Digest = Field(description="Digest of the artefact that is judged.")
    against: _Line = Field(
        min_length=1, description="What it was compared with: the digest of an artefact, or the name of a script."
    )
    suite: _Line = Field(description="Name of the list of episodes.")
    metric: _Line = Field(description="What was compared.")
    episodes: int = Field(ge=1, description="Episodes that each of the two ran.")
    difference: float = Field(description="Mean difference of an episode, the policy's less the other's.")
    low: float = Field(description="Lower bound of the interval of the difference.")
    high: float = Field(description="Upper bound of it.")
    confidence: float = Field(gt=0.0, lt=1.0, description="Confidence of the interval.")
    margin: float = Field(ge=0.0, description="How much worse counts as not worse.")
    verdict: Verdict = Field(
        description="PASS only where the interval lies at or above -margin, FAIL only where it lies below; else HOLD."
    )

    @classmethod
    def of_difference(
        cls,
        policy: str,
        against: str,
        difference: Estimate,
        *,
        suite: str,
        metric: str,
        margin: float,
        verdict: Verdict,
    ) -> Self:
        """Return what the difference of two policies shows."""
        return cls(
            policy=policy,
            against=against,
            suite=suite,
            metric=metric,
            episodes=difference.num_episodes,
            difference=difference.mean,
            low=difference.low,
            high=difference.high,
            confidence=difference.confidence,
            margin=margin,
            verdict=verdict,
        )

    @model_validator(mode="after")
    def _interval_bears_the_verdict_out(self) -> Self:
        if self.low > self.high:
            raise ValueError("the interval ends before it begins")
        if (self.verdict == "PASS" and self.low < -self.margin) or (
            self.verdict == "FAIL" and self.high >= -self.margin
        ):
            raise ValueError(f"the verdict is {self.verdict}, and the interval does not bear it out")
        return self


class ReleaseEvent(ResultBase):
    """One line of `events.jsonl`: a verdict, or a move of the champion."""

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    sequence: int = Field(ge=1, description="Number of the event, from 1.")
    previous: Digest = Field(description="SHA-256 of the line before, without its newline; zeros in the first line.")
    event: EventName = Field(
        description="verdict; candidate: a PASS with which the streak is long enough; promoted; rollback; policy_swap: "
        "a champion that somebody set by hand."
    )
    time: _Time = Field(description="When, UTC. Information: the order is that of the lines.")
    by: _Line = Field(description="Who or what did it.")
    reason: _Line = Field(default="", description="Why, where somebody said so.")
    run: _Line = Field(default="", description="Name of the run that the policy came from; empty if unknown.")
    policy: DigestOrNothing = Field(default="", description="Digest of the policy that the event is about.")
    release: Digest | None = Field(
        default=None, description="Release that the event is about, the champion from now on unless it is a verdict."
    )
    previous_release: Digest | None = Field(default=None, description="The champion until now, in a move.")
    manifest: DigestOrNothing = Field(default="", description="SHA-256 of the manifest of the release's bundle.")
    verdict: Verdict | None = Field(default=None, description="The verdict, in a verdict.")
    evidence: PromotionEvidence | None = Field(default=None, description="The comparison that decided.")
    evidence_file: DigestOrNothing = Field(default="", description="SHA-256 of the file that was kept as evidence.")
    required_passes: int | None = Field(default=None, ge=1, description="The streak that was asked for.")
    hold_resets: bool | None = Field(default=None, description="Whether HOLD ended a streak, in a verdict.")
    state: Phase = Field(description="The state from now on.")
    streak: int = Field(ge=0, description="Policies that passed in a row, from now on.")


class PromotionStatus(ResultBase):
    """How the releases stand: what follows from the log, and what `status.json` holds for people and programs."""

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    state: Phase = Field(description="monitoring, ready or promoted.")
    streak: int = Field(ge=0, description="Policies that passed in a row.")
    candidate: Digest | None = Field(description="The release that may be promoted.")
    champion: Digest | None = Field(description="The release in force.")
    previous: Digest | None = Field(description="The champion before that.")
    events: int = Field(ge=0, description="Events so far.")
    head: Digest = Field(description="SHA-256 of the last line of the log.")


class PromotionOutcome(ResultBase):
    """What came of asking for a move or a verdict."""

    done: bool = Field(description="Whether it was recorded; if not, nothing was changed.")
    reasons: tuple[str, ...] = Field(default=(), description="Why it was refused.")
    event: ReleaseEvent | None = Field(default=None, description="The event; of an earlier time if it was known.")


class StoreFinding(ResultBase):
    """Something that is not as it has to be, or that is left over."""

    path: str = Field(description="The file or directory, relative to the store.")
    text: str = Field(description="What is wrong with it.")


class VerificationReport(ResultBase):
    """Every byte of a store, read and compared."""

    events: int = Field(ge=0, description="Events in the log.")
    bundles: int = Field(ge=0, description="Bundles that were read.")
    num_bytes: int = Field(ge=0, description="Bytes that were read.")
    problems: tuple[StoreFinding, ...] = Field(description="What is wrong; none in an intact store.")
    leftovers: tuple[StoreFinding, ...] = Field(description="What killed writes have left, which harms nothing.")
