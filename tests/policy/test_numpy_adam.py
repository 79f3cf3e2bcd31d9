"""NumPy's AdamW is AdamW: by hand in float64, and torch's to float32 rounding."""

import numpy as np
import pytest

from townlet_core.policy.adam import NumpyAdam, clip_norm


def by_hand(parameters, gradients, *, learning_rate, weight_decay, epsilon):
    """Loshchilov and Hutter 2019, algorithm 2."""
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    for step, slope in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        change = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + epsilon)
        parameters = parameters - learning_rate * (change + weight_decay * parameters)
    return parameters


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_steps_are_those_by_hand(weight_decay, epsilon):
    rng = np.random.default_rng(0)
    parameters, gradients = rng.normal(size=20), rng.normal(size=(7, 20))
    expected = by_hand(parameters, gradients, learning_rate=0.05, weight_decay=weight_decay, epsilon=epsilon)
    adam = NumpyAdam(parameters, epsilon=epsilon, weight_decay=weight_decay)
    for gradient in gradients:
        adam.step(gradient, learning_rate=0.05)
    np.testing.assert_allclose(parameters, expected, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torch_to_rounding(weight_decay):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    ours = rng.normal(size=300).astype(np.float32)
    theirs = torch.nn.Parameter(torch.from_numpy(ours.copy()))
    adam = NumpyAdam(ours, epsilon=1e-8, weight_decay=weight_decay)
    reference = torch.optim.AdamW([theirs], lr=1e-2, eps=1e-8, weight_decay=weight_decay, foreach=False)
    for _ in range(100):
        gradient = rng.normal(size=300).astype(np.float32)
        before = gradient.copy()
        adam.step(gradient, learning_rate=1e-2)
        assert np.array_equal(gradient, before)
        theirs.grad = torch.from_numpy(before)
        reference.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=2e-6)


def test_torchs_flat_adam_has_the_same_weight_decay():
    torch = pytest.importorskip("torch")
    from townlet_core.torch.adam import Adam

    rng = np.random.default_rng(2)
    parameters, gradients = rng.normal(size=20), rng.normal(size=(7, 20))
    expected = by_hand(parameters, gradients, learning_rate=0.05, weight_decay=0.3, epsilon=1e-8)
    adam = Adam(torch.from_numpy(parameters), epsilon=1e-8, weight_decay=0.3)
    for gradient in gradients:
        adam.step(torch.from_numpy(gradient), learning_rate=0.05)
    np.testing.assert_allclose(parameters, expected, atol=1e-14, rtol=1e-12)


def test_an_optimiser_goes_on_where_another_one_stood():
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(6, 9)).astype(np.float32)
    whole, halves = np.ones(9, np.float32), np.ones(9, np.float32)
    adam = NumpyAdam(whole, epsilon=1e-8)
    for gradient in gradients:
        adam.step(gradient, learning_rate=0.1)
    first = NumpyAdam(halves, epsilon=1e-8)
    for gradient in gradients[:4]:
        first.step(gradient, learning_rate=0.1)
    second = NumpyAdam(halves, epsilon=1e-8)
    second.load({name: array.copy() for name, array in first.state().items()}, first.num_steps)
    for gradient in gradients[4:]:
        second.step(gradient, learning_rate=0.1)
    assert np.array_equal(whole, halves)


@pytest.mark.parametrize(("limit", "norm_after"), [(None, 5.0), (10.0, 5.0), (0.5, 0.5)])
def test_a_norm_is_limited_and_told_as_it_was(limit, norm_after):
    gradient = np.array([3.0, -4.0])
    assert clip_norm(gradient, limit) == 5.0
    assert np.linalg.norm(gradient) == pytest.approx(norm_after, rel=1e-6)
    assert gradient[0] > 0 > gradient[1]
