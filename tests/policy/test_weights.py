"""First weights: orthogonal, a pure function of spec and seed, the same with and without torch."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core import randomness
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout, orthogonal


def spec_of(**fields):
    return PolicySpec.for_spaces(
        {"observation": spaces.Box(-1, 1, (9,), np.float32)}, fields.pop("action", spaces.Discrete(3)), **fields
    )


@pytest.mark.parametrize("shape", [(7, 7), (20, 3), (3, 20), (1, 5), (5, 1)])
@pytest.mark.parametrize("gain", [1.0, 0.01, 2**0.5])
def test_an_initial_matrix_has_orthonormal_rows_or_columns_times_its_gain(shape, gain):
    matrix = orthogonal(randomness.key(3, "weights", 0), shape, gain)
    assert matrix.shape == shape
    gram = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    assert gram == pytest.approx(gain**2 * np.eye(min(shape)), abs=1e-12)


def test_an_initial_matrix_is_drawn_uniformly_from_the_orthogonal_ones():
    """The mean over many seeds is 0: without the sign of R's diagonal, QR prefers one half of the matrices."""
    drawn = np.array([orthogonal(randomness.key(seed, "weights", 0), (2, 2), 1.0) for seed in range(2000)])
    assert np.abs(drawn.mean(axis=0)).max() < 0.08
    assert (np.linalg.det(drawn) > 0).mean() == pytest.approx(0.5, abs=0.05)


def test_gains_are_those_of_hidden_actor_and_critic_layers_and_biases_are_zero():
    spec = spec_of(shared_hidden=(16,), actor_hidden=(8, 8), critic_hidden=(4,))
    weights = initial_weights(spec, FlattenEncoder(), seed=1)
    assert list(weights) == list(layout(spec, FlattenEncoder()).shapes)
    for name, weight in weights.items():
        assert weight.dtype == np.float32
        if weight.ndim == 1:
            assert not weight.any()
            continue
        gain = {"actor.2.weight": 0.01, "critic.1.weight": 1.0}.get(name, 2**0.5)
        largest = np.linalg.svd(weight, compute_uv=False)
        assert largest == pytest.approx(np.full(len(largest), gain), rel=1e-5)


def test_a_gaussian_begins_with_the_deviation_asked_for():
    spec = spec_of(action=spaces.Box(-1, 1, (2,)))
    assert initial_weights(spec, FlattenEncoder(), seed=0, log_std=-0.5)["log_std"].tolist() == [-0.5, -0.5]


def test_two_seeds_differ_in_every_matrix_and_one_seed_is_equal_to_the_byte():
    first, again, other = (initial_weights(spec_of(), FlattenEncoder(), seed=seed) for seed in (1, 1, 2))
    for name, weight in first.items():
        assert weight.tobytes() == again[name].tobytes()
        assert weight.ndim == 1 or not (weight == other[name]).any()


def test_two_matrices_of_one_shape_differ():
    weights = initial_weights(spec_of(actor_hidden=(9, 9), critic_hidden=(9, 9)), FlattenEncoder(), seed=0)
    assert not (weights["actor.0.weight"] == weights["critic.0.weight"]).any()
    assert not (weights["actor.0.weight"] == weights["actor.1.weight"]).any()


def test_initial_weights_do_not_depend_on_torch():
    code = """
import sys, hashlib
sys.modules["torch"] = None
import numpy as np
from gymnasium import spaces
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout
spec = PolicySpec.for_spaces({"observation": spaces.Box(-1, 1, (9,), np.float32)}, spaces.Discrete(3))
flat = layout(spec, FlattenEncoder()).flatten(initial_weights(spec, FlattenEncoder(), seed=7))
print(hashlib.sha256(flat.tobytes()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    flat = layout(spec_of(), FlattenEncoder()).flatten(initial_weights(spec_of(), FlattenEncoder(), seed=7))
    assert done.stdout.strip() == hashlib.sha256(flat.tobytes()).hexdigest()


def test_views_share_the_flat_array_and_cover_it_once():
    shapes = layout(spec_of(), FlattenEncoder())
    flat = np.arange(shapes.size, dtype=np.float32)
    views = shapes.views(flat)
    assert np.concatenate([view.ravel() for view in views.values()]).tolist() == flat.tolist()
    assert all(np.shares_memory(view, flat) for view in views.values())
    assert shapes.flatten(views).tobytes() == flat.tobytes()
