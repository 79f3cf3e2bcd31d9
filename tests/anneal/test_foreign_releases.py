"""Where the releases have become those of another environment while a run was going, its result stays."""

import pytest
from annealing import CLONE, anneal, balanced_poles
from released_policies import small_policy

from townlet_core.errors import RunWarning
from townlet_core.services.promotion import PromotionService


def test_a_verdict_that_the_releases_of_another_environment_refuse_is_a_warning_and_the_result_stays(
    tmp_path, monkeypatch
):
    small_policy(0, environment="gymnasium:Acrobot-v1").save(tmp_path / "other")
    service = PromotionService(releases_dir=tmp_path / "releases")
    service.swap(tmp_path / "other", by="test", reason="another run was faster")
    before = (tmp_path / "releases" / "events.jsonl").read_bytes()
    monkeypatch.setattr("townlet_strategies_anneal.strategy.require_releases", lambda _context: None)
    # the recordings say that they are of the town
    told = r"not recorded with the releases: .* environment town, and the champion .* of gymnasium:Acrobot-v1"
    with pytest.warns(RunWarning, match=told):
        result, run = anneal(tmp_path, [CLONE], dataset=balanced_poles(tmp_path / "demonstrations"))
    assert (result.status, result.promotion_streak) == ("PASS", None)
    assert "--set promotion.releases_dir=DIR" in result.promotion_note
    assert (run / "policy").is_dir()
    assert (tmp_path / "releases" / "events.jsonl").read_bytes() == before
