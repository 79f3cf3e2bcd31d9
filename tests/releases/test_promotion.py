"""What operators rely on: streaks, candidates, promotions, rollbacks and swaps, one line of the log each."""

import json

import pytest
from released_policies import comparison, saved_policies, small_policy

from townlet_core.checkpoint.manifest import read_directory
from townlet_core.config.load import load_config
from townlet_core.config.promotion import PromotionConfig
from townlet_core.errors import ArtefactError, DataError, MissingInputError, RaceLostError, UsageError
from townlet_core.releases.verify import verify
from townlet_core.services.promotion import PromotionService
from townlet_core.services.services import TrainingServices


class Desk:
    """Some policies, and releases that are made of them."""

    def __init__(self, path, **settings):
        self.path = path
        self.digests = saved_policies(path / "policies", 6)
        self.service = PromotionService(
            settings=PromotionConfig(**settings), releases_dir=path / "releases", clock=lambda: 1_000_000.0
        )

    def policy(self, number):
        return self.path / "policies" / str(number)

    def judged(self, verdicts):
        """Record verdicts such as ``"0 PASS, 1 HOLD"`` and return the state and the streak."""
        for text in verdicts.split(", "):
            number, verdict = text.split()
            assert self.service.record_verdict(self.policy(number), verdict, by="test").done
        status = self.service.status()
        return status.state, status.streak

    def evidence(self, number, verdict="PASS", **fields):
        against = self.service.status().champion or "scripted"
        return comparison(self.digests[number], against, verdict, **fields)

    def promoted(self, number, **options):
        return self.service.promote(self.policy(number), self.evidence(number), by="test", **options)

    def champion(self):
        champion = self.service.status().champion
        return None if champion is None else self.digests.index(champion)

    def lines(self):
        return [json.loads(line) for line in (self.path / "releases" / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("verdicts", "state", "streak"),
    [
        ("0 PASS", "monitoring", 1),
        ("0 PASS, 1 PASS", "ready", 2),
        ("0 PASS, 1 HOLD, 2 PASS", "ready", 2),
        ("0 PASS, 1 FAIL, 2 PASS", "monitoring", 1),
        ("0 PASS, 1 PASS, 2 HOLD", "ready", 2),
        ("0 PASS, 1 PASS, 2 FAIL", "monitoring", 0),
        ("0 PASS, 1 PASS, 2 PASS", "ready", 3),
        ("0 PASS, 0 PASS", "monitoring", 1),
        ("0 HOLD, 1 FAIL", "monitoring", 0),
    ],
)
def test_pass_counts_fail_resets_and_hold_changes_nothing(desk, verdicts, state, streak):
    assert desk.judged(verdicts) == (state, streak)


def test_the_legacy_guardrails_reset_the_streak_on_hold_too(tmp_path):
    desk = Desk(tmp_path, guardrails="legacy")
    assert desk.judged("0 PASS, 1 HOLD") == ("monitoring", 0)
    assert desk.judged("2 PASS, 3 PASS") == ("ready", 2)
    assert desk.judged("4 HOLD") == ("monitoring", 0)


def test_the_candidate_is_the_newest_policy_that_passed_once_there_are_enough(desk):
    desk.judged("0 PASS")
    assert desk.service.status().candidate is None
    desk.judged("1 PASS")
    assert desk.service.status().candidate == desk.digests[1]
    desk.judged("2 PASS")
    assert desk.service.status().candidate == desk.digests[2]
    desk.judged("3 FAIL")
    assert desk.service.status().candidate is None
    assert [line["event"] for line in desk.lines()] == ["verdict", "candidate", "candidate", "verdict"]


def test_a_policy_is_promoted_after_the_streak_and_a_comparison_that_is_not_worse(desk):
    desk.judged("0 PASS, 1 PASS")
    outcome = desk.promoted(1, evidence_file=b'{"any": "document"}')
    assert outcome.done
    status = desk.service.status()
    assert (status.state, status.streak, status.candidate) == ("promoted", 0, None)
    assert (status.champion, status.previous) == (desk.digests[1], None)
    line = desk.lines()[-1]
    assert (line["event"], line["release"], line["previous_release"]) == ("promoted", desk.digests[1], None)
    assert line["evidence"]["against"] == "scripted"
    kept = desk.service.store.evidence_path(line["evidence_file"])
    assert kept.read_bytes() == b'{"any": "document"}'


@pytest.mark.parametrize(
    ("verdicts", "evidence", "reason"),
    [
        ("0 PASS", {}, "takes 2 policies that pass in a row"),
        ("1 PASS, 2 PASS", {}, "not one of those that passed"),
        ("0 PASS, 1 PASS", None, "no comparison"),
        ("0 PASS, 1 PASS", {"verdict": "HOLD"}, "cannot be told from worse"),
        ("0 PASS, 1 PASS", {"verdict": "HOLD"}, "+0.5 (-1 to +2), margin 0"),
        ("0 PASS, 1 PASS", {"verdict": "FAIL"}, "is worse than"),
        ("0 PASS, 1 PASS", {"margin": 0.1}, "margin of 0.1, and 0 is allowed"),
        ("0 PASS, 1 PASS", {"policy": "0" * 64}, "comparison is of policy 0000"),
        ("0 PASS, 1 PASS", {"against": "1" * 64}, "has to be with scripted or random"),
        ("0 PASS, 1 PASS", {"against": "idle"}, "has to be with scripted or random"),
    ],
)
def test_a_promotion_that_is_not_earned_is_refused_with_the_reason(desk, verdicts, evidence, reason):
    desk.judged(verdicts)
    before = {path: path.read_bytes() for path in desk.path.rglob("*") if path.is_file()}
    fields = dict(evidence or {})
    given = None
    if evidence is not None:
        against, policy = fields.pop("against", "scripted"), fields.pop("policy", desk.digests[0])
        given = comparison(policy, against, **fields)
    outcome = desk.service.promote(desk.policy(0), given, by="test")
    assert not outcome.done
    assert reason in "; ".join(outcome.reasons)
    assert {path: path.read_bytes() for path in desk.path.rglob("*") if path.is_file()} == before


def test_with_a_champion_the_comparison_has_to_be_with_it(desk):
    desk.judged("0 PASS, 1 PASS")
    desk.promoted(0)
    desk.judged("2 PASS, 3 PASS")
    with_script = comparison(desk.digests[2], "scripted")
    assert not desk.service.promote(desk.policy(2), with_script, by="test").done
    assert desk.promoted(2).done
    assert desk.champion() == 2


def test_evidence_that_contradicts_itself_cannot_be_made():
    for fields in ({"low": -0.1}, {"low": 1.0, "high": 0.5}, {"verdict": "FAIL", "low": 0.5, "high": 2.0}):
        with pytest.raises(ValueError, match=r"interval"):
            comparison("0" * 64, "scripted", **fields)


def champion_after_three(desk):
    for first, second in ((0, 1), (2, 3), (4, 5)):
        desk.judged(f"{first} PASS, {second} PASS")
        desk.promoted(second)


def test_a_rollback_goes_back_one_promotion_at_a_time_and_stops_at_the_first(desk):
    champion_after_three(desk)
    assert desk.champion() == 5
    for expected in (3, 1):
        assert desk.service.rollback(by="test").done
        assert desk.champion() == expected
        assert desk.service.status().state == "monitoring"
    outcome = desk.service.rollback(by="test")
    assert not outcome.done
    assert "no release before it" in outcome.reasons[0]


def test_a_rollback_ends_the_streak(desk):
    desk.judged("0 PASS, 1 PASS")
    desk.promoted(0)
    desk.judged("2 PASS, 3 PASS")
    desk.promoted(2)
    desk.judged("4 PASS, 5 PASS")
    desk.service.rollback(by="test")
    status = desk.service.status()
    assert (status.state, status.streak, status.candidate) == ("monitoring", 0, None)


def test_a_rollback_to_a_named_release_undoes_the_promotions_after_it(desk):
    champion_after_three(desk)
    assert desk.service.rollback(desk.digests[1][:8], by="test").done
    assert desk.champion() == 1
    assert not desk.service.rollback(by="test").done
    assert desk.service.rollback("previous", by="test").done
    assert desk.champion() == 5


def test_a_rollback_restores_the_exact_bytes(desk):
    desk.judged("0 PASS, 1 PASS")
    desk.promoted(0)
    desk.judged("2 PASS, 3 PASS")
    desk.promoted(2)
    small_policy(99).save(desk.policy(0))  # what lay there has changed since
    event = desk.service.rollback(by="test").event
    restored = read_directory(desk.service.store.bundle_path(event.release))
    assert restored == small_policy(0).files()


def test_a_rollback_to_damaged_bytes_is_refused_and_changes_nothing(desk):
    champion_after_three(desk)
    weights = desk.service.store.bundle_path(desk.digests[3]) / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DataError, match=r"policy\.safetensors is damaged"):
        desk.service.rollback(by="test")
    assert desk.champion() == 5


