from __future__ import annotations

import json
import math
import tracemalloc

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import example, given, settings
from hypothesis import strategies as st

from townlet_core.errors import ConfigError
from townlet_core.spaces import (
    action_count,
    describe_space,
    flatten_action_space,
    flatten_observation,
    flatten_space,
    space_from_json,
    space_to_json,
    spaces_from_json,
)

shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
INTEGERS = ["int8", "uint8", "int16", "int32", "int64"]


@st.composite
def float_boxes(draw, largest=None):
    shape, dtype = draw(shapes), draw(st.sampled_from(["float32", "float64"]))
    width = 32 if dtype == "float32" else 64
    count = math.prod(shape)
    bound = st.one_of(
        st.floats(largest and -largest, largest, allow_nan=False, width=width), st.sampled_from([-np.inf, np.inf, 0.1])
    )
    ends = [sorted((draw(bound), draw(bound))) for _ in range(count)]
    if draw(st.booleans()):
        ends = ends[:1] * count
    low, high = np.array(ends, dtype).reshape(count, 2).T
    low[low == np.inf], high[high == -np.inf] = 0, np.inf
    if largest:
        low, high = low + 0.0, high + 0.0  # NumPy refuses to sample from 0 to -0
    return spaces.Box(low.reshape(shape), high.reshape(shape), shape, np.dtype(dtype))


@st.composite
def integer_boxes(draw, dtypes=INTEGERS):
    shape, dtype = draw(shapes), np.dtype(draw(st.sampled_from(dtypes)))
    info = np.iinfo(dtype)
    ends = [sorted(draw(st.tuples(*[st.integers(int(info.min), int(info.max))] * 2))) for _ in range(math.prod(shape))]
    low, high = np.array(ends, dtype).reshape(-1, 2).T
    return spaces.Box(low.reshape(shape), high.reshape(shape), shape, dtype)


@st.composite
def multi_discretes(draw):
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    count = math.prod(shape)
    nvec = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    start = draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count))
    return spaces.MultiDiscrete(np.array(nvec).reshape(shape), start=np.array(start).reshape(shape))


others = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 99), st.integers(-99, 99)),
    multi_discretes(),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 9), st.lists(st.integers(1, 3), min_size=1, max_size=3))),
)
keys = st.text("abcxyz_0", min_size=1, max_size=4)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda children: st.one_of(
            st.lists(st.tuples(keys, children), min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(
                spaces.Dict
            ),
            st.lists(children, min_size=1, max_size=3).map(spaces.Tuple),
        ),
        max_leaves=5,
    )


any_space = nested(st.one_of(float_boxes(), integer_boxes(), others))
space_that_can_be_sampled = nested(st.one_of(float_boxes(largest=1e6), integer_boxes(INTEGERS[:-1]), others))


def exactly_equal(one, other) -> bool:
    """Compare without the tolerance that Box has."""
    if isinstance(one, spaces.Box):
        return one == other and one.low.tobytes() == other.low.tobytes() and one.high.tobytes() == other.high.tobytes()
    if isinstance(one, spaces.Dict):
        return list(one) == list(other) and all(exactly_equal(one[key], other[key]) for key in one)
    if isinstance(one, spaces.Tuple):
        return one == other and all(map(exactly_equal, one, other))
    return one == other


@settings(deadline=None)  # a busy machine is no failure
@example(spaces.Box(np.array([0.0, -0.0], np.float32), np.array([0.0, 0.0], np.float32)))
@given(any_space)
def test_a_space_comes_back_from_json_exactly(space) -> None:
    text = json.dumps(space_to_json(space), allow_nan=False)
    assert exactly_equal(space, space_from_json(json.loads(text)))


@settings(deadline=None)  # a busy machine is no failure
@given(space_that_can_be_sampled)
def test_an_observation_has_the_leaves_of_its_space_in_their_shapes_dtypes_and_range(space) -> None:
    space.seed(0)
    seen = flatten_space(space)
    values = flatten_observation(space, space.sample())
    assert list(values) == list(seen)
    for name, leaf in seen.items():
        assert values[name].shape == leaf.shape
        assert values[name].dtype == leaf.dtype
        if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            assert leaf.contains(values[name])
        assert str(leaf.dtype) in ("float32", "uint8", "int64", "int8")


