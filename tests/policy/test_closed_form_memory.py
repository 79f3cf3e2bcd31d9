"""The closed form gives the same bytes with memory of its own as with new memory, and with or without a critic."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout


@pytest.fixture(params=[(), (6, 5)], ids=["apart", "shared"])
def network(request):
    box = {"observation": spaces.Box(-1, 1, (4,), np.float32)}
    spec = PolicySpec.for_spaces(
        box, spaces.Discrete(3), shared_hidden=request.param, actor_hidden=(8, 7), critic_hidden=(6,)
    )
    shape = layout(spec, FlattenEncoder())
    rng = np.random.default_rng(0)
    flat = shape.flatten({name: rng.normal(size=size) for name, size in shape.shapes.items()}, np.float64)

    def make(**options):
        return ClosedFormNetwork(spec, FlattenEncoder(), flat, num_shards=1, **options)

    make.layout = shape
    return make


def passes(network, sizes):
    """Return outputs and gradients of several batches, copied before the next one."""
    results = []
    for size in sizes:
        rng = np.random.default_rng(size)
        outputs, values = (array.copy() for array in network.forward(rng.normal(size=(1, size, 4))))
        gradient = network.backward(rng.normal(size=(1, size, 3)), rng.normal(size=(1, size))).copy()
        results.append((outputs, values, gradient))
    return results


def test_memory_that_is_used_again_gives_what_new_memory_gives(network):
    sizes = [16, 16, 5, 32, 16]
    for ours, theirs in zip(passes(network(reuse=True), sizes), passes(network(), sizes), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13)


def test_without_a_critic_the_rest_is_the_same_and_the_critic_has_no_gradient(network):
    rng = np.random.default_rng(1)
    features, slopes = rng.normal(size=(1, 9, 4)), rng.normal(size=(1, 9, 3))
    whole, bare = network(), network(critic=False)
    outputs, _ = whole.forward(features)
    bare_outputs, values = bare.forward(features)
    assert np.array_equal(outputs, bare_outputs)
    assert not values.any()
    expected = network.layout.views(whole.backward(slopes, np.zeros((1, 9))))
    for name, slope in network.layout.views(bare.backward(slopes, np.ones((1, 9)))).items():
        assert np.array_equal(slope, expected[name]) or not name.startswith("critic"), name
        assert slope.any() != name.startswith("critic"), name


def test_memory_that_is_used_again_begins_at_multiples_of_64_bytes(network):
    made = network(reuse=True)
    for size in (16, 5, 33):
        outputs, values = made.forward(np.ones((1, size, 4)))
        gradient = made.backward(np.ones((1, size, 3)), np.ones((1, size)))
        for array in (outputs, values, gradient):
            assert array.ctypes.data % 64 == 0