def test_a_swap_by_hand_is_recorded_as_such_with_its_reason(desk):
    desk.judged("0 PASS")
    with pytest.raises(UsageError, match="reason"):
        desk.service.swap(desk.policy(3), by="test", reason=" ")
    assert desk.service.swap(desk.policy(3), by="test", reason="the others are broken").done
    line = desk.lines()[-1]
    assert (line["event"], line["reason"]) == ("policy_swap", "the others are broken")
    status = desk.service.status()
    assert (desk.champion(), status.state, status.streak) == (3, "monitoring", 1)


def test_a_swap_does_not_move_what_a_rollback_goes_back_to(desk):
    champion_after_three(desk)
    desk.service.swap(desk.policy(0), by="test", reason="try it")
    desk.service.rollback(by="test")
    assert desk.champion() == 3


def test_swaps_alone_are_rolled_back_to_the_first_champion(desk):
    for number in (2, 4):
        desk.service.swap(desk.policy(number), by="test", reason="by hand")
    desk.service.rollback(by="test")
    assert desk.champion() == 2


def test_the_same_verdict_of_the_same_evidence_is_recorded_once(desk):
    first = desk.service.record_verdict(desk.policy(0), "FAIL", by="test", evidence_file=b"{}")
    again = desk.service.record_verdict(desk.policy(0), "FAIL", by="test", evidence_file=b"{}")
    assert again.event == first.event
    assert len(desk.lines()) == 1
    desk.service.record_verdict(desk.policy(0), "FAIL", by="test", evidence_file=b"[]")
    assert len(desk.lines()) == 2


