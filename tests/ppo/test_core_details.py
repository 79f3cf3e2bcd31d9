"""The 13 core details of PPO (Huang et al. 2022, "The 37 implementation details of PPO"), one named test each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rollouts import make_case
from training import train

from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.torch.adam import Adam, clip_global_norm
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.update import METRICS

RUN = {"total_steps": 1024, "num_steps": 16, "num_epochs": 2, "num_minibatches": 2, "learning_rate": 1e-3}


def test_detail_01_all_worlds_are_stepped_and_learned_from_at_once(tmp_path) -> None:
    trained = train(tmp_path, name="gymnasium:CartPole-v1", num_worlds=4, settings=RUN)
    assert [record["transitions"] for record in trained.records] == [64] * 16
    assert trained.result.agent_steps == 1024


def test_detail_02_matrices_start_orthogonal_and_biases_at_0() -> None:
    spec = PolicySpec.for_spaces(make_case().spec.observation_spaces, make_case().spec.action_space)
    for name, weight in initial_weights(spec, built_in_encoder("flatten"), seed=3).items():
        if name.endswith("bias"):
            assert (weight == 0).all()
            continue
        gain = {"actor.2.weight": 0.01, "critic.2.weight": 1.0}.get(name, math.sqrt(2))
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        np.testing.assert_allclose(tall.T @ tall, gain**2 * np.eye(tall.shape[1]), atol=1e-5)


def test_detail_03_adam_is_adam_with_an_epsilon_of_1e_5() -> None:
    assert PPOSettings().adam_epsilon == 1e-5
    torch.manual_seed(0)
    ours = torch.randn(50, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    optimizer, adam = torch.optim.Adam([theirs], eps=1e-5), Adam(ours, epsilon=1e-5)
    for step in range(30):
        gradient = torch.randn(50, dtype=torch.float64) * 10.0 ** (-step % 7)
        learning_rate = 1e-2 * (1 - step / 30)
        optimizer.param_groups[0]["lr"] = learning_rate
        theirs.grad = gradient.clone()
        optimizer.step()
        adam.step(gradient, learning_rate=learning_rate)
        np.testing.assert_allclose(ours, theirs.detach(), atol=1e-14, rtol=0)


def test_detail_03_the_epsilon_stands_outside_of_the_root_and_is_not_scaled() -> None:
    parameters = torch.zeros(1, dtype=torch.float64)
    Adam(parameters, epsilon=1e-5).step(torch.tensor([1e-5], dtype=torch.float64), learning_rate=1.0)
    assert parameters.item() == pytest.approx(-0.5)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 1e-3 / 8), ("constant", 1e-3)])
def test_detail_04_the_learning_rate_falls_linearly_to_its_last_step(tmp_path, schedule, last) -> None:
    settings = RUN | {"learning_rate_schedule": schedule, "clip_range_schedule": schedule}
    trained = train(tmp_path, name="gymnasium:CartPole-v1", settings=settings)
    rates = [record["lr"] for record in trained.records]
    assert rates == pytest.approx(np.linspace(1e-3, last, 8))
    assert [record["clip_range"] for record in trained.records] == pytest.approx(np.array(rates) * 200)


def test_detail_04_the_rate_that_is_told_is_the_one_that_is_used() -> None:
    case = make_case()
    moved = []
    for rate in (1e-3, 2e-3):
        settings = PPOSettings(num_epochs=1, num_minibatches=1, learning_rate=rate)
        parameters, _ = case.learn(settings, worlds_per_shard=4)
        moved.append(parameters - case.start)
    np.testing.assert_allclose(moved[1], 2 * moved[0], atol=1e-14)


def test_detail_05_advantages_are_generalised_and_targets_are_advantages_plus_values(tmp_path) -> None:
    case = make_case()
    case.normalize_advantages = False
    (minibatch,) = case.batch(worlds_per_shard=4).minibatches(np.zeros(1, np.uint64), 1)
    np.testing.assert_allclose(minibatch.returns, minibatch.advantages + minibatch.old_values, atol=0)
    one_step, whole = (
        train(tmp_path / str(number), name="gymnasium:CartPole-v1", settings=RUN | {"gae_lambda": number}).records[0]
        for number in (0.0, 1.0)
    )
    assert whole["adv_std"] > 2 * one_step["adv_std"]  # a sum of errors and not one


def test_detail_06_each_pass_takes_every_row_once_in_shuffled_minibatches() -> None:
    case = make_case(absent=0.0)
    _, metrics = case.learn(PPOSettings(num_epochs=3, num_minibatches=4), worlds_per_shard=2)
    assert metrics.columns["count"].reshape(3, 4).sum(axis=1).tolist() == [48.0] * 3
    entropies = metrics.columns["entropy"].reshape(3, 4)
    assert np.unique(entropies.round(6)).size == 12  # no two minibatches hold the same rows


@pytest.mark.parametrize("normalize", [True, False])
def test_detail_07_advantages_are_normalised_per_minibatch(normalize) -> None:
    case = make_case()
    settings = PPOSettings(num_epochs=1, num_minibatches=3, normalize_advantages=normalize, entropy_coef=0)
    before, _ = case.learn(settings, worlds_per_shard=4)
    case.buffer.values = case.buffer.values - (case.advantages * 9 + 4)  # so that the value targets stay as they were
    case.advantages = case.advantages * 10 + 4
    after, _ = case.learn(settings, worlds_per_shard=4)
    actor = [index for name, index in numbered(case).items() if name.startswith("actor")]
    same = all(np.allclose(before[index], after[index], atol=1e-9) for index in actor)
    assert same is normalize


def numbered(case) -> dict[str, np.ndarray]:
    return {name: view.ravel() for name, view in case.shape.views(np.arange(case.shape.size)).items()}


def test_detail_08_the_surrogate_is_clipped() -> None:
    case = make_case(drift=1.0, absent=0.0)
    (minibatch,) = case.batch(worlds_per_shard=4).minibatches(np.zeros(1, np.uint64), 1)
    settings = PPOSettings(num_epochs=1, num_minibatches=1, normalize_advantages=False, clip_range=0.1)
    _, clipped = case.learn(settings, worlds_per_shard=4)
    _, free = case.learn(settings.model_copy(update={"clip_range": 10.0}), worlds_per_shard=4)
    assert 0.2 < clipped.mean("clip_fraction") < 1
    assert clipped.mean("policy") > free.mean("policy")  # the worse of the two, always
    assert minibatch.count == 48


def test_detail_09_a_value_may_be_held_near_the_old_one() -> None:
    case = make_case(drift=0.5)
    settings = PPOSettings(num_epochs=1, num_minibatches=1)
    assert settings.value_clip_range is None
    _, free = case.learn(settings, worlds_per_shard=4)
    _, held = case.learn(settings.model_copy(update={"value_clip_range": 0.05}), worlds_per_shard=4)
    assert held.mean("value") > free.mean("value")


def test_detail_10_the_loss_is_policy_plus_value_minus_entropy_each_with_its_weight() -> None:
    case = make_case()
    settings = PPOSettings(num_epochs=2, num_minibatches=3, value_coef=0.7, entropy_coef=0.03)
    _, metrics = case.learn(settings, worlds_per_shard=2)
    columns = metrics.columns
    total = columns["policy"] + 0.7 * columns["value"] - 0.03 * columns["entropy"]
    np.testing.assert_allclose(columns["total"], total, atol=1e-14)


def test_detail_11_the_norm_of_the_whole_gradient_is_limited() -> None:
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert clip_global_norm(gradient, 0.5).item() == 5.0
    np.testing.assert_allclose(gradient, [0.3, 0.4], rtol=1e-6)
    small = torch.tensor([0.03, 0.04], dtype=torch.float64)
    assert clip_global_norm(small, 0.5).item() == pytest.approx(0.05)
    np.testing.assert_array_equal(small, [0.03, 0.04])
    assert clip_global_norm(small, None).item() == pytest.approx(0.05)
    np.testing.assert_array_equal(small, [0.03, 0.04])
    theirs = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    theirs.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([theirs], 0.5)
    np.testing.assert_allclose(gradient, theirs.grad, atol=1e-15)


def test_detail_12_what_can_be_watched_is_reported(tmp_path) -> None:
    _, metrics = make_case().learn(PPOSettings(), worlds_per_shard=2)
    assert tuple(metrics.columns) == METRICS
    record = train(tmp_path, name="gymnasium:CartPole-v1", settings=RUN).records[-1]
    for name in ("loss_policy", "loss_value", "entropy", "kl_divergence", "kl_k3", "clip_fraction", "grad_norm"):
        assert math.isfinite(record[name])
    assert record["explained_variance"] <= 1.0


def test_detail_13_actor_and_critic_share_layers_only_if_asked() -> None:
    apart, shared = make_case(), make_case(shared_hidden=(4,))
    settings = PPOSettings(num_epochs=1, num_minibatches=1, value_coef=0.0, entropy_coef=0.0)
    for case, changes in ((apart, False), (shared, True)):
        policy_only, _ = case.learn(settings, worlds_per_shard=4)
        moved = policy_only != case.start
        places = numbered(case)
        assert all(not moved[place].any() for name, place in places.items() if name.startswith("critic"))
        assert any(moved[place].any() for name, place in places.items() if name.startswith("actor"))
        value_only, _ = case.learn(settings.model_copy(update={"value_coef": 1.0}), worlds_per_shard=4)
        assert any(
            (value_only != policy_only)[place].any() for name, place in places.items() if name.startswith("shared")
        ) is (changes)
