"""One directory of releases is for one environment: who brings a policy of another one is told, and nothing changes."""

import json

import pytest
from released_policies import comparison, small_policy

from townlet_core.cli.main import main
from townlet_core.config.promotion import PromotionConfig
from townlet_core.errors import UsageError
from townlet_core.services.promotion import PromotionService

CARTPOLE = "gymnasium:CartPole-v1"


@pytest.fixture
def service(tmp_path):
    settings = PromotionConfig(required_passes=1)
    return PromotionService(settings=settings, releases_dir=tmp_path / "releases", clock=lambda: 1_000_000.0)


@pytest.fixture
def policy(tmp_path):
    """Write a policy of an environment; returns its directory and its digest."""

    def policy(seed, environment=CARTPOLE):
        path = tmp_path / "policies" / str(seed)
        path.parent.mkdir(exist_ok=True)
        return path, small_policy(seed, environment=environment).save(path)

    return policy


def log(service):
    return (service.releases_dir / "events.jsonl").read_bytes()


def champion_of(service, source, digest):
    assert service.record_verdict(source, "PASS", by="test").done
    assert service.promote(source, comparison(digest, "scripted"), by="test").done


@pytest.mark.parametrize("verdict", ["PASS", "HOLD", "FAIL"])
def test_a_verdict_on_a_policy_of_another_environment_than_the_champion_is_not_recorded(service, policy, verdict):
    champion_of(service, *policy(0))
    before = log(service)
    with pytest.raises(UsageError, match=rf"environment town, and the champion .* is of {CARTPOLE}.*--releases DIR"):
        service.record_verdict(policy(1, "town")[0], verdict, by="test")
    assert log(service) == before
    assert len(list((service.releases_dir / "bundles").iterdir())) == 1


def test_a_candidate_and_a_policy_that_only_passed_say_which_environment_it_is_too(tmp_path, policy):
    for required, name in ((1, "the candidate"), (2, "release")):
        service = PromotionService(settings=PromotionConfig(required_passes=required), releases_dir=tmp_path / name)
        service.record_verdict(policy(0)[0], "PASS", by="test")
        with pytest.raises(UsageError, match=f"and {name} "):
            service.record_verdict(policy(1, "town")[0], "PASS", by="test")


def test_a_policy_of_another_environment_is_not_promoted_by_force_either(service, policy):
    champion_of(service, *policy(0))
    before, (other, digest) = log(service), policy(1, "town")
    with pytest.raises(UsageError, match="one environment"):
        service.swap(other, by="test", reason="by hand")
    with pytest.raises(UsageError, match="one environment"):
        service.promote(other, comparison(digest, service.status().champion), by="test")
    with pytest.raises(UsageError, match="one environment"):
        service.obstacles(other)
    assert log(service) == before


def test_the_commands_say_so_before_they_compare_anything(tmp_path, service, policy, capsys):
    champion_of(service, *policy(0))
    other = str(policy(1, "town")[0])
    for arguments in (
        ("promote", other),
        ("promote", other, "--force", "--reason", "by hand"),
        ("releases", "record", other),
        ("releases", "record", other, "--verdict", "FAIL", "--reason", "seen"),
    ):
        assert main([*arguments, "--releases", str(service.releases_dir)]) == 64
        assert "one directory of releases is for one environment" in capsys.readouterr().err
    elsewhere = ("--releases", str(tmp_path / "town-releases"))
    assert main(["promote", other, "--force", "--reason", "the first", *elsewhere]) == 0


def test_a_policy_of_an_unknown_environment_is_let_pass_and_decides_nothing(service, policy):
    champion_of(service, *policy(0, ""))
    assert service.record_verdict(policy(1, "town")[0], "PASS", by="test").done
    assert service.record_verdict(policy(2, "")[0], "PASS", by="test").done


def test_a_champion_whose_bundle_is_damaged_can_still_be_replaced_by_hand(service, policy):
    source, digest = policy(0)
    champion_of(service, source, digest)
    (service.store.bundle_path(digest) / "policy.json").write_text("{")
    assert service.swap(policy(1)[0], by="test", reason="the other one is damaged").done


def test_who_has_mixed_them_with_an_earlier_version_can_go_back(service, policy, monkeypatch):
    champion_of(service, *policy(0))
    with monkeypatch.context() as earlier:
        earlier.setattr("townlet_core.services.promotion.require_environment", lambda *_, **__: None)
        assert service.swap(policy(1, "town")[0], by="test", reason="by hand").done
    assert service.rollback("previous", by="test").done
    assert json.loads(log(service).splitlines()[-1])["event"] == "rollback"
    assert service.record_verdict(policy(2)[0], "PASS", by="test").done
