"""The optimiser's side of a step: what learns, what does not, and what is summed up."""

from __future__ import annotations

import bc_reference
import numpy as np
import pytest
import torch
from bc_cases import ACTIONS, Case

from townlet_core.errors import DataError
from townlet_strategies_bc.loss import LossTerms
from townlet_strategies_bc.optimizer import DeviceOptimizer, HostOptimizer, trained_parts
from townlet_strategies_bc.schedule import learning_rate
from townlet_strategies_bc.settings import BCSettings
from townlet_strategies_bc.update import Updater


@pytest.mark.parametrize(
    ("schedule", "left"), [("constant", [1, 1, 1]), ("linear", [1, 0.75, 0]), ("cosine", [1, 0.853553, 0])]
)
def test_schedules_fall_as_their_names_say(schedule, left):
    assert [learning_rate(schedule, done) for done in (0.0, 0.25, 1.0)] == pytest.approx(left, abs=1e-6)


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("value_coef", [0.0, 0.5])
def test_what_does_not_learn_does_not_change(name, value_coef):
    """Not by weight decay either; and a Gaussian's deviations learn, but do not decay."""
    case = Case(ACTIONS[name], returns=value_coef > 0)
    network = case.network()
    settings = BCSettings(weight_decay=10.0, value_coef=value_coef, max_grad_norm=None)
    Updater(network, LossTerms(value_coef=value_coef), settings).step(case.batch, learning_rate=1e-3)
    before, after = (case.layout.views(flat) for flat in (case.flat, network.parameters.numpy()))
    for key, was in before.items():
        moved = not np.array_equal(was, after[key])
        assert moved == (value_coef > 0 or not key.startswith("critic.")), key
    if name == "continuous":
        np.testing.assert_allclose(np.abs(after["log_std"] - before["log_std"]), 1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["choice", "continuous"])
def test_steps_are_those_of_adamw_by_hand_with_the_gradient_by_hand(name):
    case = Case(ACTIONS[name], rows=5, actor_hidden=(3,), critic_hidden=())
    network = case.network()
    settings = BCSettings(weight_decay=0.1, adam_epsilon=1e-6, max_grad_norm=None)
    updater = Updater(network, LossTerms(), settings)
    expected = case.flat.copy()
    slopes = []
    for _ in range(4):
        slopes.append(bc_reference.gradient(expected, case.layout, case.batch, case.spec))
        expected = case.flat.copy()
        for part_name, part in trained_parts(network, with_critic=False).items():
            expected[part] = bc_reference.adamw(
                case.flat[part],
                [slope[part] for slope in slopes],
                learning_rate=0.05,
                weight_decay=0.0 if part_name == "log_std" else 0.1,
                epsilon=1e-6,
            )
        updater.step(case.batch, learning_rate=0.05)
    np.testing.assert_allclose(network.parameters.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("limit", [None, 0.1])
def test_a_device_takes_the_steps_that_the_host_takes(limit):
    case = Case(ACTIONS["continuous"], returns=True)
    settings = BCSettings(weight_decay=0.1, value_coef=0.5, max_grad_norm=limit)
    results = []
    for kind in (HostOptimizer, DeviceOptimizer):
        network = case.network()
        optimizer = kind(network, settings)
        for step in range(3):
            slope = np.random.default_rng(step).normal(size=len(case.flat))
            sums = np.array([1.0, 2.0, 3.0, 4.0]) * step
            if kind is DeviceOptimizer:
                slope, sums = torch.from_numpy(slope), torch.from_numpy(sums)
            optimizer.step(slope, sums, learning_rate=0.01)
        again = kind(case.network(), settings)
        again.load(optimizer.state(), optimizer.totals(), 3)
        assert np.array_equal(again.totals(), optimizer.totals())
        assert all(np.array_equal(array, optimizer.state()[key]) for key, array in again.state().items())
        results.append((network.parameters.numpy(), optimizer.totals(), optimizer.state()))
        optimizer.clear()
        assert not optimizer.totals().any()
    (host, host_totals, host_state), (device, device_totals, device_state) = results
    np.testing.assert_allclose(host, device, atol=1e-9)
    np.testing.assert_allclose(host_totals, device_totals, rtol=1e-9)
    assert host_totals[:4].tolist() == [3.0, 6.0, 9.0, 12.0]
    assert host_state.keys() == device_state.keys()
    norms = [np.linalg.norm(np.random.default_rng(step).normal(size=len(case.flat))) for step in range(3)]
    np.testing.assert_allclose(host_totals[4:], [sum(norms), 3, max(norms)])


def test_the_norm_is_limited_before_the_moments_see_it():
    case = Case(ACTIONS["choice"])
    network = case.network()
    optimizer = HostOptimizer(network, BCSettings(max_grad_norm=0.01))
    slope = np.random.default_rng(0).normal(size=len(case.flat))
    optimizer.step(slope.copy(), [0.0] * 4, learning_rate=0.01)
    assert np.linalg.norm(optimizer.state()["first.policy"]) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_sum_that_is_not_finite_is_named():
    case = Case(ACTIONS["choice"])
    case.batch.features[0, 0, 0] = np.inf
    updater = Updater(case.network(), LossTerms(), BCSettings())
    updater.step(case.batch, learning_rate=0.01)
    with pytest.raises(DataError, match=r"the sum of 'grad_norm' became nan by optimiser step 1"):
        updater.totals()
