"""Running episodes that are made again from their seeds and actions go on as if nothing had happened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.environments.episode_replay import ActionLog
from townlet_core.errors import DataError, EpisodesLostError, UsageError

TOY = "python:toy_worlds:toy"
CROWD = "pettingzoo:parallel_toys"
COMES_AND_GOES = {"arrives": [0, 2, 4], "leaves": [3, 8, 6], "truncated": [1]}
WORLDS: dict[str, dict[str, Any]] = {
    "CartPole": {"name": "gymnasium:CartPole-v1"},
    "CartPole, workers": {"name": "gymnasium:CartPole-v1", "vectorization": "workers", "num_workers": 2},
    "Pendulum": {"name": "gymnasium:Pendulum-v1", "max_episode_steps": 17},
    "Pendulum, workers": {"name": "gymnasium:Pendulum-v1", "max_episode_steps": 17, "vectorization": "workers"},
    "Taxi": {"name": "gymnasium:Taxi-v4", "max_episode_steps": 13},
    "masked": {"name": "python:toy_worlds:masked"},
    "masked, workers": {"name": "python:toy_worlds:masked", "vectorization": "workers"},
    "nested": {"name": TOY, "options": {"observation": "dict", "action": "grid"}},
    "doubles": {"name": TOY, "options": {"observation": "double", "action": "from five"}},
    "forces": {"name": TOY, "options": {"observation": "tuple", "action": "force"}},
    "levels": {"name": TOY, "options": {"action": "levels"}},
    "crowd": {"name": CROWD, "options": COMES_AND_GOES},
    "crowd with masks": {"name": CROWD, "options": COMES_AND_GOES | {"masks": True}},
    "crowd of kinds": {"name": CROWD, "options": COMES_AND_GOES | {"kind": "masked"}, "max_episode_steps": 7},
    "crowd with forces": {"name": CROWD, "options": COMES_AND_GOES | {"kind": "forces"}},
}


def actions_of(environment, shown, step) -> np.ndarray:
    """Return allowed actions, another set at each step; those of the absent are nonsense."""
    rng = np.random.default_rng(step)
    space, shape = environment.action_space, (environment.num_worlds, environment.num_agents)
    if isinstance(space, spaces.Box):
        numbers = rng.uniform(-2, 3, (*shape, *space.shape)).astype(np.float32)
        numbers[~shown.agent_mask] = np.nan
        return numbers
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(0, space.nvec, (*shape, *space.shape))
    mask = np.ones((*shape, int(space.n))) if shown.action_mask is None else shown.action_mask
    choices = (rng.random(mask.shape) * mask).argmax(axis=-1)
    choices[~shown.agent_mask] = -7
    return choices


def seen(shown) -> dict[str, bytes]:
    """Return all that a step shows."""
    arrays = {f"observation {name}": leaf for name, leaf in shown.observations.items()}
    for name in ("agent_mask", "action_mask", "rewards", "terminations", "truncations", "episode_starts"):
        arrays[name] = getattr(shown, name)
    ended = shown.terminations | shown.truncations
    for name, leaf in (shown.final_observations or {}).items():
        arrays[f"final {name}"] = leaf[ended]
    return {name: array.tobytes() for name, array in arrays.items() if array is not None}


def play(environment, shown, first, last) -> tuple[list[dict[str, bytes]], Any]:
    steps = []
    for step in range(first, last):
        shown = environment.step(actions_of(environment, shown, step))
        steps.append(seen(shown))
    return steps, shown


def made(make, kind, **fields):
    return make(**{"num_worlds": 3, **WORLDS[kind], **fields})


@pytest.mark.parametrize("kind", WORLDS)
def test_another_environment_goes_on_from_a_snapshot_to_the_byte(make, kind) -> None:
    whole, other = made(make, kind), made(make, kind)
    shown, last, ends = whole.reset(5), 0, 0
    for first in (0, 1, 11, 30, 47):
        shown = play(whole, shown, last, first)[1]
        kept = whole.snapshot()
        before = {name: array.tobytes() for name, array in kept.items()}
        for world, age in enumerate(kept["ages"]):
            assert not kept["actions"][: len(kept["actions"]) - age, world].any(), "actions of an earlier episode"
        other.reset(5)
        again = other.restore(kept)
        assert {n: a.tobytes() for n, a in again.observations.items()} == {
            n: a.tobytes() for n, a in shown.observations.items()
        }
        assert not again.episode_starts.any()
        assert {name: array.tobytes() for name, array in other.snapshot().items()} == before
        last = first + 9
        expected, shown = play(whole, shown, first, last)
        assert play(other, again, first, last)[0] == expected
        assert {n: a.tobytes() for n, a in other.snapshot().items()} == {
            n: a.tobytes() for n, a in whole.snapshot().items()
        }
        assert {name: array.tobytes() for name, array in kept.items()} == before, "a snapshot is a copy"
        ends += sum(any(step["episode_starts"]) for step in expected)
    assert ends or kind.startswith("CartPole")


def test_a_snapshot_of_workers_is_one_of_sync(make) -> None:
    workers, sync = made(make, "CartPole, workers"), made(make, "CartPole")
    _, shown = play(workers, workers.reset(5), 0, 40)
    sync.reset(5)
    again = sync.restore(workers.snapshot())
    assert play(sync, again, 40, 60)[0] == play(workers, shown, 40, 60)[0]


@pytest.mark.parametrize("vectorization", ["sync", "workers"])
@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("observation", "'observation' is not what it was"),
        ("reward", "'rewards' is not what it was"),
        ("end", "'episodes' is not what it was"),
        ("raises", "step raised RuntimeError: not twice"),
    ],
)
def test_worlds_that_their_seeds_and_actions_do_not_determine_are_told_and_can_begin_anew(
    make, shown, told, vectorization
) -> None:
    import toy_worlds

    toy_worlds.Restless.resets = 0
    environment = make(
        "python:toy_worlds:restless", num_worlds=3, options={"shown": shown}, vectorization=vectorization, num_workers=1
    )
    play(environment, environment.reset(5), 0, 20)
    kept = environment.snapshot()
    with pytest.raises(EpisodesLostError, match=told) as error:
        environment.restore(kept)
    assert "environment 'python:toy_worlds:restless' cannot go on within its episodes" in str(error.value)
    with pytest.raises(UsageError, match="before reset"):
        environment.step(np.zeros((3, 1), np.int64))
    assert environment.reset(6).episode_starts.all()
    assert environment.snapshot() is not None


def test_a_snapshot_of_other_seeds_is_told(make) -> None:
    environment = made(make, "CartPole")
    play(environment, environment.reset(5), 0, 20)
    kept = environment.snapshot()
    environment.reset(6)
    with pytest.raises(EpisodesLostError, match="is not what it was"):
        environment.restore(kept)


def test_a_snapshot_needs_a_reset_and_all_of_its_actions(make) -> None:
    environment = made(make, "CartPole")
    assert environment.snapshot() is None
    play(environment, environment.reset(5), 0, 7)
    kept = environment.snapshot()
    with pytest.raises(DataError, match="'actions' has 6 steps, and the longest episode 7"):
        environment.restore(kept | {"actions": kept["actions"][1:]})
    with pytest.raises(UsageError, match="before reset"):
        made(make, "CartPole").restore(kept)


def test_an_episode_that_is_too_long_is_not_kept_until_it_has_ended(make) -> None:
    environment = make(name="gymnasium:Pendulum-v1", num_worlds=2, max_episode_steps=80)
    environment._log = ActionLog(environment.action_space, (2, 1), most_bytes=2 * 4 * 50)
    shown, kept = environment.reset(5), []
    for step in range(110):
        shown = play(environment, shown, step, step + 1)[1]
        snapshot = environment.snapshot()
        kept.append(snapshot is not None)
    assert kept == [*[True] * 25, *[False] * 54, *[True] * 26, *[False] * 5]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.02, 0.3]), min_size=1, max_size=4), st.integers(2, 400), st.integers(0, 2**32))
def test_the_log_has_what_the_running_episodes_need_as_long_as_that_may_be_kept(chances, most_rows, seed) -> None:
    rng, count = np.random.default_rng(seed), len(chances)
    log = ActionLog(spaces.Discrete(256), (count, 1), most_bytes=most_rows * count)
    ages, made = np.zeros(count, np.int64), []
    for _ in range(600):
        made.append(rng.integers(0, 256, (count, 1)))
        log.add(made[-1], ages)
        ages = np.where(rng.random(count) < chances, 0, ages + 1)
        longest = int(ages.max())
        last = log.last(longest)
        assert (last is not None) is (longest <= most_rows // 2)
        if last is not None:
            assert last.tolist() == [row.tolist() for row in made[len(made) - longest :]]
        assert len(log._rows) <= most_rows


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Discrete(256), np.uint8),
        (spaces.Discrete(257), np.uint16),
        (spaces.MultiDiscrete([2, 256]), np.uint8),
        (spaces.MultiDiscrete([2, 70000]), np.uint32),
        (spaces.Box(-1, 1, (2,)), np.float32),
    ],
)
def test_the_log_holds_actions_in_the_smallest_type_that_has_them_all(space, dtype) -> None:
    log = ActionLog(space, (1, 1))
    if not isinstance(space, spaces.Box):
        highest = np.asarray(space.n - 1 if isinstance(space, spaces.Discrete) else space.nvec - 1).reshape(1, 1, -1)
        log.add(highest.reshape(1, 1, *space.shape), np.zeros(1))
        assert log.last(1).ravel().tolist() == highest.ravel().tolist()
    assert log.last(0).dtype == dtype
