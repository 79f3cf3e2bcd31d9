"""Both gradients against the loss by hand, for every kind of action, with masks, smoothing, weights and values."""

from __future__ import annotations

import bc_reference
import numpy as np
import pytest
import torch
from bc_cases import ACTIONS, Case, make_batch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.policy.heads import masked_log_softmax
from townlet_core.policy.spec import EncoderSpec
from townlet_strategies_bc.autograd import AutogradGradient
from townlet_strategies_bc.closed_form import ClosedFormGradient
from townlet_strategies_bc.loss import LossTerms
from townlet_strategies_bc.update import gradient_path

PATHS = (ClosedFormGradient, AutogradGradient)
WEIGHTS = {4: np.array([0.5, 2.0, 1.0, 0.25], np.float32), 5: np.array([0.5, 2, 1, 3, 0.25], np.float32)}


def terms_of(case, *, smoothing=0.0, weighted=False, value_coef=0.0):
    weights = WEIGHTS[case.spec.head.num_outputs] if weighted else None
    return {"smoothing": smoothing, "class_weights": weights, "value_coef": value_coef}


def differentiate(path, case, terms):
    gradient, sums = path(case.network(), LossTerms(terms["smoothing"], terms["class_weights"], terms["value_coef"]))(
        case.batch
    )
    return np.array(gradient), np.array(sums)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("smoothing", "weighted"), [(0.0, False), (0.2, False), (0.0, True), (0.3, True)])
@pytest.mark.parametrize("name", ["choice", "choices", "one of several"])
def test_choices_have_the_gradient_by_hand(path, name, masked, smoothing, weighted):
    case = Case(ACTIONS[name], masked=masked)
    terms = terms_of(case, smoothing=smoothing, weighted=weighted)
    gradient, sums = differentiate(path, case, terms)
    expected = bc_reference.gradient(case.flat, case.layout, case.batch, case.spec, **terms)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(gradient, expected, atol=1e-12, rtol=1e-9)
    loss = bc_reference.mean_loss(case.layout.views(case.flat), case.batch, case.spec, **terms)
    assert sums[0] / case.batch.count == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("value_coef", [0.0, 0.7])
@pytest.mark.parametrize(("shared", "activation"), [((), "tanh"), ((4, 3), "tanh"), ((4,), "relu")])
def test_values_and_shared_layers_have_the_gradient_by_hand(path, name, value_coef, shared, activation):
    case = Case(ACTIONS[name], returns=value_coef > 0, shared_hidden=shared, activation=activation, seed=3)
    terms = terms_of(case, value_coef=value_coef)
    gradient, sums = differentiate(path, case, terms)
    expected = bc_reference.gradient(case.flat, case.layout, case.batch, case.spec, **terms)
    np.testing.assert_allclose(gradient, expected, atol=1e-12, rtol=1e-9)
    critic = np.concatenate(
        [value.ravel() for key, value in case.layout.views(gradient).items() if key.startswith("critic.")]
    )
    assert (np.abs(critic).max() > 1e-3) == (value_coef > 0)
    assert (sums[1] > 0) == (value_coef > 0)
    assert sums[3] == case.batch.count


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_both_paths_agree_on_any_network_and_batch(seed):
    rng = np.random.default_rng(seed)
    space = list(ACTIONS.values())[seed % len(ACTIONS)]
    widths = [tuple(rng.integers(1, 9, rng.integers(0, 3)).tolist()) for _ in range(3)]
    value_coef = float(rng.choice([0.0, 0.5]))
    case = Case(
        space,
        rows=int(rng.integers(1, 20)),
        masked=bool(rng.integers(2)),
        returns=value_coef > 0,
        seed=seed,
        shared_hidden=widths[0],
        actor_hidden=widths[1],
        critic_hidden=widths[2],
        activation=("tanh", "relu")[rng.integers(2)],
    )
    discrete = bool(case.spec.head.counts)
    terms = terms_of(
        case,
        smoothing=float(rng.choice([0.0, 0.4])) if discrete else 0.0,
        weighted=discrete and bool(rng.integers(2)),
        value_coef=value_coef,
    )
    (gradient, sums), (expected, expected_sums) = (differentiate(path, case, terms) for path in PATHS)
    np.testing.assert_allclose(gradient, expected, atol=1e-12, rtol=1e-9)
    np.testing.assert_allclose(sums, expected_sums, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_the_best_policy_puts_nothing_on_illegal_actions_and_the_label_on_the_legal_ones(path, smoothing):
    """Descent on one row of logits ends at the smoothed label: 1 - e + e/n on the action, e/n on other legal ones."""
    case = Case(spaces.Discrete(4), rows=1, size=1, actor_hidden=())
    mask = np.array([[[True, True, False, True]]])
    batch = make_batch(case.spec, np.random.default_rng(0), rows=1, size=1)
    batch.actions[:] = 1
    batch = type(batch)(
        features=batch.features, inputs=batch.inputs, actions=batch.actions, action_mask=mask, returns=None
    )
    network = case.network()
    take = path(network, LossTerms(smoothing, None, 0.0))
    illegal = [case.layout.views(network.parameters)["actor.0.weight"][0, 2].item()]
    for _ in range(4000):
        gradient, _ = take(batch)
        network.parameters -= 0.5 * torch.as_tensor(np.array(gradient))
    probs = np.exp(masked_log_softmax(take.outputs(batch)[0], mask[0]))[0]
    other = smoothing / 3
    np.testing.assert_allclose(probs, [other, 1 - smoothing + other, 0.0, other], atol=2e-3)
    assert probs[2] == 0.0
    illegal.append(case.layout.views(network.parameters)["actor.0.weight"][0, 2].item())
    assert illegal[0] == illegal[1], "an illegal action's logit has no gradient"


@pytest.mark.parametrize("path", PATHS)
def test_right_rows_are_those_whose_most_likely_legal_actions_were_all_taken(path):
    case = Case(ACTIONS["choices"], rows=200, masked=True)
    _, sums = differentiate(path, case, terms_of(case))
    outputs = path(case.network(), LossTerms()).outputs(case.batch)[0]
    legal = np.where(case.batch.action_mask[0], outputs, -np.inf)
    right = (legal[:, :3].argmax(1) == case.batch.actions[0][:, 0]) & (
        legal[:, 3:].argmax(1) == case.batch.actions[0][:, 1]
    )
    assert 20 < right.sum() < 180
    assert sums[2] == right.sum()


def test_the_closed_form_is_for_networks_whose_encoder_has_no_weights():
    network = Case(ACTIONS["choice"]).network()
    assert gradient_path(network) is ClosedFormGradient
    network.spec = network.spec.model_copy(update={"encoder": EncoderSpec(name="of-a-plugin")})
    assert gradient_path(network) is AutogradGradient


def test_a_batch_of_another_size_in_between_changes_nothing():
    case = Case(ACTIONS["choice"], masked=True)
    larger = Case(ACTIONS["choice"], masked=True, rows=50).batch
    take = ClosedFormGradient(case.network(), LossTerms())
    first = np.array(take(case.batch)[0])
    take(larger)
    assert np.array_equal(take(case.batch)[0], first)
