"""A run of behaviour cloning: what it learns, what it keeps, when it stops, what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bc_data import NUM_ACTIONS, SIZE, demonstrations, episode, rule
from bc_runs import Records, clone, context_for
from gymnasium import spaces

from townlet_core.errors import ConfigError, DatasetError, MissingInputError, TownletWarning
from townlet_core.policy.artefact import load_artefact
from townlet_core.replay.trajectory import Trajectory
from townlet_strategies_bc.metrics import HeldOutMetrics, output_names
from townlet_strategies_bc.strategy import BCStrategy

LONG = {"num_steps": 200}


def greedy(artefact, observations, mask=None):
    """Return the most likely actions of a policy."""
    rows = len(observations)
    legal = None if mask is None else mask[:, None]
    step = artefact.policy().act({"observation": observations[:, None]}, legal, np.ones((rows, 1), bool), None)
    return step.actions[:, 0]


def test_a_deterministic_rule_is_cloned_to_the_last_row_or_so(tmp_path):
    dataset = demonstrations(tmp_path / "d", 40, **LONG)
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=30, hidden=(64,), batch_size=64)
    assert cloned.result.accuracy > 0.97
    assert cloned.result.gate_passed is True
    fresh = np.random.default_rng(99).normal(size=(2000, SIZE)).astype(np.float32)
    assert (greedy(cloned.artefact, fresh) == rule(fresh)).mean() > 0.96


def test_the_result_counts_what_the_run_did(tmp_path):
    dataset = demonstrations(tmp_path / "d", 10)
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=3, patience=None)
    result = cloned.result
    assert (result.num_train_groups, result.num_held_out_groups, result.held_out_by) == (9, 1, "fraction")
    assert (result.num_train_rows, result.num_held_out_rows) == (450, 50)
    assert (result.num_epochs_done, result.stop_reason) == (3, "epochs")
    assert [record["epoch"] for record in cloned.records] == [1, 2, 3]
    assert [record["updates"] for record in cloned.records] == [28] * 3
    assert [record["transitions"] for record in cloned.records] == [28 * 16] * 3
    assert [record["steps"] for record in cloned.records] == [28, 56, 84]
    assert [record["agent_steps"] for record in cloned.records] == [448, 896, 1344]
    assert {record["total_steps"] for record in cloned.records} == {1344}
    assert (result.manifest, result.dataset_digest) == (str(dataset.path), dataset.digest)
    provenance = cloned.artefact.document.provenance
    assert (provenance.strategy, provenance.dataset_digest) == ("bc", dataset.digest)
    assert (provenance.environment, provenance.agent_steps) == ("town", result.agent_steps)
    assert result.artefact.digest == cloned.artefact.digest
    assert sum(action.support for action in result.actions.values()) == 50
    assert sum(action.predicted for action in result.actions.values()) == 50


def test_what_a_record_says_of_an_action_is_flat_in_the_telemetry(tmp_path):
    cloned = clone(tmp_path / "run", demonstrations(tmp_path / "d").path, num_epochs=1)
    record = cloned.records[0]
    assert record["actions.2.support"] == cloned.result.actions["2"].support
    assert record["actions.2.recall"] == cloned.result.actions["2"].recall
    assert "actions" not in record


@pytest.mark.parametrize(
    ("schedule", "first", "middle"), [("constant", 1.0, 1.0), ("linear", 1.0, 0.5), ("cosine", 1.0, 0.5)]
)
def test_the_learning_rate_follows_its_schedule(tmp_path, monkeypatch, schedule, first, middle):
    import townlet_strategies_bc.update as update_module

    seen = []
    step = update_module.Updater.step
    monkeypatch.setattr(
        update_module.Updater,
        "step",
        lambda self, batch, *, learning_rate: (seen.append(learning_rate), step(self, batch, learning_rate=1e-3)),
    )
    dataset = demonstrations(tmp_path / "d", 10)
    clone(tmp_path / "run", dataset.path, num_epochs=2, learning_rate_schedule=schedule, learning_rate=0.5)
    assert len(seen) == 56
    assert (seen[0], seen[28]) == pytest.approx((0.5 * first, 0.5 * middle))
    assert seen[-1] == 0.5 if schedule == "constant" else seen[-1] < 0.02


# -- early stop, and the best is kept ---------------------------------------------------------------------------------


def scripted_losses(monkeypatch, losses):
    """Let the held-out losses of the passes be these."""
    given = iter(losses)
    real = HeldOutMetrics.fields
    monkeypatch.setattr(HeldOutMetrics, "fields", lambda self: real(self).model_copy(update={"nll": next(given)}))


def test_a_run_stops_when_the_held_out_loss_falls_no_more_and_keeps_the_best(tmp_path, monkeypatch):
    dataset = demonstrations(tmp_path / "d")
    scripted_losses(monkeypatch, [0.9, 0.5, 0.6, 0.5, 0.7, 0.1])
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=50, patience=3)
    result = cloned.result
    assert (result.num_epochs_done, result.stop_reason, result.epoch, result.nll) == (5, "patience", 2, 0.5)
    assert [record["is_best"] for record in cloned.records] == [True, True, False, False, False]
    assert result.artefact.kind == "best"
    assert result.policy_digest == cloned.records[1]["policy_digest"] != cloned.records[4]["policy_digest"]
    assert digest_of(cloned.artefact) == result.policy_digest
    assert result.loss == cloned.records[1]["loss"]
    assert result.agent_steps == cloned.records[1]["agent_steps"]
    assert result.agent_steps_done == cloned.records[4]["agent_steps"]


def test_the_last_weights_are_in_the_checkpoint_beside_the_best(tmp_path, monkeypatch):
    import safetensors.numpy

    dataset = demonstrations(tmp_path / "d")
    scripted_losses(monkeypatch, [0.5, 0.6, 0.7])
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=3)
    arrays = safetensors.numpy.load(cloned.run.checkpoints().load_newest().files["state.safetensors"])
    assert sha256(arrays["best"]) == cloned.records[0]["policy_digest"]
    assert sha256(arrays["parameters"]) == cloned.records[2]["policy_digest"]


def test_without_patience_every_pass_is_made(tmp_path, monkeypatch):
    dataset = demonstrations(tmp_path / "d")
    scripted_losses(monkeypatch, range(10))
    assert clone(tmp_path / "run", dataset.path, num_epochs=7, patience=None).result.num_epochs_done == 7


def sha256(array):
    import hashlib

    return hashlib.sha256(array.tobytes()).hexdigest()


def digest_of(artefact):
    from townlet_core.policy.encoder import FlattenEncoder
    from townlet_core.policy.weights import layout

    return sha256(layout(artefact.spec, FlattenEncoder()).flatten(artefact.weights))


# -- nothing held out, degenerate labels, ambiguous labels ------------------------------------------------------------


def test_with_nothing_held_out_nothing_is_measured_and_the_last_weights_are_kept(tmp_path):
    dataset = demonstrations(tmp_path / "d", 1)
    cloned = clone(tmp_path / "run", dataset.path, held_out_fraction=0.0, num_epochs=7, patience=1)
    result = cloned.result
    assert (result.accuracy, result.nll, result.ece, result.accuracy_ceiling) == (None,) * 4
    assert (result.gate_passed, result.gate_reason, result.held_out_by) == (None, "nothing was held out", "nothing")
    assert (result.num_epochs_done, result.epoch, result.artefact.kind) == (7, 7, "last")
    assert digest_of(cloned.artefact) == cloned.records[-1]["policy_digest"]
    assert result.train_accuracy > 0.5


@pytest.mark.parametrize("rare", [0, 2])
def test_degenerate_labels_are_said_and_never_pass_the_gate(tmp_path, rare):
    actions = np.zeros(400, np.int64)
    actions[:rare] = 3
    rng = np.random.default_rng(0)
    episodes = [episode(rng, num_steps=400, policy=lambda _: actions, group=group) for group in range(4)]
    dataset = demonstrations(tmp_path / "d", episodes)
    with pytest.warns(TownletWarning, match="the labels are degenerate"):
        result = clone(tmp_path / "run", dataset.path).result
    assert result.accuracy > 0.98
    assert (result.labels_degenerate, result.gate_passed) == (True, False)
    assert (result.num_actions_seen, result.label_majority_share) == (1 + (rare > 0), 1 - rare / 400)
    assert "degenerate" in result.gate_reason


def test_the_ceiling_stands_beside_the_accuracy_and_explains_a_gate_that_cannot_be_passed(tmp_path):
    """Two situations; in one of them the demonstrator does one thing in 3 of 5 cases."""

    def ambiguous(observations):
        observations[:] = (np.arange(len(observations)) % 2)[:, None]
        return np.where(np.arange(len(observations)) % 10 < 6, 0, np.arange(len(observations)) % 2)

    rng = np.random.default_rng(0)
    episodes = [episode(rng, num_steps=100, policy=ambiguous, group=group) for group in range(8)]
    result = clone(tmp_path / "run", demonstrations(tmp_path / "d", episodes).path, num_epochs=20).result
    assert result.accuracy_ceiling == pytest.approx(0.8)
    assert result.accuracy == pytest.approx(0.8)
    assert (result.ceiling_rows, result.ceiling_repeated_share) == (100, 1.0)
    assert (result.gate_passed, result.held_out_majority_share) == (False, 0.8)
    assert "allow 0.8000 at most" in result.gate_reason


def test_where_no_observation_occurs_twice_no_ceiling_is_claimed(tmp_path):
    result = clone(tmp_path / "run", demonstrations(tmp_path / "d").path, num_epochs=1).result
    assert (result.accuracy_ceiling, result.ceiling_repeated_share, result.ceiling_rows) == (None, 0.0, 50)


# -- masks, weights, values, other action spaces ----------------------------------------------------------------------


def test_masks_decide_what_can_be_learned_and_are_never_left(tmp_path):
    """The demonstrator takes the first legal action: without the mask that looks random, with it it is a constant."""
    rng = np.random.default_rng(0)
    episodes = []
    for group in range(10):
        made = episode(rng, num_steps=100, masked=True, group=group)
        made.steps["actions"][:] = made.steps["action_mask"].argmax(axis=1)
        episodes.append(made)
    dataset = demonstrations(tmp_path / "d", episodes)
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=20, label_smoothing=0.1)
    assert cloned.result.accuracy > 0.97
    mask = rng.random((500, NUM_ACTIONS)) < 0.5
    mask[~mask.any(axis=1), 2] = True
    observations = rng.normal(size=(500, SIZE)).astype(np.float32)
    chosen = greedy(cloned.artefact, observations, mask)
    assert mask[np.arange(500), chosen].all()
    assert (chosen == mask.argmax(axis=1)).mean() > 0.95


def test_balanced_weights_find_what_is_rare(tmp_path):
    def rare(observations):
        return (observations[:, 0] + 0.8 * np.random.default_rng(1).normal(size=len(observations)) > 1.9) * 1

    dataset = demonstrations(tmp_path / "d", 20, num_steps=200, policy=rare)
    plain, weighted = (
        clone(tmp_path / weights, dataset.path, class_weights=weights, num_epochs=10, held_out_fraction=0.3).result
        for weights in ("none", "balanced")
    )
    assert weighted.actions["1"].recall > plain.actions["1"].recall + 0.3
    assert weighted.actions["1"].precision < plain.actions["1"].precision


def test_several_choices_are_cloned_together(tmp_path):
    space = spaces.MultiDiscrete([3, 2])

    def both(observations):
        return np.stack([observations[:, :3].argmax(axis=1), observations[:, 3] > 0], axis=1).astype(np.int64)

    dataset = demonstrations(tmp_path / "d", 20, num_steps=200, policy=both, action_space=space)
    result = clone(tmp_path / "run", dataset.path, num_epochs=25).result
    assert result.accuracy > 0.93
    assert list(result.actions) == ["0.0", "0.1", "0.2", "1.0", "1.1"]


def test_continuous_actions_are_cloned_by_likelihood(tmp_path):
    space = spaces.Box(-5.0, 5.0, (2,), np.float32)

    def linear(observations):
        return (observations[:, :2] * [1.0, -0.5]).astype(np.float32)

    dataset = demonstrations(tmp_path / "d", 20, num_steps=200, policy=linear, action_space=space)
    cloned = clone(tmp_path / "run", dataset.path, num_epochs=25, weight_decay=1e-3)
    result = cloned.result
    assert result.mean_absolute_error < 0.1
    assert result.nll < -1.0
    assert (result.accuracy, result.train_accuracy, result.accuracy_ceiling, result.actions) == (None, None, None, {})
    assert (result.gate_passed, result.gate_reason) == (None, "continuous actions have no accuracy")
    assert (cloned.artefact.weights["log_std"] < -1).all()
    for option in ({"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        with pytest.raises(ConfigError, match=f"strategies.bc.{next(iter(option))} is for choices"):
            BCStrategy().run(context_for(None, dataset.path, **option))


@pytest.mark.parametrize("value_coef", [0.0, 1.0])
def test_values_are_learned_only_where_they_are_asked_for(tmp_path, value_coef):
    """A reward of 1 in every step, for 200 steps: the returns depend on the last number of the observation."""
    rng = np.random.default_rng(0)
    episodes = []
    for group in range(20):
        made = episode(rng, num_steps=100, group=group)
        made.steps["rewards"][:] = 1.0
        made.steps["observation"][:, -1] = np.linspace(1, -1, 100)
        episodes.append(made)
    dataset = demonstrations(tmp_path / "d", episodes)
    cloned = clone(tmp_path / "run", dataset.path, value_coef=value_coef, num_epochs=15, gamma=0.98)
    document, result = cloned.artefact.document, cloned.result
    assert document.critic_trained is (value_coef > 0)
    if value_coef == 0:
        assert (result.loss_value, result.value_explained_variance) == (None, None)
        return
    assert result.value_explained_variance > 0.95
    assert result.accuracy > 0.8
    seen = np.zeros((3, 1, SIZE), np.float32)
    seen[:, 0, -1] = [1.0, 0.0, -1.0]
    expected = (1 - 0.98 ** np.array([100, 50, 1])) / 0.02
    np.testing.assert_allclose(cloned.artefact.policy().values({"observation": seen})[:, 0], expected, atol=4)


def test_normalised_observations_have_the_moments_of_the_training_rows(tmp_path):
    rng = np.random.default_rng(0)
    episodes = []
    for group in range(10):
        made = episode(rng, group=group, split="test" if group == 0 else "train")
        made.steps["observation"][:] += 1000.0 if group == 0 else 5.0
        episodes.append(made)
    dataset = demonstrations(tmp_path / "d", episodes)
    cloned = clone(tmp_path / "run", dataset.path, normalize_observations=True)
    moments = cloned.artefact.normalizer["observation"]
    rows = np.concatenate([made.steps["observation"] for made in episodes[1:]]).astype(np.float64)
    assert moments.count == 450
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-9)


def test_episodes_on_both_sides_of_the_split_are_warned_of_with_the_way_out(tmp_path):
    episodes = [episode(np.random.default_rng(0), group=group) for group in range(4)]
    dataset = demonstrations(tmp_path / "d", episodes)
    told = (
        r"d: 1 of 1 held-out episodes are equal to ones that are trained on.*'townlet replay curate \S+ NEW --dedupe'"
    )
    with pytest.warns(TownletWarning, match=told):
        clone(tmp_path / "run", dataset.path, num_epochs=1)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_refusals_name_the_field_and_the_way_out(tmp_path):
    dataset = demonstrations(tmp_path / "d", 4, num_steps=5)
    with pytest.raises(DatasetError, match=r"has 15 rows to train on, fewer than a batch.*batch_size to 15 or less"):
        BCStrategy().run(context_for(None, dataset.path))
    with pytest.raises(ConfigError, match=r"strategies.bc.dataset is not set.*townlet capture"):
        BCStrategy().run(context_for(None, None))
    with pytest.raises(MissingInputError, match="is not a dataset"):
        BCStrategy().run(context_for(None, tmp_path / "nowhere"))


def test_a_damaged_byte_is_found_before_anything_is_learned(tmp_path):
    dataset = demonstrations(tmp_path / "d")
    path = dataset.shards[1].path / "rewards.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    context = context_for(tmp_path / "run", dataset.path)
    with pytest.raises(DatasetError, match=r"rewards.npy is damaged"):
        BCStrategy().run(context)
    assert context.run.checkpoints().steps() == []


def test_a_dataset_whose_writer_was_stopped_is_used_with_a_warning(tmp_path):
    from townlet_core.replay.schema import DATASET_NAME

    dataset = demonstrations(tmp_path / "d")
    path = dataset.path / DATASET_NAME
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    with pytest.warns(TownletWarning, match="is not complete"):
        assert clone(tmp_path / "run", dataset.path, num_epochs=1).result.num_epochs_done == 1


def test_a_loss_that_is_not_finite_ends_the_run_and_nothing_of_it_is_kept(tmp_path):
    from townlet_core.errors import DataError

    rng = np.random.default_rng(0)
    made = [episode(rng, group=group) for group in range(4)]
    made[1].steps["observation"][3] = np.inf
    dataset = demonstrations(tmp_path / "d", made)
    context = context_for(tmp_path / "run", dataset.path, held_out_fraction=0.0)
    with pytest.raises(DataError, match="'loss' became nan"):
        BCStrategy().run(context)
    assert context.run.checkpoints().steps() == [0]
    assert not context.run.policy_dir.exists()


# -- rollouts ---------------------------------------------------------------------------------------------------------


def test_a_policy_is_scored_where_the_environment_fits_and_otherwise_the_result_says_why_not(tmp_path):
    dataset = demonstrations(tmp_path / "d")
    result = clone(tmp_path / "a", dataset.path, evaluate_episodes=2, num_epochs=1).result
    reason = "environment 'town' is configured differently from when it was recorded, and has other spaces"
    assert result.rollout_skipped == reason
    assert (result.rollout_episodes, result.rollout_return_mean) == (0, None)
    assert result.demonstrator_return_mean == pytest.approx(50, rel=0.02)
    cartpole = record_cartpole(tmp_path / "c")
    result = clone(
        tmp_path / "b",
        cartpole.path,
        environment={"name": "gymnasium:CartPole-v1"},
        evaluate_episodes=3,
        num_epochs=10,
    ).result
    assert (result.rollout_episodes, result.rollout_skipped) == (3, "")
    assert result.rollout_return_share == pytest.approx(result.rollout_return_mean / result.demonstrator_return_mean)
    assert result.rollout_return_mean > 100
    assert (result.rollout_reward_mean, result.demonstrator_reward_mean) == (1.0, 1.0)
    broken = clone(tmp_path / "e", cartpole.path, environment={"name": "gymnasium:Nothing-v9"}, evaluate_episodes=3)
    assert "Nothing-v9" in broken.result.rollout_skipped


def record_cartpole(path):
    """Write 20 episodes of a script that keeps the pole up."""
    import gymnasium
    from datasets import write_dataset

    environment = gymnasium.make("CartPole-v1", max_episode_steps=200)
    episodes = []
    for seed in range(20):
        observation, _ = environment.reset(seed=seed)
        seen, actions, over = [], [], False
        while not over:
            action = int(observation[2] + 0.3 * observation[3] + 0.02 * observation[1] > 0)
            seen.append(observation)
            actions.append(action)
            observation, _, terminated, truncated, _ = environment.step(action)
            over = terminated or truncated
        ones, nothing = np.ones(len(seen), np.float32), np.zeros(len(seen), np.bool_)
        steps = {"observation": np.array(seen), "actions": np.array(actions), "rewards": ones}
        steps |= {"terminations": nothing, "truncations": nothing}
        episodes.append(Trajectory(steps=steps, ending="truncated", group=seed, seed=seed))
    return write_dataset(
        path,
        episodes,
        observation_spaces={"observation": environment.observation_space},
        action_space=spaces.Discrete(2),
        action_names=("left", "right"),
        feature_names={},
        event_kinds=(),
    )


def test_training_builds_no_environment(tmp_path):
    class Nothing:
        def environment(self, config, *, num_worlds=None):
            raise AssertionError("asked for")

        def encoder(self, name):
            from townlet_core.policy.encoder import built_in_encoder

            return built_in_encoder(name)

    context = replace(context_for(tmp_path / "run", demonstrations(tmp_path / "d").path), resolver=Nothing())
    assert BCStrategy().run(context).rollout_skipped == "strategies.bc.evaluate_episodes is 0"


def test_a_run_that_keeps_nothing_returns_its_result(tmp_path):
    context = context_for(None, demonstrations(tmp_path / "d").path)
    result = BCStrategy().run(replace(context, trackers=Records()))
    assert result.artefact is None
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_actions_are_called_by_their_names():
    from townlet_core.policy.heads import ActionHead

    head = ActionHead.for_space(spaces.Discrete(2))
    assert output_names(head, ("left", "right")) == ["left", "right"]
    assert output_names(head, ()) == ["0", "1"]
    assert output_names(head, ("same", "same")) == ["0:same", "1:same"]


def test_the_policy_is_loaded_like_any_other(tmp_path):
    cloned = clone(tmp_path / "run", demonstrations(tmp_path / "d").path)
    assert load_artefact(cloned.run.policy_dir).digest == cloned.result.artefact.digest