@settings(deadline=None)  # a busy machine is no failure
@given(any_space)
def test_a_description_is_one_line(space) -> None:
    assert describe_space(space)
    assert "\n" not in describe_space(space)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Taxi-v4", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasium_spaces_come_back_from_json_exactly(name) -> None:
    world = gymnasium.make(name)
    for space in (world.observation_space, world.action_space):
        assert exactly_equal(space, space_from_json(json.loads(json.dumps(space_to_json(space)))))


def test_names_nest_with_dots() -> None:
    space = spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), spaces.Dict({"b": spaces.Discrete(2)})])})
    assert list(flatten_space(space)) == ["observation.a.0", "observation.a.1.b"]
    assert list(flatten_space(spaces.Discrete(2))) == ["observation"]


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Text(3), "observation: a Text space is not supported; supported are Box"),
        (spaces.Dict({"a": spaces.Text(3)}), "observation.a: a Text space"),
        (
            spaces.Dict({"a.b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}),
            "both called 'observation.a.b'",
        ),
        (spaces.Dict({}), "is empty"),
    ],
)
def test_an_observation_space_that_cannot_be_seen_says_why(space, says) -> None:
    with pytest.raises(ConfigError, match=says):
        flatten_space(space)


def test_actions_are_counted_from_zero_on_one_axis() -> None:
    assert flatten_action_space(spaces.Discrete(3, start=5)) == spaces.Discrete(3)
    assert flatten_action_space(spaces.MultiDiscrete([[2, 3], [4, 5]])) == spaces.MultiDiscrete([2, 3, 4, 5])
    assert flatten_action_space(spaces.Box(-1, 1, (2, 2), np.float64)) == spaces.Box(-1, 1, (4,), np.float32)
    assert [action_count(space) for space in (spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.Box(0, 1))] == [
        3,
        5,
        0,
    ]
    for function in (flatten_action_space, action_count):
        with pytest.raises(ConfigError, match="supported are Discrete, MultiDiscrete and Box"):
            function(spaces.MultiBinary(2))


GOOD = {"type": "Box", "shape": [2], "dtype": "float32", "low": -1, "high": "inf"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        {"type": "Cube"},
        GOOD | {"shape": [-1]},
        GOOD | {"shape": [10**6, 10**6]},
        GOOD | {"dtype": "object"},
        GOOD | {"dtype": "V8"},
        GOOD | {"low": [0]},
        GOOD | {"low": "nan"},
        GOOD | {"low": None},
        {"type": "Discrete", "n": 0, "start": 0, "dtype": "int64"},
        {"type": "MultiDiscrete", "shape": [2], "dtype": "int64", "nvec": [1], "start": [0, 0]},
        {"type": "MultiBinary", "n": 10**12},
        {"type": "Dict", "spaces": [["a"]]},
    ],
)
def test_damaged_data_is_not_a_space(data) -> None:
    with pytest.raises(ConfigError, match="not a space"):
        space_from_json(data)


def box(elements):
    return {"type": "Box", "shape": [elements], "dtype": "float32", "low": "-inf", "high": "inf"}


def test_the_spaces_of_one_policy_are_bounded_together_and_before_memory_is_taken() -> None:
    assert len(spaces_from_json({"a": box(2**10), "b": box(2**10)})) == 2
    tracemalloc.start()
    try:
        for data in ({"a": box(2**22), "b": box(2**22 + 1)}, {"a": {"type": "Tuple", "spaces": [box(2**23 + 1)]}}):
            with pytest.raises(ConfigError, match="more than 8,388,608 numbers in all"):
                spaces_from_json(data)
        with pytest.raises(ConfigError, match="more than 4096 parts"):
            spaces_from_json({str(index): box(1) for index in range(4097)})
        assert tracemalloc.get_traced_memory()[1] < 2**22 * 40
    finally:
        tracemalloc.stop()


def test_spaces_without_end_are_refused() -> None:
    data: dict = {"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"}
    for _ in range(100):
        data = {"type": "Tuple", "spaces": [data]}
    with pytest.raises(ConfigError, match="nested deeper"):
        space_from_json(data)
