"""How things stand after a row of events: phase, streak, candidate, champion; and which events are possible at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_core.dto.promotion import Phase, PromotionEvidence, ReleaseEvent

NOTHING = "0" * 64
"""Stands for the line before the first one."""
SCRIPTS = ("scripted", "random")
"""What a first champion is compared with: the suite's script or, where there is none, chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseState:
    """What the log says.

    Attributes:
        sequence: events so far.
        phase: monitoring, ready or promoted.
        passed: releases that passed in a row, oldest first; none stands twice.
        candidate: the last of them, once they are as many as were asked for.
        champion: the release in force.
        previous: the champion before.
        initial: the first champion.
        before: for each promotion in force, the champion that it replaced, oldest first.
    """

    sequence: int = 0
    phase: Phase = "monitoring"
    passed: tuple[str, ...] = ()
    candidate: str | None = None
    champion: str | None = None
    previous: str | None = None
    initial: str | None = None
    before: tuple[str | None, ...] = ()

    @property
    def streak(self) -> int:
        """How many policies passed in a row."""
        return len(self.passed)

    @property
    def rollback_target(self) -> str | None:
        """The release before the latest promotion in force, else the initial one; None where that changes nothing."""
        target = (self.before[-1] if self.before else None) or self.initial
        return None if target == self.champion else target

    def after(self, event: ReleaseEvent) -> ReleaseState:
        """Return the state after `event`, which has to say the same.

        Raises:
            ValueError: such an event cannot follow; the text says why.
        """
        state = self.following(event)
        if (event.state, event.streak) != (state.phase, state.streak):
            raise ValueError(
                f"it says {event.state} with a streak of {event.streak}, and {state.phase} with {state.streak} follows"
            )
        return state

    def following(self, event: ReleaseEvent) -> ReleaseState:
        """Return the state after `event`, whatever it says itself of that; raises `ValueError` as `after` does."""
        if event.sequence != self.sequence + 1:
            raise ValueError(f"it is event {event.sequence}, and event {self.sequence + 1} is due")
        state = self._judged(event) if event.event in ("verdict", "candidate") else self._moved(event)
        return replace(state, sequence=event.sequence)

    def _judged(self, event: ReleaseEvent) -> ReleaseState:
        if event.verdict is None or event.required_passes is None or event.hold_resets is None:
            raise ValueError("a verdict needs verdict, required_passes and hold_resets")
        if (event.release is not None) != (event.verdict == "PASS") or event.previous_release is not None:
            raise ValueError("a PASS names its release, another verdict none, and none names a champion")
        passed, candidate = self.passed, self.candidate
        if event.release is not None:
            if event.release in passed:
                raise ValueError(f"release {event.release[:12]} has passed already, and counts once in a streak")
            passed = (*passed, event.release)
        elif event.verdict == "FAIL" or event.hold_resets:
            passed = ()
        is_ready = len(passed) >= event.required_passes
        if is_ready:
            phase: Phase = "ready"
            candidate = passed[-1]
        else:
            phase, candidate = ("monitoring" if self.phase == "ready" else self.phase), None
        if (event.event == "candidate") != (is_ready and event.verdict == "PASS"):
            raise ValueError(f"it is called {event.event}, and the streak is {len(passed)} of {event.required_passes}")
        return replace(self, phase=phase, passed=passed, candidate=candidate)

    def _moved(self, event: ReleaseEvent) -> ReleaseState:
        if event.release is None or event.verdict is not None:
            raise ValueError("a move names a release, and no verdict")
        if event.previous_release != self.champion:
            raise ValueError("it does not begin with the champion that was in force")
        if event.release == self.champion:
            raise ValueError(f"release {event.release[:12]} is the champion already")
        moved = replace(
            self, champion=event.release, previous=self.champion, initial=self.initial or event.release, candidate=None
        )
        if event.event == "promoted":
            self._check_promotion(event)
            return replace(moved, phase="promoted", passed=(), before=(*self.before, self.champion))
        if event.event == "rollback":
            if self.champion is None:
                raise ValueError("there is no champion to roll back")
            return replace(moved, phase="monitoring", passed=(), before=self._undone(event.release))
        if not event.reason:
            raise ValueError("a swap by hand needs a reason")
        if event.release == self.candidate:
            return replace(moved, phase="monitoring", passed=())
        return replace(moved, candidate=self.candidate)

    def _check_promotion(self, event: ReleaseEvent) -> None:
        if event.required_passes is None or self.streak < event.required_passes:
            raise ValueError(f"a promotion takes a streak of {event.required_passes}, and it is {self.streak}")
        if event.release not in self.passed:
            raise ValueError(f"release {str(event.release)[:12]} is not of those that passed")
        problem = (
            "there is no comparison" if event.evidence is None else unfit(event.evidence, str(event.release), self)
        )
        if problem:
            raise ValueError(problem)

    def _undone(self, release: str) -> tuple[str | None, ...]:
        """Return `before` without the promotions that a rollback to `release` undoes."""
        for index in reversed(range(len(self.before))):
            if self.before[index] == release:
                return self.before[:index]
        return self.before


def unfit(evidence: PromotionEvidence, release: str, state: ReleaseState) -> str:
    """Return why a comparison does not allow a promotion; empty if it does."""
    if evidence.policy != release:
        return f"the comparison is of policy {evidence.policy[:12]}, and not of {release[:12]}"
    if state.champion is None and evidence.against not in SCRIPTS:
        return f"there is no champion yet: the comparison has to be with {' or '.join(SCRIPTS)}"
    if state.champion is not None and evidence.against != state.champion:
        return f"the comparison is with {evidence.against[:12]}, and the champion is {state.champion[:12]}"
    if evidence.verdict != "PASS":
        seen = f"{evidence.difference:+.4g} ({evidence.low:+.4g} to {evidence.high:+.4g}), margin {evidence.margin:.4g}"
        told = "it is worse than" if evidence.verdict == "FAIL" else "it cannot be told from worse than"
        return f"{told} {evidence.against[:12]}: {seen}"
    return ""
