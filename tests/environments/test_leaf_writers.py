"""Writing all observations in one call: the same bytes as one by one, or nothing at all."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.environments.block_arrays import BlockLayout
from townlet_core.environments.leaf_writers import observation_writer, rows_writer
from townlet_core.environments.world_block import WorldBlock
from townlet_core.errors import EnvironmentFault

BOX = spaces.Box(-1, 1, (3,), np.float32)
AT_ONCE = [BOX, spaces.Box(-1, 1, (2, 2), np.float32), spaces.Box(0, 255, (2, 3, 1), np.uint8), spaces.MultiBinary(4)]
BY_ROW = [
    spaces.Box(-1, 1, (3,), np.float64),
    spaces.Discrete(4, start=5),
    spaces.MultiDiscrete([3, 2], start=[1, -1]),
    spaces.Dict({"goal": BOX}),
    spaces.Tuple((BOX, spaces.MultiBinary(3))),
]


def arrays_for(space, num_worlds=4):
    layout = BlockLayout(num_worlds, space, spaces.Discrete(2))
    return layout.arrays(bytearray(layout.num_bytes()))


@pytest.mark.parametrize("space", AT_ONCE, ids=str)
def test_rows_written_at_once_are_those_written_one_by_one(space) -> None:
    observations = [space.sample() for _ in range(4)]
    at_once, one_by_one = arrays_for(space), arrays_for(space)
    assert rows_writer(space, at_once.observations)(observations)
    write = observation_writer(space, one_by_one.observations)
    for row, observation in enumerate(observations):
        write(row, observation)
    assert at_once.observations[0].tobytes() == one_by_one.observations[0].tobytes()


@pytest.mark.parametrize("space", BY_ROW, ids=str)
def test_what_is_stored_in_another_way_than_shown_is_not_written_at_once(space) -> None:
    arrays = arrays_for(space)
    assert not rows_writer(space, arrays.observations)([space.sample() for _ in range(4)])
    assert not any(leaf.any() for leaf in arrays.observations)


def test_numbers_of_a_discrete_space_are_written_at_once_too() -> None:
    arrays = arrays_for(spaces.Discrete(5))
    assert rows_writer(spaces.Discrete(5), arrays.observations)([3, np.int64(4), 0, 1])
    assert arrays.observations[0].tolist() == [3, 4, 0, 1]


def test_large_observations_are_written_one_by_one() -> None:
    space = spaces.Box(0, 255, (84, 84), np.uint8)
    assert not rows_writer(space, arrays_for(space).observations)([space.sample()] * 4)


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros(3),
        np.zeros(2, np.float32),
        np.float32(0.5),
        [0.0, 0.5, 1.0],
        "text",
        None,
        np.zeros((1, 3), np.float32),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_nothing_is_written_where_one_observation_has_another_shape_or_type(odd, place) -> None:
    observations = [np.full(3, 0.5, np.float32) for _ in range(4)]
    observations[place] = odd
    arrays = arrays_for(BOX)
    assert not rows_writer(BOX, arrays.observations)(observations)
    assert not rows_writer(BOX, arrays.observations)([odd] * 4)
    assert not arrays.observations[0].any()


class Strange:
    """Cannot be read as an array."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array")


class Shows(gymnasium.Env):
    """Counts, and shows at the third step whatever it was given."""

    observation_space, action_space = BOX, spaces.Discrete(2)

    def __init__(self, odd=None) -> None:
        self.odd, self.steps = odd, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        shown = np.full(3, self.steps, np.float32) if self.steps != 3 or self.odd is None else self.odd
        return shown, 1.0, False, False, {}


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (np.zeros(2, np.float32), r"observation has shape \(2,\), its space \(3,\)"),
        (np.array(["a", "b", "c"]), "observation has dtype <U1, its space float32"),
        (np.full(3, np.nan, np.float32), r"observation is nan at index \(0,\)"),
        (Strange(), "its observation raised RuntimeError: no array"),
    ],
)
def test_what_is_wrong_is_told_of_the_world_that_it_comes_from(odd, says) -> None:
    worlds = [Shows(odd if world == 2 else None) for world in range(4)]
    block = WorldBlock(worlds, [None] * 4, name="toys", first=10, arrays=arrays_for(BOX))
    block.reset([5] * 4, list(range(4)))
    actions = np.zeros(4, np.int64)
    for _ in range(2):
        assert not block.step(actions)
    with pytest.raises(EnvironmentFault) as caught:
        block.step(actions)
    assert "world 12, episode 0" in str(caught.value)
    assert "step 3" in str(caught.value)
    assert re.search(says, str(caught.value))


def test_an_observation_of_another_type_is_converted_among_others() -> None:
    worlds, arrays = [Shows(np.array([0.25, 0.5, 0.75])), Shows(), Shows([1, 2, 3])], arrays_for(BOX, 3)
    block = WorldBlock(worlds, [None] * 3, name="toys", first=0, arrays=arrays)
    block.reset([5] * 3, list(range(3)))
    for _ in range(3):
        block.step(np.zeros(3, np.int64))
    assert arrays.observations[0].tolist() == [[0.25, 0.5, 0.75], [3, 3, 3], [1, 2, 3]]
