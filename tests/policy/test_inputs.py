"""What a network is fed, and the running moments that normalise it."""

import tracemalloc

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.inputs import Moments, empty_normalizer, input_shapes, prepare, prepare_into
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.floats(-1e3, 1e3), st.integers(0, 2**31))
def test_merged_moments_equal_numpys_over_all_rows(sizes, offset, seed):
    rng = np.random.default_rng(seed)
    parts = [(offset + rng.normal(size=(size, 3)) * [1.0, 10.0, 0.0]).astype(np.float32) for size in sizes]
    moments = Moments.empty((3,))
    for part in parts:
        moments = moments.merged(part)
    rows = np.concatenate(parts).astype(np.float64)
    assert moments.count == len(rows)
    if len(rows):
        assert moments.mean == pytest.approx(rows.mean(axis=0), rel=1e-9, abs=1e-9)
        assert moments.variance == pytest.approx(rows.var(axis=0), rel=1e-9, abs=1e-9)
        assert (moments.variance >= 0).all()


def test_moments_of_nothing_change_nothing():
    moments = Moments.empty((2,)).merged(np.ones((4, 2)))
    assert moments.merged(np.ones((0, 2))) is moments


def test_moments_are_kept_in_float64():
    moments = Moments.empty((1,)).merged(np.full((10, 1), 16_777_217.0 / 3, np.float32))
    assert moments.mean.dtype == moments.variance.dtype == np.float64
    assert moments.variance[0] == 0.0


def test_every_kind_of_space_becomes_float32_of_its_stated_shape():
    seen = {
        "box": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "binary": spaces.MultiBinary(2),
        "discrete": spaces.Discrete(3, start=5),
        "image": spaces.Box(0, 255, (1, 2), np.uint8),
        "many": spaces.MultiDiscrete([2, 3]),
        "scalar": spaces.Box(-1, 1, (), np.float32),
    }
    prepared = prepare(
        seen,
        {
            "box": np.array([[1.5, -2.0]], np.float32),
            "binary": np.array([[1, 0]], np.int8),
            "discrete": np.array([6]),
            "image": np.array([[[0, 255]]], np.uint8),
            "many": np.array([[1, 2]]),
            "scalar": np.array([0.25], np.float32),
        },
        {},
    )
    assert {name: values[0].tolist() for name, values in prepared.items()} == {
        "box": [1.5, -2.0],
        "binary": [1.0, 0.0],
        "discrete": [0.0, 1.0, 0.0],
        "image": [[0.0, 1.0]],
        "many": [0.0, 1.0, 0.0, 0.0, 1.0],
        "scalar": 0.25,
    }
    assert all(values.dtype == np.float32 for values in prepared.values())
    assert {name: values.shape[1:] for name, values in prepared.items()} == input_shapes(seen)


def test_normalised_observations_have_mean_zero_and_deviation_one_and_are_clipped():
    space = {"observation": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    rows = np.random.default_rng(0).normal([3.0, -100.0], [2.0, 0.5], (4000, 2)).astype(np.float32)
    moments = {"observation": Moments.empty((2,)).merged(rows)}
    prepared = prepare(space, {"observation": rows}, moments)["observation"]
    assert prepared.mean(axis=0, dtype=np.float64) == pytest.approx([0, 0], abs=1e-5)
    assert prepared.std(axis=0, dtype=np.float64) == pytest.approx([1, 1], abs=1e-5)
    far = prepare(space, {"observation": np.array([[1e9, -1e9]], np.float32)}, moments)["observation"]
    assert far.tolist() == [[10.0, -10.0]]


def test_only_boxes_of_floating_point_numbers_are_normalised():
    seen = {
        "b": spaces.Box(-1, 1, (2,), np.float32),
        "c": spaces.Box(0, 255, (2,), np.uint8),
        "a": spaces.Discrete(2),
        "d": spaces.MultiBinary(2),
    }
    assert list(empty_normalizer(seen)) == ["b"]


def test_acting_does_not_change_the_normaliser():
    space = {"observation": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    spec = PolicySpec.for_spaces(space, spaces.Discrete(2), normalize_observations=True)
    rows = np.random.default_rng(0).normal(5, 3, (8, 1, 2)).astype(np.float32)
    normalizer = {"observation": Moments.empty((2,)).merged(rows.reshape(-1, 2))}
    before = normalizer["observation"]
    policy = NumpyPolicy(spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=0), normalizer)
    first = policy.values({"observation": rows})
    policy.act({"observation": rows + 100}, None, np.ones((8, 1), bool), np.zeros((8, 1, 1)))
    assert policy.normalizer["observation"] is before
    assert policy.values({"observation": rows}).tobytes() == first.tobytes()


def test_what_is_written_into_memory_is_what_prepare_returns_bit_for_bit():
    rng = np.random.default_rng(0)
    cases = {
        "floats": (spaces.Box(-1, 1, (3,), np.float32), rng.normal(size=(5, 3)).astype(np.float32)),
        "doubles": (spaces.Box(-1, 1, (3,), np.float64), rng.normal(size=(5, 3))),
        "bytes": (spaces.Box(0, 255, (2, 3), np.uint8), rng.integers(0, 256, (5, 2, 3), np.uint8)),
        "words": (spaces.Box(0, 60_000, (2,), np.uint16), rng.integers(0, 60_000, (5, 2)).astype(np.uint16)),
        "large words": (spaces.Box(0, 4e9, (2,), np.uint32), rng.integers(0, 2**31, (5, 2)).astype(np.uint32)),
        "signed": (spaces.Box(-5, 5, (2,), np.int32), rng.integers(-5, 5, (5, 2)).astype(np.int32)),
        "choice": (spaces.Discrete(4), rng.integers(0, 4, 5)),
        "choices": (spaces.MultiDiscrete([2, 3]), np.stack([rng.integers(0, 2, 5), rng.integers(0, 3, 5)], 1)),
        "flags": (spaces.MultiBinary(3), rng.integers(0, 2, (5, 3)).astype(np.int8)),
        "one number": (spaces.Box(-1, 1, (), np.float32), rng.normal(size=5).astype(np.float32)),
    }
    moments = Moments(9.0, np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 0.5]))
    for name, (space, values) in cases.items():
        for known in (None, moments) if name == "floats" else (None,):
            prepared = prepare({name: space}, {name: values}, {} if known is None else {name: known})[name]
            wide = np.full((5, prepared[0].size + 2), np.nan, np.float32)
            prepare_into(space, values, known, wide[:, 1:-1])
            assert np.array_equal(wide[:, 1:-1], prepared.reshape(5, -1)), name
            assert np.isnan(wide[:, [0, -1]]).all()


def test_normalising_a_rollout_takes_little_more_memory_than_its_result():
    values = np.random.default_rng(0).normal(size=(8, 8192, 40)).astype(np.float32)
    moments = Moments(3.0, np.full(40, 0.5), np.full(40, 2.0))
    space = spaces.Box(-np.inf, np.inf, (40,), np.float32)
    tracemalloc.start()
    prepared = prepare({"a": space}, {"a": values}, {"a": moments})["a"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * prepared.nbytes
    assert np.array_equal(prepared, ((values - np.float64(0.5)) * (1 / np.sqrt(2.0 + 1e-8))).astype(np.float32))
