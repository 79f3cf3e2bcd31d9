"""A recording is the town as it was: looking changes nothing, and every frame is the state after its tick."""

import numpy as np
import pytest

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.environments.town import TownEnvironment
from townlet_core.simulation.recording import AGENT_STATES, OBJECT_STATES, RecordedTown


def recorded(scenario, num_worlds=1):
    environment = TownEnvironment(EnvironmentConfig(scenario=scenario), num_worlds=num_worlds)
    plain = environment.town
    environment.town = RecordedTown(plain.config, plain.scenario, num_worlds, num_ticks=plain.num_ticks)
    return environment


def steps(environment, count, seed=3):
    """Yield what the environment shows after the reset and after each of `count` steps of random actions."""
    rng = np.random.default_rng(0)
    step = environment.reset([seed] * environment.num_worlds)
    yield step
    for _ in range(count):
        step = environment.step((rng.random(step.action_mask.shape) * step.action_mask).argmax(axis=-1))
        yield step


def test_a_town_that_is_recorded_behaves_as_one_that_is_not():
    plain = TownEnvironment(EnvironmentConfig(scenario="storm"), num_worlds=2)
    watched = recorded("storm", num_worlds=2)
    for one, other in zip(steps(plain, 250), steps(watched, 250), strict=True):
        for name, seen in one.observations.items():
            np.testing.assert_array_equal(seen, other.observations[name])
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_each_frame_is_the_state_of_world_0_after_its_tick():
    environment = recorded("storm", num_worlds=2)
    town = environment.town
    kept = {name: [] for name in (*AGENT_STATES, *OBJECT_STATES)}
    rewards = []
    for step in steps(environment, 120):
        for name, rows in kept.items():
            rows.append(getattr(town.state, name)[0].copy())
        rewards.append(step.rewards[0].copy())
    recording = town.recording(policy="random")
    assert recording.num_frames == 121
    for name, rows in kept.items():
        tables = recording.agents if name in AGENT_STATES else recording.objects
        np.testing.assert_array_equal(tables[name], np.stack(rows), err_msg=name)
    np.testing.assert_array_equal(recording.agents["reward"], np.stack(rewards))
    total = sum(recording.reward_terms.values())
    np.testing.assert_allclose(total, recording.agents["reward"], atol=1e-5)
    assert {event.world for event in recording.events} == {0}


def test_the_last_frame_is_the_end_of_the_episode_and_not_the_beginning_of_the_next():
    environment = recorded("kitchen_breakfast")
    for _ in steps(environment, environment.town.num_ticks):
        pass
    recording = environment.town.recording(policy="random")
    hunger = recording.agents["hunger"]
    assert recording.num_frames == 121
    assert (np.abs(hunger[-1] - hunger[-2]) < 0.05).all()
    assert environment.town.state.episode[0] == 1


def test_actions_are_those_of_the_tick_and_none_at_first():
    environment = recorded("kitchen_breakfast")
    for _ in steps(environment, 20):
        pass
    action = environment.town.recording(policy="random").agents["action"]
    assert (action[0] == -1).all()
    assert (action[1:] >= 0).all()


def test_events_stand_at_the_frame_of_their_tick(recording):
    found = {frame: [event.kind for event in events] for frame, events in recording.events_by_frame() if events}
    assert found == {5: ["affordance_start"], 8: ["queue_conflict"], 12: ["chat_success"]}


def test_tables_that_do_not_fit_are_refused(recording):
    fields = {name: getattr(recording, name) for name in recording.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"'stock' of the recording is \(41, 3\); expected \(41, 2\)"):
        type(recording)(**fields | {"objects": {"stock": np.zeros((41, 3), np.int16)}})