def test_who_decided_on_an_older_state_is_told_that_the_race_is_lost(desk):
    desk.judged("0 PASS, 1 PASS")
    head = desk.service.status().head
    desk.judged("2 FAIL")
    desk.judged("3 PASS, 4 PASS")
    with pytest.raises(RaceLostError, match=r"changed by another process \(candidate by test"):
        desk.promoted(4, expected_head=head)
    assert desk.champion() is None


def test_a_policy_that_is_damaged_or_none_is_refused_before_anything_is_written(desk):
    weights = desk.policy(0) / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"policy\.safetensors is damaged"):
        desk.service.record_verdict(desk.policy(0), "PASS", by="test")
    with pytest.raises(MissingInputError):
        desk.service.record_verdict(desk.path / "nowhere", "PASS", by="test")
    assert not (desk.path / "releases").exists()


def test_the_number_of_passes_that_it_takes_is_a_setting(tmp_path):
    desk = Desk(tmp_path, required_passes=1)
    assert desk.judged("0 PASS") == ("ready", 1)
    assert desk.promoted(0).done
    assert desk.judged("1 PASS") == ("ready", 1)


def test_the_services_of_a_configuration_know_where_its_releases_are(tmp_path):
    config = load_config(None, options={"training.runs_dir": str(tmp_path / "runs")}).config
    assert TrainingServices.from_config(config).promotion.releases_dir == tmp_path / "releases"
    named = load_config(None, options={"promotion.releases_dir": str(tmp_path / "else")}).config
    assert TrainingServices.from_config(named).promotion.releases_dir == tmp_path / "else"


def test_after_all_that_every_byte_verifies(desk):
    champion_after_three(desk)
    desk.service.swap(desk.policy(0), by="test", reason="try it")
    desk.service.rollback(by="test")
    report = verify(desk.path / "releases")
    assert (report.problems, report.leftovers) == ((), ())
    assert (report.events, report.bundles) == (11, 6)
