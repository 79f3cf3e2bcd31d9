"""Any row of operations does what a model of a dozen lines says, and leaves a store whose every byte verifies."""

import shutil
import tempfile
from pathlib import Path

from datasets import HASTY
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from released_policies import comparison, saved_policies

from townlet_core.config.promotion import PromotionConfig
from townlet_core.releases.verify import verify
from townlet_core.services.promotion import PromotionService

NUMBERS = st.integers(0, 3)
VERDICTS = st.sampled_from(["PASS", "PASS", "HOLD", "FAIL"])


class Releases(RuleBasedStateMachine):
    """Real releases beside a model of them, in which a release is the number of its policy."""

    def __init__(self):
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.digests = saved_policies(self.path / "policies", 4)

    @initialize(required=st.integers(1, 3), guardrails=st.sampled_from(["interval", "legacy"]))
    def opened(self, required, guardrails):
        self.required, self.legacy = required, guardrails == "legacy"
        self.service = PromotionService(
            settings=PromotionConfig(required_passes=required, guardrails=guardrails),
            releases_dir=self.path / "releases",
            clock=lambda: 0.0,
            filesystem=HASTY,
        )
        self.phase, self.passed, self.champion, self.previous = "monitoring", [], None, None
        self.first, self.replaced, self.evidence, self.events = None, [], 0, 0

    def moved_to(self, number):
        self.previous, self.champion = self.champion, number
        self.first = number if self.first is None else self.first
        self.events += 1

    @rule(number=NUMBERS, verdict=VERDICTS)
    def judge(self, number, verdict):
        self.evidence += 1
        document = b"%d" % self.evidence
        path = self.path / "policies" / str(number)
        assert self.service.record_verdict(path, verdict, by="model", evidence_file=document).done
        if verdict == "PASS" and number in self.passed:
            return
        self.events += 1
        if verdict == "PASS":
            self.passed.append(number)
        elif verdict == "FAIL" or self.legacy:
            self.passed = []
        if len(self.passed) >= self.required:
            self.phase = "ready"
        elif self.phase == "ready":
            self.phase = "monitoring"

    @rule(number=NUMBERS, verdict=VERDICTS)
    def promote(self, number, verdict):
        against = "scripted" if self.champion is None else self.digests[self.champion]
        evidence = comparison(self.digests[number], against, verdict)
        outcome = self.service.promote(self.path / "policies" / str(number), evidence, by="model")
        earned = len(self.passed) >= self.required and number in self.passed and verdict == "PASS"
        assert outcome.done == (earned and number != self.champion)
        if outcome.done:
            self.replaced.append(self.champion)
            self.moved_to(number)
            self.phase, self.passed = "promoted", []
        else:
            assert outcome.reasons

    @rule()
    def roll_back(self):
        target = self.replaced[-1] if self.replaced and self.replaced[-1] is not None else self.first
        outcome = self.service.rollback(by="model")
        assert outcome.done == (target is not None and target != self.champion)
        if outcome.done:
            self.rolled_back_to(target)

    @rule(number=NUMBERS)
    def roll_back_to(self, number):
        known = {event.release for event in self.service.store.history().events}
        if self.digests[number] in known:
            outcome = self.service.rollback(self.digests[number], by="model")
            assert outcome.done == (self.champion is not None and number != self.champion)
            if outcome.done:
                self.rolled_back_to(number)

    def rolled_back_to(self, number):
        if number in self.replaced:
            while self.replaced.pop() != number:
                pass
        self.moved_to(number)
        self.phase, self.passed = "monitoring", []

    @rule(number=NUMBERS)
    def swap(self, number):
        outcome = self.service.swap(self.path / "policies" / str(number), by="model", reason="by hand")
        assert outcome.done == (number != self.champion)
        if outcome.done:
            if self.phase == "ready" and self.passed[-1] == number:
                self.phase, self.passed = "monitoring", []
            self.moved_to(number)

    @invariant()
    def as_the_model_says(self):
        status = self.service.status()
        candidate = self.passed[-1] if self.phase == "ready" else None
        named = [None if one is None else self.digests[one] for one in (candidate, self.champion, self.previous)]
        assert [status.candidate, status.champion, status.previous] == named
        assert (status.state, status.streak, status.events) == (self.phase, len(self.passed), self.events)
        if status.events:
            report = verify(self.path / "releases")
            assert (report.problems, report.leftovers) == ((), ())

    def teardown(self):
        shutil.rmtree(self.path)


TestReleases = Releases.TestCase
TestReleases.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
