"""A run in the town that is taken up again ends with the bytes of one that was never interrupted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from run_outcome import newest_checkpoint
from town_runs import UPDATES, StopAfter, go, outcome, stop, town_context
from training import Records, context_for

from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.dto.base import without_clock
from townlet_core.errors import CheckpointError, RunInterrupted
from townlet_core.runs.layout import RunDirectory
from townlet_core.services.capture import RolloutCaptureService
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.context import TrainingContext

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "normalised": {"normalize_observations": True, "normalize_rewards": True, "reward_clip": 10.0},
    "schedules": {"clip_range_schedule": "linear", "learning_rate_schedule": "linear", "target_kl": 0.02},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    path = tmp_path_factory.mktemp("uninterrupted")
    return {kind: outcome(path / kind, go(path / kind, **settings)) for kind, settings in KINDS.items()}


def test_lives_and_episodes_end_in_the_run_that_the_others_are_compared_with(uninterrupted) -> None:
    records = uninterrupted["plain"]["telemetry"]
    assert len(records) >= UPDATES
    assert sum(record["environment.agent_exit"] for record in records) > 5
    assert sum(record["episodes"] for record in records) > sum(record["environment.agent_exit"] for record in records)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_stopped_after_every_update_ends_with_the_bytes_of_the_uninterrupted_one(
    tmp_path, uninterrupted, kind
) -> None:
    settings, path = KINDS[kind], tmp_path / "run"
    stop(path, 1, **settings)
    for after in range(2, len(uninterrupted[kind]["telemetry"])):
        stop(path, after, resume=True, **settings)
    result = go(path, resume=True, **settings)
    assert outcome(path, result) == uninterrupted[kind]
    assert (result.num_resumes, result.episodes_restarted) == (0, False)


@pytest.mark.parametrize("lost", [1, 2])
def test_updates_since_an_older_checkpoint_are_made_again_to_the_byte(tmp_path, uninterrupted, lost) -> None:
    path = tmp_path / "run"
    stop(path, 3, **KINDS["normalised"])
    stop(path, 4, resume=True, **KINDS["normalised"])
    store = CheckpointStore(path / "checkpoints")
    for step in store.steps()[-lost:]:
        (path / "checkpoints" / f"{step:012d}" / "state.safetensors").write_bytes(b"torn")
    if lost == 1:
        with pytest.warns(UserWarning, match="a newer checkpoint was skipped"):
            result = go(path, resume=True, **KINDS["normalised"])
        assert outcome(path, result) == uninterrupted["normalised"]
    else:
        with pytest.raises(CheckpointError, match="is intact"):
            go(path, resume=True, **KINDS["normalised"])


def test_a_run_that_is_taken_up_before_its_first_update_or_after_its_last_is_exact_too(tmp_path, uninterrupted) -> None:
    path = tmp_path / "run"
    first = go(path)
    assert outcome(path, go(path, resume=True)) == uninterrupted["plain"] == outcome(path, first)

    class Full(Records):
        def log(self, record):
            raise OSError("no space left")

    other = town_context(tmp_path / "other")
    with pytest.raises(OSError, match="no space left"):
        PPOStrategy().run(replace(other, trackers=Full()))
    assert RunDirectory(tmp_path / "other").checkpoints().steps() == [0]
    result = go(tmp_path / "other", resume=True)
    assert outcome(tmp_path / "other", result) == uninterrupted["plain"]


def changed_rollout(path: Path, change: Any) -> None:
    store = CheckpointStore(path / "checkpoints")
    loaded = store.load_newest()
    arrays = safetensors.numpy.load(loaded.files["rollout.safetensors"])
    change(arrays)
    store.save(loaded.step, loaded.files | {"rollout.safetensors": safetensors.numpy.save(arrays)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: arrays.update(returns=arrays["returns"][:2]), "'returns' is float64"),
        (lambda arrays: arrays.pop("environment.tick"), r"'environment\.tick' is missing"),
        (lambda arrays: arrays.pop("rewards.discounted"), r"'rewards\.discounted' is not what this run"),
        (lambda arrays: arrays.update({"rewards.discounted": np.zeros((1, 3))}), r"'rewards\.discounted' is not what"),
    ],
)
def test_running_episodes_that_do_not_fit_are_refused_by_file_and_name(tmp_path, change, told) -> None:
    path = tmp_path / "run"
    stop(path, 1, **KINDS["normalised"])
    changed_rollout(path, change)
    with pytest.raises(CheckpointError, match=rf"checkpoints/0+1: rollout\.safetensors: .*{told}"):
        go(path, resume=True, **KINDS["normalised"])


def test_running_episodes_of_another_number_of_worlds_are_refused_by_name(tmp_path) -> None:
    path = tmp_path / "run"
    stop(path, 1)
    with pytest.raises(CheckpointError, match=r"rollout\.safetensors: the snapshot is not of this rollout: '.*' is"):
        go(path, resume=True, num_worlds=2)


def test_a_stage_that_continues_another_goes_on_within_its_episodes(tmp_path, uninterrupted) -> None:
    """The first stage makes a few updates of the same schedule; constant rates, so that its length does not matter."""
    constant = {"learning_rate_schedule": "constant"}
    whole = go(tmp_path / "whole", **constant)
    first = go(tmp_path / "first", total_steps=2 * 11 * 4 * 2, **constant)
    files = CheckpointStore(tmp_path / "first" / "checkpoints").load_newest().files
    made = replace(town_context(tmp_path / "second", **constant), continuation=files)
    second = PPOStrategy().run(made)
    assert 0 < first.epoch < second.epoch == whole.epoch
    assert (second.policy_digest, second.num_resumes) == (whole.policy_digest, 0)
    assert (
        newest_checkpoint(tmp_path / "second")["rollout.safetensors"]
        == newest_checkpoint(tmp_path / "whole")["rollout.safetensors"]
    )


class Killed(Records):
    def log(self, record):
        raise RuntimeError("killed")


def cartpole(path: Path | None, total_steps: int = 3 * 16 * 4) -> TrainingContext:
    settings = {"num_epochs": 1, "hidden": (8,), "total_steps": total_steps}
    return context_for(path, name="gymnasium:CartPole-v1", num_worlds=4, vectorization="entry_point", settings=settings)


def test_where_no_episode_is_lost_a_run_without_snapshots_is_exact_and_does_not_say_otherwise(tmp_path) -> None:
    whole = PPOStrategy().run(cartpole(tmp_path / "whole"))

    class Full(Records):
        def log(self, record):
            raise OSError("no space left")

    begun = cartpole(tmp_path / "run")
    with pytest.raises(OSError, match="no space left"):
        PPOStrategy().run(replace(begun, trackers=Full()))
    resumed = replace(begun, trackers=Records(), resume=True)
    before_the_first = PPOStrategy().run(resumed)
    after_the_last = PPOStrategy().run(resumed)
    for result in (before_the_first, after_the_last):
        assert without_clock(result.model_dump()) == without_clock(whole.model_dump())
        assert (result.num_resumes, result.episodes_restarted) == (0, False)


def test_a_stage_that_cannot_go_on_within_episodes_begins_new_ones_and_that_is_no_resume(tmp_path, monkeypatch) -> None:
    seeds, start = [], RolloutCaptureService.start

    def noted(*given, **named):
        seeds.append(named["seeds"])
        return start(*given, **named)

    monkeypatch.setattr(RolloutCaptureService, "start", noted)
    PPOStrategy().run(cartpole(tmp_path / "first"))
    files = CheckpointStore(tmp_path / "first" / "checkpoints").load_newest().files
    assert "rollout.safetensors" not in files
    longer = cartpole(tmp_path / "second", total_steps=6 * 16 * 4)
    second = replace(longer, continuation=files)
    with pytest.raises(RunInterrupted):
        PPOStrategy().run(replace(second, stop=StopAfter(second.trackers, 1)))
    kept = newest_checkpoint(tmp_path / "second")["state.json"]
    assert kept["update"] > 3
    assert kept["num_resumes"] == 0
    whole = PPOStrategy().run(replace(cartpole(tmp_path / "whole", total_steps=6 * 16 * 4), continuation=files))
    begun = replace(cartpole(tmp_path / "begun", total_steps=6 * 16 * 4), continuation=files)
    with pytest.raises(RuntimeError, match="killed"):
        PPOStrategy().run(replace(begun, trackers=Killed()))
    again = PPOStrategy().run(replace(begun, trackers=Records(), resume=True))
    assert without_clock(again.model_dump()) == without_clock(whole.model_dump()), "nobody had acted in the stage"
    result = PPOStrategy().run(replace(second, trackers=Records(), resume=True))
    assert result.epoch > kept["update"]
    assert (result.num_resumes, result.episodes_restarted) == (1, True), "that was one"
    assert len(set(seeds)) == 3, "nobody meets the episodes of before again"
