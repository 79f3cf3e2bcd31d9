"""One whole update against the same mathematics by hand; shards; minibatches; digests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference import Rows, Update, forward_sums
from rollouts import Case, epoch_keys, make_case
from training import context_for, train

from townlet_core import randomness
from townlet_core.policy.scratch import Scratch
from townlet_core.policy.spec import EncoderSpec
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.closed_form import ClosedFormGradient
from townlet_strategies_ppo.loss import LossCoefficients
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.update import METRICS, make_gradient

STRONG = {"learning_rate": 3e-2, "num_epochs": 3, "num_minibatches": 3, "entropy_coef": 0.02, "max_grad_norm": 0.3}

CASES = {
    "categorical": ({"action_space": spaces.Discrete(4)}, {}),
    "masked": ({"action_space": spaces.Discrete(4), "masked": True}, {"value_clip_range": 0.1}),
    "two choices": (
        {"action_space": spaces.MultiDiscrete([3, 2]), "masked": True, "shared_hidden": (7,), "activation": "relu"},
        {"value_clip_range": 0.3, "normalize_advantages": False, "clip_range": 0.1},
    ),
    "gaussian": (
        {"action_space": spaces.Box(-1.0, 1.0, (2,), np.float32), "shared_hidden": (4, 3), "drift": 0.05},
        {"max_grad_norm": None, "learning_rate": 1e-2},
    ),
    "no hidden layers": ({"actor_hidden": (), "critic_hidden": ()}, {"clip_range": 0.5}),
}


def reference_update(case: Case, settings: PPOSettings, *, worlds_per_shard: int, seed: int):
    """Make the update by hand; return its flat parameters and a row of metrics for each minibatch."""
    buffer = case.buffer
    fields = ("rewards", "values", "terminations", "truncations", "bootstrap_values", "last_values", "agent_mask")
    advantages = forward_sums({name: getattr(buffer, name) for name in fields}, case.gamma, case.gae_lambda)
    size = buffer.rewards.size
    rows = Rows(
        inputs=buffer.observations["observation"].reshape(size, -1),
        actions=buffer.actions.reshape(size, *buffer.actions.shape[3:]),
        mask=None if buffer.action_mask is None else buffer.action_mask.reshape(size, -1),
        old_log_probs=buffer.log_probs.ravel(),
        old_values=buffer.values.ravel(),
        advantages=advantages.ravel(),
        returns=(advantages + buffer.values).ravel(),
        present=buffer.agent_mask.ravel(),
    )
    by_hand = Update(
        weights={name: array.copy() for name, array in case.shape.views(case.start).items()},
        parts=case.spec.head.counts,
        activation=case.spec.activation,
        learning_rate=settings.learning_rate,
        clip_range=settings.clip_range,
        value_clip_range=settings.value_clip_range,
        entropy_coef=settings.entropy_coef,
        value_coef=settings.value_coef,
        max_grad_norm=settings.max_grad_norm,
        epsilon=settings.adam_epsilon,
        normalize=settings.normalize_advantages,
    )
    steps, worlds, agents = buffer.rewards.shape
    num_shards = worlds // worlds_per_shard
    numbers = np.arange(size).reshape(steps, worlds, agents)
    keys = epoch_keys(seed, settings.num_epochs, num_shards)
    reports = []
    for epoch in range(settings.num_epochs):
        shards = []
        for shard in range(num_shards):
            own = numbers[:, shard * worlds_per_shard : (shard + 1) * worlds_per_shard].ravel()
            shards.append(own[randomness.permutation(keys[epoch, shard], own.size).ravel()])
        length, parts = shards[0].size, settings.num_minibatches
        for part in range(parts):
            cut = slice(part * length // parts, (part + 1) * length // parts)
            reports.append(by_hand.step(rows.of(np.concatenate([shard[cut] for shard in shards]))))
    flat = np.concatenate([by_hand.weights[name].ravel() for name in case.shape.shapes])
    return flat, reports


@pytest.fixture(params=[ClosedFormGradient, AutogradGradient])
def gradient(request, monkeypatch):
    """Both ways to differentiate a network."""
    is_closed_form = request.param is ClosedFormGradient
    monkeypatch.setattr("townlet_strategies_ppo.update.is_closed_form", lambda network: is_closed_form)


def test_the_closed_form_is_for_networks_whose_encoder_has_no_weights() -> None:
    network = make_case().network()
    assert isinstance(make_gradient(network), ClosedFormGradient)
    network.spec = network.spec.model_copy(update={"encoder": EncoderSpec(name="of-a-plugin")})
    assert isinstance(make_gradient(network), AutogradGradient)


@pytest.mark.usefixtures("gradient")
@pytest.mark.parametrize("worlds_per_shard", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_an_update_equals_the_one_by_hand_to_1e_10(name, worlds_per_shard) -> None:
    case_fields, settings_fields = CASES[name]
    case = make_case(**case_fields)
    settings = PPOSettings(**STRONG | settings_fields)
    parameters, metrics = case.learn(settings, worlds_per_shard=worlds_per_shard, seed=5)
    assert parameters.dtype == np.float64
    expected, reports = reference_update(case, settings, worlds_per_shard=worlds_per_shard, seed=5)
    assert np.abs(parameters - case.start).max() > 0.02
    np.testing.assert_allclose(parameters, expected, atol=1e-10, rtol=0)
    for column in METRICS:
        by_hand = [report[column] for report in reports]
        np.testing.assert_allclose(metrics.columns[column], by_hand, atol=1e-10, rtol=0, err_msg=column)
    assert 0 < metrics.mean("clip_fraction") < 1


@pytest.mark.parametrize("seed", range(24))
def test_both_gradients_agree_on_random_networks(seed) -> None:
    rng = np.random.default_rng(seed)
    actions = (spaces.Discrete(5), spaces.MultiDiscrete([2, 4, 3]), spaces.Box(-1.0, 1.0, (3,), np.float32))
    widths = [tuple(rng.integers(1, 12, rng.integers(0, 4)).tolist()) for _ in range(3)]
    case = make_case(
        actions[seed % 3],
        masked=seed % 3 < 2 and bool(rng.integers(2)),
        seed=seed,
        drift=float(rng.uniform(0.0, 0.5)),
        shared_hidden=widths[0],
        actor_hidden=widths[1],
        critic_hidden=widths[2],
        activation=("tanh", "relu")[rng.integers(2)],
    )
    limit = (None, 0.2)[rng.integers(2)]
    coefficients = LossCoefficients(float(rng.uniform(0.05, 0.5)), limit, 0.03, 0.7)
    case.normalize_advantages = bool(rng.integers(2))
    network, batch = case.network(), case.batch(worlds_per_shard=2)
    paths = [path(network) for path in (ClosedFormGradient, AutogradGradient)]
    for minibatch in batch.minibatches(epoch_keys(seed, 1, batch.num_shards)[0], 3):
        (gradient, reported), (expected, expected_reported) = (path(batch, minibatch, coefficients) for path in paths)
        assert float(expected.abs().max()) > 1e-6
        np.testing.assert_allclose(gradient, expected.numpy(), atol=1e-12, rtol=1e-9)
        np.testing.assert_allclose(reported, expected_reported.numpy(), atol=1e-12, rtol=1e-9)


@pytest.mark.usefixtures("gradient")
@pytest.mark.parametrize("name", CASES)
def test_one_shard_and_four_agree_to_rounding(name) -> None:
    case_fields, settings_fields = CASES[name]
    case = make_case(**case_fields)
    settings = PPOSettings(**STRONG | settings_fields | {"num_minibatches": 1})  # so that the rows are the same ones
    whole, _ = case.learn(settings, worlds_per_shard=4)
    sharded, _ = case.learn(settings, worlds_per_shard=1)
    np.testing.assert_allclose(sharded, whole, atol=1e-12, rtol=0)


def test_every_row_of_every_shard_is_taken_once_in_a_pass() -> None:
    case = make_case(steps=7, worlds=6, agents=1, absent=0.0)
    rows = np.arange(42.0).reshape(7, 6, 1)
    case.buffer.values[:] = rows
    batch = case.batch(worlds_per_shard=2)
    for num_minibatches in (1, 3, 4, 14, 99):
        minibatches = list(batch.minibatches(epoch_keys(1, 1, 3)[0], num_minibatches))
        taken = np.concatenate([minibatch.old_values for minibatch in minibatches], axis=1)
        for shard in range(3):
            own = sorted(taken[shard].tolist())
            assert own == sorted(rows[:, 2 * shard : 2 * shard + 2].ravel().tolist())
        sizes = [minibatch.old_values.shape[1] for minibatch in minibatches]
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == min(num_minibatches, 14)


def test_a_pass_takes_all_columns_of_the_same_rows() -> None:
    case = make_case(masked=True, absent=0.2)
    case.normalize_advantages = False
    buffer = case.buffer
    (minibatch,) = case.batch(worlds_per_shard=2).minibatches(epoch_keys(1, 1, 2)[0], 1)
    marks = buffer.values.ravel().tolist()
    rows = np.array([marks.index(mark) for mark in minibatch.old_values.ravel().tolist()])
    size = len(marks)
    columns = {
        "old_log_probs": buffer.log_probs,
        "advantages": case.advantages,
        "returns": case.advantages + buffer.values,
        "weights": buffer.agent_mask,
    }
    for name, column in columns.items():
        np.testing.assert_array_equal(getattr(minibatch, name).ravel(), column.ravel()[rows])
    batch = case.batch(worlds_per_shard=2)
    np.testing.assert_array_equal(minibatch.rows.ravel(), rows)
    np.testing.assert_array_equal(batch.actions, buffer.actions.reshape(size))
    np.testing.assert_array_equal(batch.action_mask, buffer.action_mask.reshape(size, -1))
    seen = batch.features(minibatch.rows, Scratch()).reshape(size, 3)
    np.testing.assert_array_equal(seen, buffer.observations["observation"].reshape(size, 3)[rows])
    assert minibatch.count == np.count_nonzero(buffer.agent_mask)


def test_passes_and_shards_are_shuffled_differently() -> None:
    case = make_case(steps=16, worlds=2, agents=1)
    batch = case.batch(worlds_per_shard=1)
    orders = set()
    for keys in epoch_keys(1, 3, 2):
        (minibatch,) = batch.minibatches(keys, 1)
        for shard in range(2):
            own = case.buffer.log_probs[:, shard].ravel().tolist()
            orders.add(tuple(own.index(mark) for mark in minibatch.old_log_probs[shard].tolist()))
    assert len(orders) == 6


def test_a_minibatch_without_a_present_row_is_skipped() -> None:
    case = make_case(steps=4, worlds=1, agents=1, absent=0.0)
    case.buffer.agent_mask[1:] = False
    _, metrics = case.learn(PPOSettings(num_epochs=2, num_minibatches=4), worlds_per_shard=1)
    assert metrics.columns["count"].tolist() == [1.0, 1.0]


def test_short_minibatches_weigh_by_their_size_in_what_is_reported() -> None:
    case = make_case(absent=0.4)
    _, metrics = case.learn(PPOSettings(num_epochs=1, num_minibatches=5), worlds_per_shard=2)
    counts, entropies = metrics.columns["count"], metrics.columns["entropy"]
    assert np.unique(counts).size > 1
    assert counts.sum() == np.count_nonzero(case.buffer.agent_mask)
    assert metrics.mean("entropy") == pytest.approx((counts * entropies).sum() / counts.sum(), abs=1e-15)


def test_absent_rows_change_nothing() -> None:
    case = make_case()
    settings = PPOSettings(**STRONG)
    before, _ = case.learn(settings, worlds_per_shard=2)
    absent = ~case.buffer.agent_mask
    case.buffer.observations["observation"][absent] = 9.0
    case.buffer.log_probs[absent] = -50.0
    case.buffer.values[absent] = 1e3
    case.buffer.actions[absent] = 0
    case.advantages[absent] = 1e3
    after, _ = case.learn(settings, worlds_per_shard=2)
    np.testing.assert_array_equal(after, before)


def test_the_passes_end_when_the_last_one_is_past_the_target_kl() -> None:
    case = make_case(drift=0.0)
    fields = STRONG | {"num_epochs": 6}
    _, free = case.learn(PPOSettings(**fields), worlds_per_shard=2)
    kl, counts = free.columns["kl_k3"].reshape(6, 3), free.columns["count"].reshape(6, 3)
    passes = (kl * counts).sum(axis=1) / counts.sum(axis=1)
    lower = max(passes[0], passes[1], passes[:3].mean())
    assert passes[2] > lower  # so that a target between them is passed by the third pass, and by no mean of passes
    settings = PPOSettings(**fields, target_kl=(lower + passes[2]) / 2)
    _, stopped = case.learn(settings, worlds_per_shard=2)
    assert (free.num_epochs, free.stop_reason) == (6, "epochs")
    assert (stopped.num_epochs, stopped.stop_reason, stopped.last_epoch) == (3, "target_kl", 6)
    assert stopped.mean("kl_k3", stopped.last_epoch) == pytest.approx(passes[2])


RUN = {"total_steps": 256, "num_steps": 16, "num_epochs": 2, "num_minibatches": 2}


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Taxi-v4"])
def test_the_ratio_is_1_in_the_first_minibatch_of_an_update(tmp_path, name, monkeypatch) -> None:
    import townlet_strategies_ppo.strategy as module

    seen = []

    def spy(*arguments, **fields):
        metrics = original(*arguments, **fields)
        seen.append(metrics)
        return metrics

    original = module.update
    monkeypatch.setattr(module, "update", spy)
    train(tmp_path, name=f"gymnasium:{name}", settings=RUN | {"normalize_observations": True})
    assert len(seen) >= 2
    for metrics in seen:
        assert metrics.columns["clip_fraction"][0] == 0.0
        assert abs(metrics.columns["kl"][0]) < 1e-6
        assert abs(metrics.columns["kl_k3"][0]) < 1e-6
        assert metrics.columns["kl_k3"][-1] != 0.0


def digest_of(tmp_path, **fields) -> str:
    return train(tmp_path, name="gymnasium:CartPole-v1", settings=RUN, **fields).result.policy_digest


def test_a_seed_gives_the_same_bytes_twice_and_another_seed_others(tmp_path) -> None:
    first = digest_of(tmp_path / "a", seed=3)
    assert digest_of(tmp_path / "b", seed=3) == first
    assert digest_of(tmp_path / "c", seed=4) != first


def test_one_two_and_four_workers_give_the_same_weights_as_one_process(tmp_path) -> None:
    here = digest_of(tmp_path / "sync", worlds_per_shard=2)
    for num_workers in (1, 2, 4):
        path = tmp_path / str(num_workers)
        assert digest_of(path, worlds_per_shard=2, vectorization="workers", num_workers=num_workers) == here


def test_the_number_of_worlds_in_a_shard_is_part_of_the_experiment(tmp_path) -> None:
    assert digest_of(tmp_path / "a", worlds_per_shard=2) != digest_of(tmp_path / "b", worlds_per_shard=8)


def test_a_run_counts_what_it_did(tmp_path) -> None:
    trained = train(tmp_path, name="gymnasium:CartPole-v1", settings=RUN)
    assert [record["agent_steps"] for record in trained.records] == [128, 256]
    assert [record["epoch"] for record in trained.records] == [1, 2]
    assert trained.records[-1]["steps"] == 2 * 2 * 2
    assert trained.result.policy_digest == trained.records[-1]["policy_digest"]
    assert context_for(None).config.training.seed == 1


@pytest.mark.parametrize("name", ["categorical", "masked", "two choices", "gaussian"])
def test_the_divergence_from_a_reference_has_one_gradient_in_both_forms_and_by_differences(name) -> None:
    case = make_case(**CASES[name][0])
    rng = np.random.default_rng(2)
    outputs = rng.normal(size=(*case.buffer.rewards.shape, case.spec.head.num_outputs))
    spread = rng.normal(size=2) * 0.3 if name == "gaussian" else None
    case.reference = (outputs, spread)
    network, batch = case.network(), case.batch(worlds_per_shard=2)
    (minibatch,) = batch.minibatches(epoch_keys(1, 1, 2)[0], 1)
    without, only = (LossCoefficients(0.2, None, 0.0, 0.0, weight) for weight in (0.0, 0.7))
    slopes = []
    for path in (ClosedFormGradient, AutogradGradient):
        gradient = path(network)
        plain = np.asarray(gradient(batch, minibatch, without)[0]).copy()
        pulled, reported = gradient(batch, minibatch, only)
        slopes.append(np.asarray(pulled) - plain)
        index = METRICS.index("reference_kl")
        assert float(reported[index]) > 0.01
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-12, rtol=1e-9)
    parameters, gradient = network.parameters.numpy(), ClosedFormGradient(network)
    for place in range(0, parameters.size, 7):
        found = []
        for step in (1e-6, -2e-6):
            parameters[place] += step
            found.append(gradient(batch, minibatch, only)[1][METRICS.index("reference_kl")])
        parameters[place] += 1e-6
        assert slopes[0][place] == pytest.approx(0.7 * (found[0] - found[1]) / 2e-6, abs=1e-7)


def test_a_reference_that_is_the_policy_itself_is_no_distance_away() -> None:
    case = make_case(masked=True)
    network = case.network()
    rows = torch.from_numpy(case.buffer.observations["observation"].reshape(1, -1, 3))
    outputs = network(network.shard_weights(1), {"observation": rows}).actor.detach().numpy()
    case.reference = (outputs.reshape(*case.buffer.rewards.shape, -1), None)
    batch = case.batch(worlds_per_shard=2)
    (minibatch,) = batch.minibatches(epoch_keys(1, 1, 2)[0], 1)
    gradient = ClosedFormGradient(network)
    plain = gradient(batch, minibatch, LossCoefficients(0.2, None, 0.0, 0.5))[0].copy()
    pulled, reported = gradient(batch, minibatch, LossCoefficients(0.2, None, 0.0, 0.5, 3.0))
    assert abs(reported[METRICS.index("reference_kl")]) < 1e-12
    np.testing.assert_allclose(pulled, plain, atol=1e-12)
