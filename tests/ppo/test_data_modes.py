"""What PPO learns from a dataset, alone and in turns with rollouts; and that such runs are exact."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from legacy_files import write_capture
from recordings import SCRIPT, TRAINED, episode, recorded
from run_outcome import newest_checkpoint
from town_runs import StopAfter, capture, go, outcome, stop, town_context
from training import Records, context_for

from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import CheckpointError, ConfigError, DatasetError, RunInterrupted
from townlet_core.policy.artefact import load_artefact
from townlet_core.policy.encoder import Encoder, built_in_encoder
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.trajectory import Trajectory
from townlet_strategies_ppo import recorded_survey
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.context import TrainingContext


ONE_STEP = {
    "num_epochs": 1,
    "num_minibatches": 1,
    "total_steps": 1,
    "gamma": 0.98,
    "learning_rate": 1.0,
    "adam_epsilon": 1.0,  # with a small one, the first step is a sign, also where the gradient is all but 0
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "normalised": {"normalize_observations": True, "normalize_rewards": True, "reward_clip": 10.0},
}


class NoEnvironment:
    """A resolver that has none."""

    def encoder(self, name: str) -> Encoder:
        return built_in_encoder(name)


def learn(path: Path | None, dataset: Path, *, num_worlds: int = 2, **settings: Any) -> tuple[Any, Records]:
    """Learn from `dataset` where no environment can be built; return the result and the records."""
    fixed = {"data_mode": "replay", "dataset": dataset, "num_steps": 4, "hidden": (8,), "total_steps": 20}
    made = context_for(path, num_worlds=num_worlds, settings=fixed | settings)
    result = PPOStrategy().run(replace(made, resolver=NoEnvironment()))
    assert isinstance(made.trackers, Records)
    return result, made.trackers


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rollouts of a policy that learns."""
    return capture(tmp_path_factory.mktemp("captured") / "run", total_steps=3 * 11 * 4 * 2)


def test_a_recorded_rollout_teaches_what_it_taught_when_it_was_made(tmp_path) -> None:
    """The town: agents who are absent, lives that end, masks; and the observations of the same policy as then."""
    dataset = capture(tmp_path / "live", **ONE_STEP)
    live = load_artefact(tmp_path / "live" / "policy")
    assert {0, 1, 2} >= set(Dataset(dataset).episodes.ending.tolist()) > {2}
    again, records = learn(tmp_path / "again", dataset, num_worlds=1, **{**ONE_STEP, "num_steps": 500})
    weights = load_artefact(tmp_path / "again" / "policy").weights
    for name, values in live.weights.items():
        np.testing.assert_allclose(weights[name], values, atol=2e-5, err_msg=name)
    assert len(records) == 1
    assert again.kl_divergence == pytest.approx(0, abs=1e-6)
    assert (again.clip_fraction, again.num_epochs_done) == (0, 1)


