"""The closed form gives the same bytes in memory used again as in new memory, and with or without a critic."""

from itertools import pairwise

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

    def make(num_shards=1, **options):
        return ClosedFormNetwork(spec, FlattenEncoder(), flat, num_shards=num_shards, **options)

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
    anew = [passes(network(), [size])[0] for size in sizes]
    for ours, theirs in zip(passes(network(), sizes), anew, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.tobytes() == other.tobytes()


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


@pytest.mark.parametrize("rows", [3, 16, 33])
def test_a_shard_has_the_same_bytes_in_every_stack(network, rows):
    made = network(num_shards=5)
    rng = np.random.default_rng(rows)
    features, slopes, errors = (rng.normal(size=(5, rows, *width)) for width in ((4,), (3,), ()))

    def differentiate(first, last):
        scratch = made.scratch.array("features", (last - first, rows, 4), np.float64)
        scratch[:] = features[first:last]
        outputs, values = (array.copy() for array in made.forward(scratch))
        return outputs, values, made.backward(slopes[first:last], errors[first:last]).copy()

    whole = differentiate(0, 5)
    for bounds in ((0, 1, 2, 3, 4, 5), (0, 2, 5), (0, 4, 5)):
        parts = [differentiate(*part) for part in pairwise(bounds)]
        for index, array in enumerate(whole):
            assert b"".join(part[index].tobytes() for part in parts) == array.tobytes()


@pytest.mark.parametrize("rows", [3, 16, 33])
def test_every_shard_begins_at_a_multiple_of_64_bytes(network, rows):
    made = network(num_shards=3)
    outputs, values = made.forward(np.ones((3, rows, 4)))
    gradients = made.backward(np.ones((3, rows, 3)), np.ones((3, rows)))
    for array in (outputs, values, gradients):
        assert all(shard.ctypes.data % 64 == 0 for shard in array)
