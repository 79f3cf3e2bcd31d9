"""Scripts choose what is allowed, by the numbers they are given and by nothing else."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from townlet_core import randomness
from townlet_core.errors import ConfigError, EnvironmentFault, UsageError
from townlet_core.policy.base import Policy
from townlet_core.services.scripts import IdlePolicy, RandomPolicy, ScriptedPolicy, make_script

OBSERVATIONS = {"observation": np.zeros((1, 1, 2), np.float32)}
HERE = np.ones((1, 1), np.bool_)


class World:
    name = "toy"
    action_space = spaces.Discrete(4)


class WorldWithExpert(World):
    def __init__(self):
        self.experts = {"scripted": lambda observations, mask: mask.argmax(axis=-1) + 1}


@given(mask=st.lists(st.booleans(), min_size=1, max_size=8).filter(any), number=st.floats(0, 1, exclude_max=True))
def test_a_random_action_is_always_an_allowed_one(mask, number):
    mask = np.array(mask)[None, None]
    step = RandomPolicy(mask.shape[-1]).act(OBSERVATIONS, mask, HERE, np.array([[[number]]]))
    assert mask[0, 0, step.actions[0, 0]]


def test_each_allowed_action_is_as_likely_as_the_others():
    noise = randomness.uniform(randomness.key(0, "test", np.arange(30_000)))[:, None, None]
    mask = np.broadcast_to(np.array([False, True, False, True, True]), (30_000, 1, 5))
    observations = {"observation": np.zeros((30_000, 1, 2), np.float32)}
    actions = RandomPolicy(5).act(observations, mask, np.ones((30_000, 1), np.bool_), noise).actions
    assert np.bincount(actions[:, 0], minlength=5) == pytest.approx([0, 10_000, 0, 10_000, 10_000], abs=300)


def test_without_a_mask_every_action_is_allowed():
    assert RandomPolicy(4).act(OBSERVATIONS, None, HERE, np.array([[[0.99]]])).actions[0, 0] == 3
    assert IdlePolicy(4).act(OBSERVATIONS, None, HERE, None).actions[0, 0] == 0


def test_a_present_agent_that_may_do_nothing_is_a_fault_and_an_absent_one_is_not():
    nothing = np.zeros((1, 1, 4), np.bool_)
    with pytest.raises(EnvironmentFault, match="world 0, agent 0"):
        IdlePolicy(4).act(OBSERVATIONS, nothing, HERE, None)
    IdlePolicy(4).act(OBSERVATIONS, nothing, ~HERE, None)


def test_the_scripts_of_an_environment_are_found_by_name_and_are_policies():
    scripted = make_script("scripted", WorldWithExpert())
    assert isinstance(scripted, Policy)
    assert isinstance(scripted, ScriptedPolicy)
    assert scripted.act(OBSERVATIONS, np.array([[[False, True, False, False]]]), HERE, None).actions[0, 0] == 2
    assert isinstance(make_script("random", World()), RandomPolicy)


def test_an_unknown_script_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(
        UsageError, match="no script 'scriptd'; did you mean 'scripted'\\?; there are: random, idle, scr"
    ):
        make_script("scriptd", WorldWithExpert())
    with pytest.raises(UsageError, match=r"there are: random, idle$"):
        make_script("scripted", World())


def acting(name, space, noise=None):
    world = World()
    world.action_space = space
    policy = make_script(name, world)
    assert noise is None or noise.shape[-1] == policy.noise_size
    observations = {"observation": np.zeros((1 if noise is None else len(noise), 1, 2), np.float32)}
    mask = np.ones((len(observations["observation"]), 1), np.bool_)
    return policy.act(observations, None, mask, noise).actions[:, 0]


def test_random_numbers_fill_their_bounds_and_are_normal_where_there_are_none():
    space = spaces.Box(np.float32([-2, 3, -np.inf, 0]), np.float32([4, 5, np.inf, np.inf]))
    keys = randomness.key(0, "test", np.arange(20_000)[:, None, None], np.arange(8))
    actions = acting("random", space, randomness.uniform(keys))
    assert actions.dtype == np.float32
    assert all(map(space.contains, actions))
    assert actions.mean(axis=0) == pytest.approx([1, 4, 0, 0.399], abs=0.05)
    assert actions.std(axis=0) == pytest.approx([6 / 12**0.5, 2 / 12**0.5, 1, 0.584], abs=0.05)
    assert actions.min(axis=0)[:2] == pytest.approx([-2, 3], abs=0.01)
    assert actions.max(axis=0)[:2] == pytest.approx([4, 5], abs=0.01)


def test_idle_takes_the_allowed_numbers_nearest_to_zero():
    space = spaces.Box(np.float32([-2, 3, -5]), np.float32([4, 5, -1]))
    assert acting("idle", space)[0].tolist() == [0, 3, -1]


def test_each_part_of_an_action_is_drawn_by_itself():
    keys = randomness.key(0, "test", np.arange(12_000)[:, None, None], np.arange(2))
    actions = acting("random", spaces.MultiDiscrete([2, 3]), randomness.uniform(keys))
    together = np.bincount(actions[:, 0] * 3 + actions[:, 1], minlength=6)
    assert together == pytest.approx([2_000] * 6, abs=200)
    assert acting("idle", spaces.MultiDiscrete([2, 3]))[0].tolist() == [0, 0]


def test_actions_that_nobody_can_take_are_refused():
    with pytest.raises(ConfigError, match="no policy acts on"):
        acting("random", spaces.MultiBinary(3))


@pytest.mark.parametrize("name", ["random", "idle"])
@pytest.mark.parametrize("mask", [[False, False, True, True, True], [True, True, False, False, False]])
def test_a_part_of_which_nothing_is_allowed_is_a_fault(name, mask):
    world = World()
    world.action_space = spaces.MultiDiscrete([2, 3])
    policy, mask = make_script(name, world), np.array([[mask]])
    with pytest.raises(EnvironmentFault, match="world 0, agent 0"):
        policy.act(OBSERVATIONS, mask, HERE, np.zeros((1, 1, 2)))
    policy.act(OBSERVATIONS, mask, ~HERE, np.zeros((1, 1, 2)))


def test_random_numbers_fill_bounds_that_are_as_wide_as_their_type_allows():
    most = float(np.finfo(np.float32).max)
    noise = randomness.uniform(randomness.key(0, "test", np.arange(2_000)[:, None, None], np.arange(2)))
    actions = acting("random", spaces.Box(-most, most, (1,), np.float32), noise) / most
    assert (np.abs(actions.mean()), actions.std()) == pytest.approx((0, 3**-0.5), abs=0.05)