def test_a_run_on_recordings_needs_no_environment_and_says_what_it_learned_from(tmp_path, captured) -> None:
    rows = Dataset(captured).num_rows
    result, records = learn(tmp_path / "run", captured, num_steps=20, total_steps=2 * rows)
    assert sum(record["transitions"] for record in records) == 2 * rows == result.agent_steps
    per_pass = -(-rows // 40)
    assert [record["cycle_id"] for record in records] == [0] * per_pass + [1] * per_pass
    for record in records:
        assert (record["data_mode"], record["rollout_ticks"], record["episodes"]) == ("replay", 0, 0)
        assert record["episode_return_mean"] is record["shared_meal_events"] is None
    provenance = load_artefact(tmp_path / "run" / "policy").document.provenance
    assert (provenance.environment, provenance.dataset_digest) == ("town", Dataset(captured).digest)


def test_what_earned_more_is_done_more_often(tmp_path) -> None:
    """Episodes of one step, of a policy that chose evenly among three; the third action earns 1."""
    rng = np.random.default_rng(0)
    episodes = []
    for group in range(300):
        action = rng.integers(0, 3, 1)
        steps = {
            "observation": np.zeros((1, 2), np.float32),
            "actions": action,
            "rewards": (action == 2).astype(np.float32),
            "terminations": np.ones(1, np.bool_),
            "truncations": np.zeros(1, np.bool_),
            "log_probs": np.full(1, -np.log(3), np.float32),
            "values": np.full(1, 1 / 3, np.float32),
        }
        episodes.append(Trajectory(steps=steps, ending="terminated", group=group))
    dataset = recorded(tmp_path / "d", episodes, shard_bytes=100_000).path
    learn(tmp_path / "run", dataset, num_worlds=1, num_steps=100, total_steps=900, learning_rate=3e-2)
    policy = load_artefact(tmp_path / "run" / "policy").policy()
    nothing = np.zeros((1, 1, 2), np.float32)
    step = policy.act({"observation": nothing}, None, np.ones((1, 1), np.bool_), None)
    assert step.actions[0, 0] == 2
    assert np.exp(step.log_probs[0, 0]) > 0.37  # the clipped ratio lets it get 1.2 times as likely, and a little more


def test_mixed_is_a_pass_and_then_a_rollout_and_tells_them_apart(tmp_path, captured) -> None:
    rows, num_agents = Dataset(captured).num_rows, int(Dataset(captured).episodes.agent.max()) + 1
    result = go(tmp_path / "run", data_mode="mixed", dataset=captured, total_steps=3 * rows)
    records = outcome(tmp_path / "run", result)["telemetry"]
    per_pass = -(-rows // (11 * 4 * num_agents))
    cycle = [0] * per_pass + [11]
    assert [record["rollout_ticks"] for record in records] == (cycle * 3)[: len(records)]
    assert len(records) > 2 * len(cycle)
    assert [record["cycle_id"] for record in records] == [place // len(cycle) for place in range(len(records))]
    for record in records:
        assert record["data_mode"] == "mixed"
        assert (record["shared_meal_events"] is None) == (record["rollout_ticks"] == 0)
        assert record["baseline_sample_count"] == Dataset(captured).num_episodes
    assert result.agent_steps == sum(record["transitions"] for record in records)


@pytest.mark.parametrize("mode", ["replay", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_stopped_after_every_update_ends_with_the_bytes_of_the_uninterrupted_one(
    tmp_path, captured, mode, kind
) -> None:
    settings = {"data_mode": mode, "dataset": captured, "total_steps": 700, **KINDS[kind]}
    whole = outcome(tmp_path / "whole", go(tmp_path / "whole", **settings))
    path, count = tmp_path / "run", len(whole["telemetry"])
    assert count > 5
    stop(path, 1, **settings)
    for after in range(2, count):
        stop(path, after, resume=True, **settings)
    result = go(path, resume=True, **settings)
    assert outcome(path, result) == whole
    assert (result.num_resumes, result.episodes_restarted, result.exact) == (0, False, True)


class Full(Records):
    """A tracker that ends the run in its update `update`."""

    def __init__(self, update: int) -> None:
        super().__init__()
        self.update = update

    def log(self, record: dict[str, Any]) -> None:
        if record["epoch"] == self.update:
            raise OSError("no space left")


@pytest.mark.parametrize("lost", [1, 2, 4, 5, 6])
def test_an_update_that_was_lost_is_made_again_to_the_byte(tmp_path, captured, lost) -> None:
    """Three updates of recorded rows and one rollout are a cycle; every second update is kept."""
    settings = {"data_mode": "mixed", "dataset": captured, "total_steps": 700}
    whole = go(tmp_path / "whole", **settings)
    made = town_context(tmp_path / "run", **settings)
    with pytest.raises(OSError, match="no space left"):
        PPOStrategy().run(replace(made, trackers=Full(lost)))
    assert CheckpointStore(tmp_path / "run" / "checkpoints").load_newest().step == (lost - 1) // 2 * 2
    result = go(tmp_path / "run", resume=True, **settings)
    assert result.policy_digest == whole.policy_digest
    assert newest_checkpoint(tmp_path / "run") == newest_checkpoint(tmp_path / "whole")


@pytest.mark.parametrize("mode", ["replay", "mixed"])
def test_a_run_does_not_go_on_with_another_dataset(tmp_path, mode) -> None:
    dataset = capture(tmp_path / "one" / "run", total_steps=1)
    settings = {"data_mode": mode, "dataset": dataset}
    stop(tmp_path / "run", 1, **settings)
    other = capture(tmp_path / "other" / "run", total_steps=200)
    with pytest.raises(CheckpointError, match="has changed since this run began"):
        go(tmp_path / "run", resume=True, **{**settings, "dataset": other})


def test_a_stage_that_continues_another_begins_a_pass_of_its_own(tmp_path, captured) -> None:
    settings = {"data_mode": "replay", "dataset": captured, "learning_rate_schedule": "constant"}
    first = go(tmp_path / "first", total_steps=1, **settings)
    files = CheckpointStore(tmp_path / "first" / "checkpoints").load_newest().files
    made = replace(town_context(tmp_path / "second", total_steps=300, **settings), continuation=files)
    second = PPOStrategy().run(made)
    assert (first.cycle_id, first.epoch) == (0, 1)
    assert made.trackers[0]["cycle_id"] == 1
    assert second.epoch == len(made.trackers) + 1


def test_recordings_of_the_earlier_format_are_imported_and_learned_from(tmp_path) -> None:
    write_capture(tmp_path / "old", 5)
    result, records = learn(tmp_path / "run", tmp_path / "old", total_steps=60)
    assert (tmp_path / "run" / "data" / "dataset.json").is_file()
    assert all(np.isfinite([record["loss_total"], record["kl_k3"]]).all() for record in records)
    assert result.baseline_sample_count == 5
    assert set(result.conflict) == {
        f"{name}_{kind}_avg" for name in ("rivalry_max", "rivalry_avoid_count") for kind in ("mean", "max")
    }


@pytest.mark.parametrize("rows_at_once", [2, 1000])
def test_the_baseline_is_of_the_accepted_episodes(tmp_path, monkeypatch, rows_at_once) -> None:
    monkeypatch.setattr(recorded_survey, "_ROWS_AT_ONCE", rows_at_once)
    episodes = [episode(1, 3), episode(2, 4, "cut"), episode(3, 8, accepted=False)]
    result, _ = learn(None, recorded(tmp_path / "d", episodes).path)
    first, second = np.float32([0.1, 0.101, 0.102]), np.float32([0.2, 0.201, 0.202, 0.203])
    assert result.baseline_sample_count == 2
    assert result.baseline_reward_mean == pytest.approx((first.mean() + second.mean()) / 2)
    assert result.baseline_reward_sum == pytest.approx(first.sum() + second.sum())
    assert result.baseline_reward_sum_mean == pytest.approx((first.sum() + second.sum()) / 2)
    assert result.baseline_log_prob_mean == pytest.approx(-(0.2 + 0.3) / 2)


def test_rows_of_a_script_are_refused_unless_they_are_allowed_by_name(tmp_path) -> None:
    sources = (TRAINED, SCRIPT, SCRIPT.model_copy(update={"policy": "its friend"}))
    episodes = [episode(0, 3), episode(1, 3, source=1), episode(2, 5, source=2)]
    episodes[2].steps["log_probs"][:] = 0
    dataset = recorded(tmp_path / "d", episodes, sources=sources).path
    with pytest.raises(DatasetError) as caught:
        learn(None, dataset, allow_scripts=("scripted",))
    told = '--set \'strategies.ppo.allow_scripts=["its friend", "scripted"]\''
    assert told in str(caught.value)
    assert "of 'its friend' are 0 throughout" in str(caught.value)
    result, _ = learn(None, dataset, allow_scripts=("scripted", "its friend"), total_steps=11)
    assert result.agent_steps == 11


def test_what_a_policy_did_without_drawing_is_refused_unless_it_is_allowed_by_name(tmp_path) -> None:
    sources = (TRAINED.model_copy(update={"policy": "greedy one", "deterministic": True}),)
    dataset = recorded(tmp_path / "d", [episode(0, 6)], sources=sources).path
    with pytest.raises(
        DatasetError, match=r"'greedy one' took the most likely action every time.*capture --stochastic"
    ):
        learn(None, dataset)
    assert learn(None, dataset, allow_scripts=("greedy one",), total_steps=6)[0].agent_steps == 6


def test_a_policy_that_was_sure_at_times_is_no_script(tmp_path) -> None:
    one = episode(0, 6)
    one.steps["log_probs"][:5] = 0
    dataset = recorded(tmp_path / "d", [one, episode(1, 4, source=1, accepted=False)]).path
    assert learn(None, dataset, total_steps=6)[0].agent_steps == 6


@pytest.mark.parametrize("name", ["rewards", "log_probs", "values"])
def test_a_column_that_was_not_recorded_is_named_with_what_to_do(tmp_path, name) -> None:
    one = episode(0, 3)
    del one.steps[name]
    with pytest.raises(DatasetError, match=rf"has no column '{name}': .*capture_rollouts=true.*--strategy bc"):
        learn(None, recorded(tmp_path / "d", [one]).path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda steps: steps["actions"].__setitem__(1, 3), "action 3 does not exist, there are 3 from 0 on"),
        (lambda steps: steps["action_mask"].__setitem__((1, 1), False), "1 of 3 rows take an action that their own"),
        (lambda steps: steps["log_probs"].__setitem__(1, np.nan), "'log_probs' is not finite"),
        (lambda steps: steps["values"].__setitem__(1, np.inf), "'values' is not finite"),
        (lambda steps: steps.update(values=np.arange(3)), "'values' is <i8 of shape"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_anything_is(tmp_path, change, told) -> None:
    one = episode(0, 3, masked=True)
    change(one.steps)
    with pytest.raises(DatasetError) as caught:
        learn(None, recorded(tmp_path / "d", [one]).path)
    assert told in str(caught.value)


def test_nothing_accepted_is_an_error(tmp_path) -> None:
    with pytest.raises(DatasetError, match="a curator has rejected all of them"):
        learn(None, recorded(tmp_path / "d", [episode(0, 3, accepted=False)]).path)


def test_a_dataset_goes_with_a_data_mode_that_reads_it(tmp_path) -> None:
    dataset = recorded(tmp_path / "d", [episode(0, 3)]).path
    with pytest.raises(
        ConfigError, match=r"data_mode is 'mixed', and strategies\.ppo\.dataset is not set: .*dataset=DIR"
    ):
        PPOStrategy().run(context_for(None, settings={"data_mode": "mixed"}))
    with pytest.raises(ConfigError, match=r"data_mode 'rollout' learns from no dataset: choose .*data_mode=replay"):
        PPOStrategy().run(context_for(None, settings={"dataset": dataset}))


def test_mixed_wants_what_the_environment_shows_and_lists_what_differs(tmp_path) -> None:
    dataset = recorded(tmp_path / "d", [episode(0, 3)]).path
    with pytest.raises(DatasetError) as caught:
        PPOStrategy().run(town_context(None, data_mode="mixed", dataset=dataset))
    for line in (
        "observation: Box(2,) float32 in [-1000.0, 1000.0] was recorded, and the environment shows nothing",
        "observation.features: nothing was recorded, and the environment shows Box(89,)",
        "actions: Discrete(3) was recorded, and the environment takes Discrete(8)",
        "data_mode=replay",
    ):
        assert line in str(caught.value)


def test_mixed_refuses_other_names_of_the_same_numbers(tmp_path) -> None:
    town = town_context(None).resolver.environment(town_context(None).config.environment)
    rows = {name: np.zeros((2, *space.shape), space.dtype) for name, space in town.observation_spaces.items()}
    columns = {name: column for name, column in episode(0, 2).steps.items() if name != "observation"}
    one = Trajectory(steps={**rows, **columns}, ending="terminated")
    names = {"observation.features": tuple(f"number {index}" for index in range(89))}
    dataset = recorded(
        tmp_path / "d",
        [one],
        observation_spaces=town.observation_spaces,
        action_space=town.action_space,
        action_names=tuple("abcdefgh"),
        feature_names=names,
    ).path
    with pytest.raises(DatasetError) as caught:
        PPOStrategy().run(town_context(None, data_mode="mixed", dataset=dataset))
    assert "actions: they have other names" in str(caught.value)
    assert "observation.features: its entries have other names" in str(caught.value)


CARTPOLE = {
    "observation_spaces": {"observation": CartPoleEnv().observation_space},
    "action_space": CartPoleEnv().action_space,
}


def balanced(number: int, *, masked: bool = False) -> Trajectory:
    """Return a recorded episode of CartPole; its numbers mean nothing."""
    columns = episode(number, 20, masked=masked).steps
    rng = np.random.default_rng(number)
    columns["observation"] = rng.normal(size=(20, 4)).astype(np.float32)
    columns["actions"] = rng.integers(0, 2, 20)
    if masked:
        columns["action_mask"] = np.ones((20, 2), np.bool_)
    return Trajectory(steps=columns, ending="terminated", group=number)


def cartpole(path: Path | None, dataset: Path, **settings: Any) -> TrainingContext:
    fixed = {"data_mode": "mixed", "dataset": dataset, "num_epochs": 1, "hidden": (8,), "total_steps": 250}
    return context_for(
        path,
        name="gymnasium:CartPole-v1",
        vectorization="entry_point",
        num_worlds=2,
        settings=fixed | settings,
    )


@pytest.mark.parametrize(("after", "lost"), [(1, 0), (2, 0), (4, 1)])
def test_only_who_has_acted_loses_episodes_where_the_environment_has_no_snapshots(tmp_path, after, lost) -> None:
    """A pass takes three updates, and a rollout follows."""
    dataset = recorded(tmp_path / "d", [balanced(number) for number in range(4)], **CARTPOLE).path
    whole = PPOStrategy().run(cartpole(tmp_path / "whole", dataset))
    made = cartpole(tmp_path / "run", dataset)
    with pytest.raises(RunInterrupted):
        PPOStrategy().run(replace(made, stop=StopAfter(made.trackers, after)))
    result = PPOStrategy().run(replace(made, trackers=Records(), resume=True))
    assert (result.num_resumes, result.episodes_restarted) == (lost, lost > 0)
    assert result.epoch == whole.epoch > 5
    assert (result.policy_digest == whole.policy_digest) == (lost == 0)


def test_mixed_refuses_masks_where_the_environment_has_none(tmp_path) -> None:
    dataset = recorded(tmp_path / "d", [balanced(0, masked=True)], **CARTPOLE).path
    with pytest.raises(DatasetError, match=r"the dataset has action masks, and .*CartPole-v1' has none"):
        PPOStrategy().run(cartpole(None, dataset))


def test_a_policy_of_recordings_that_cannot_be_evaluated_is_refused_first(tmp_path) -> None:
    dataset = recorded(tmp_path / "d", [episode(0, 3)]).path
    settings = {"data_mode": "replay", "dataset": dataset}
    with pytest.raises(ConfigError, match="evaluate_every"):
        PPOStrategy().run(town_context(None, training={"evaluate_every": 1}, **settings))
