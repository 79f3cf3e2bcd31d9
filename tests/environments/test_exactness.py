from __future__ import annotations

import numpy as np
import pytest

from townlet_core.testing import check_environment
from townlet_core.testing.environment_traces import record, same_worlds

GYMNASIUM = ["CartPole-v1", "Pendulum-v1", "Taxi-v4", "FrozenLake-v1"]
OBSERVATIONS = ["box", "double", "pixels", "index", "indices", "flags", "dict", "tuple"]
ACTIONS = ["two", "from five", "several", "grid", "force", "levels"]


@pytest.mark.parametrize("name", GYMNASIUM)
def test_workers_give_the_bytes_of_sync_however_many_they_are(make, name) -> None:
    traces = [record(make(f"gymnasium:{name}", num_worlds=5, max_episode_steps=50), 3, 120)]
    traces += [
        record(
            make(f"gymnasium:{name}", num_worlds=5, max_episode_steps=50, vectorization="workers", num_workers=count),
            3,
            120,
        )
        for count in (1, 2, 3)
    ]
    assert any(step.episode_starts.any() for step in traces[0].steps[1:])
    for trace in traces[1:]:
        assert same_worlds(traces[0], trace, range(5), range(5)) is None


def test_workers_give_the_bytes_of_sync_for_nested_spaces_and_masks(make) -> None:
    for name, options in (
        ("toy", {"observation": "dict", "action": "grid"}),
        ("toy", {"observation": "tuple", "action": "levels"}),
        ("masked", {}),
    ):
        plain = make(f"python:toy_worlds:{name}", num_worlds=3, options=options)
        split = make(f"python:toy_worlds:{name}", num_worlds=3, options=options, vectorization="workers")
        assert same_worlds(record(plain, 3, 60), record(split, 3, 60), range(3), range(3)) is None


@pytest.mark.parametrize(
    "name", [*GYMNASIUM, "MountainCarContinuous-v0", "Blackjack-v1", "CliffWalking-v1", "Acrobot-v1"]
)
def test_gymnasium_environments_keep_the_contract(make, name) -> None:
    check_environment(make(f"gymnasium:{name}", num_worlds=3, max_episode_steps=40))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_every_kind_of_observation_space_keeps_the_contract(make, observation) -> None:
    check_environment(make("python:toy_worlds:toy", num_worlds=3, options={"observation": observation}), num_steps=80)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_kind_of_action_space_keeps_the_contract(make, action) -> None:
    check_environment(make("python:toy_worlds:toy", num_worlds=3, options={"action": action}), num_steps=80)


def test_masks_workers_and_entry_points_keep_the_contract(make) -> None:
    check_environment(make("python:toy_worlds:masked", num_worlds=3), num_steps=80)
    check_environment(
        make("gymnasium:Taxi-v4", num_worlds=3, vectorization="workers", max_episode_steps=30), num_steps=80
    )
    check_environment(make("gymnasium:CartPole-v1", num_worlds=3, vectorization="entry_point"), num_steps=80)


def test_actions_arrive_shifted_to_the_start_of_the_space(make) -> None:
    environment = make("python:toy_worlds:toy", num_worlds=2, options={"action": "from five"})
    environment.reset(0)
    rewards = environment.step(np.array([[0], [2]])).rewards[:, 0]
    np.testing.assert_array_equal(np.floor(rewards), [5, 7])


def test_box_actions_are_clipped_and_rounded_to_the_space(make) -> None:
    environment = make("python:toy_worlds:toy", num_worlds=1, options={"action": "levels"})
    environment.reset(0)
    assert np.floor(environment.step(np.array([[[99.0, 2.6]]], np.float32)).rewards[0, 0]) == 9 + 3


def test_a_nested_observation_has_a_leaf_for_each_part(make) -> None:
    environment = make("python:toy_worlds:toy", num_worlds=2, options={"observation": "dict"})
    shown = environment.reset(0).observations
    assert {name: (leaf.shape, leaf.dtype.name) for name, leaf in shown.items()} == {
        "observation.eye": ((2, 1, 2, 2), "uint8"),
        "observation.goal": ((2, 1), "int64"),
        "observation.in.x": ((2, 1, 1), "float32"),
    }


def test_worlds_of_one_seed_differ_and_worlds_with_their_own_seed_do_not_know_their_neighbours(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=3)
    first = environment.reset(7).observations["observation"].copy()
    assert len({row.tobytes() for row in first}) == 3
    listed = environment.reset([1, 7, 2]).observations["observation"].copy()
    np.testing.assert_array_equal(listed[1], first[0])


def test_every_episode_is_reset_with_a_seed_of_its_own(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=1, max_episode_steps=1)
    starts = {environment.reset(0).observations["observation"].tobytes()}
    starts |= {environment.step(np.zeros((1, 1), np.int64)).observations["observation"].tobytes() for _ in range(40)}
    assert len(starts) == 41


def test_entry_point_says_that_it_takes_no_seed_for_each_world(make) -> None:
    from townlet_core.errors import UsageError

    environment = make("gymnasium:CartPole-v1", num_worlds=2, vectorization="entry_point")
    with pytest.raises(UsageError, match="one generator"):
        environment.reset([1, 2])
    assert environment.reset(3).agent_mask.all()
