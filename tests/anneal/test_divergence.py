"""The divergence of two policies, against its closed form."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_strategies_anneal.divergence import _divergences

SEEN = {"observation": np.zeros((1, 1, 2), np.float32)}


def policy(action_space, bias, log_std=0.0):
    """Return a policy that says `bias` whatever it sees."""
    spec = PolicySpec.for_spaces({"observation": spaces.Box(-1.0, 1.0, (2,))}, action_space, actor_hidden=(4,))
    encoder = built_in_encoder("flatten")
    weights = initial_weights(spec, encoder, seed=0, log_std=log_std)
    last = max(name for name in weights if name.startswith("actor.") and name.endswith(".bias"))
    weights = {**weights, last: np.array(bias, np.float32)}
    return NumpyPolicy(spec, encoder, weights, {})


@pytest.mark.parametrize(
    ("theirs", "own", "mask", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], None, 0.0),
        ([np.log(0.8), np.log(0.2)], [np.log(0.5), np.log(0.5)], None, 0.8 * np.log(1.6) + 0.2 * np.log(0.4)),
        ([5.0, 0.0], [0.0, 5.0], [[[True, False]]], 0.0),
    ],
)
def test_of_choices(theirs, own, mask, expected):
    mask = None if mask is None else np.array(mask)
    space = spaces.Discrete(2)
    found = _divergences(policy(space, theirs), policy(space, own), SEEN, mask)
    assert found == pytest.approx(np.array([[expected]]), abs=1e-6)


def test_of_several_choices_is_the_sum():
    space = spaces.MultiDiscrete([2, 2])
    one, other = policy(space, [np.log(0.8), np.log(0.2)] * 2), policy(space, [0.0] * 4)
    expected = 2 * (0.8 * np.log(1.6) + 0.2 * np.log(0.4))
    assert _divergences(one, other, SEEN, None)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_of_gaussians():
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    one, other = policy(space, [1.0], log_std=0.0), policy(space, [0.0], log_std=np.log(2.0))
    assert _divergences(one, other, SEEN, None)[0, 0] == pytest.approx(np.log(2.0) + (1 + 1) / 8 - 0.5, abs=1e-6)
