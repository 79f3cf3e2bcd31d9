"""The loop that collects experience: what stands in the buffer, and what is counted."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core import randomness
from townlet_core.config.load import load_config
from townlet_core.context import BuiltInResolver
from townlet_core.environments import limits
from townlet_core.environments.vector import AutoresetMode
from townlet_core.errors import ConfigError, EnvironmentFault
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.services import RolloutCaptureService
from townlet_core.services.buffer import RolloutBuffer
from townlet_core.services.noise import ActionNoise

SERVICE = RolloutCaptureService()
FLAGS = ("action_mask", "agent_mask", "terminations", "truncations")
NUMBERS = ("actions", "log_probs", "values", "bootstrap_values", "rewards")
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


def collect(environment, policy, *, num_steps=40, seeds=3, **options):
    rollout = SERVICE.start(environment, policy, seeds=seeds, **options)
    buffer = SERVICE.allocate(rollout, num_steps)
    return rollout, buffer, rollout.fill(buffer)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("agents", [1, 2])
def test_statistics_and_rows_equal_a_loop_stepped_by_hand(scripted, echo, mode, agents):
    rollout, buffer, statistics = collect(scripted(3, agents, autoreset=mode), echo())
    environment, policy = scripted(3, agents, autoreset=mode), echo()
    shown = environment.reset(3)
    returns, lengths, agent_steps, events = [], [], 0, 0.0
    totals = {(world, slot): [0.0, 0] for world in range(3) for slot in range(agents)}
    for index in range(40):
        assert (buffer.observations["observation"][index] == shown.observations["observation"]).all()
        assert (buffer.agent_mask[index] == shown.agent_mask).all()
        assert (buffer.values[index] == policy.values(shown.observations)).all()
        present = shown.agent_mask
        shown = environment.step(buffer.actions[index])
        assert (buffer.rewards[index] == shown.rewards).all()
        assert (buffer.terminations[index] == shown.terminations).all()
        assert (buffer.truncations[index] == shown.truncations).all()
        events += shown.events["steps_made"].sum()
        for (world, slot), total in totals.items():
            cut = shown.truncations[world, slot] and not shown.terminations[world, slot]
            value = policy.values(shown.final_observations)[world, slot] if cut else 0.0
            assert buffer.bootstrap_values[index, world, slot] == value
            if not present[world, slot]:
                continue
            agent_steps += 1
            total[0] += float(shown.rewards[world, slot])
            total[1] += 1
            if shown.terminations[world, slot] or shown.truncations[world, slot]:
                returns.append(total[0])
                lengths.append(total[1])
                total[:] = [0.0, 0]
    assert statistics.agent_steps == agent_steps
    assert statistics.episode_returns == returns
    assert statistics.episode_lengths == lengths
    assert statistics.events == {"steps_made": events}
    assert (buffer.last_values == policy.values(shown.observations)).all()
    assert rollout.returns.ravel().tolist() == [total[0] for total in totals.values()]
    assert rollout.lengths.ravel().tolist() == [total[1] for total in totals.values()]


def test_a_truncation_bootstraps_from_the_final_observation_and_a_termination_does_not(scripted, echo):
    _, buffer, _ = collect(scripted(2), echo())
    cut = buffer.truncations & ~buffer.terminations
    assert cut.any()
    assert buffer.terminations.any()
    assert (buffer.bootstrap_values[~cut] == 0).all()
    identity, episode, tick = np.moveaxis(buffer.observations["observation"], -1, 0)
    assert (buffer.bootstrap_values[cut] == (identity + episode / 16 + (tick + 1) / 256)[cut]).all()


def test_reset_steps_of_next_step_autoreset_are_not_counted(scripted, echo):
    same = collect(scripted(3), echo())
    later = collect(scripted(3, autoreset=AutoresetMode.NEXT_STEP), echo())
    mask = later[1].agent_mask
    assert 0 < np.count_nonzero(~mask) < mask.size
    assert later[2].agent_steps == np.count_nonzero(mask)
    assert later[2].agent_steps < same[2].agent_steps == mask.size
    for world in range(3):
        assert not (later[1].rewards[:, world][mask[:, world]] == -777.0).any()
        acted = later[1].rewards[:, world][mask[:, world]]
        assert acted.tolist() == same[1].rewards[: len(acted), world, 0].tolist()
    assert min(later[2].episode_returns) > -100.0


def test_an_action_mask_is_recorded_as_it_was_shown(scripted, echo):
    _, buffer, _ = collect(scripted(3, with_mask=True), echo())
    tick = buffer.observations["observation"][..., 2]
    assert buffer.action_mask.shape == (40, 3, 1, 4)
    assert (buffer.action_mask[..., 0] == (tick % 2 == 0)).all()
    assert buffer.action_mask[..., 1:].all()
    assert collect(scripted(3), echo())[1].action_mask is None


@pytest.mark.parametrize(
    ("first", "says"), [(True, "had an action_mask before"), (False, "has an action_mask only now")]
)
def test_an_environment_that_has_masks_only_sometimes_is_faulty(scripted, echo, first, says):
    environment = scripted(3, with_mask=first)
    rollout = SERVICE.start(environment, echo(), seeds=3)
    rollout.fill(SERVICE.allocate(rollout, 4))
    environment.with_mask = not first
    for step in (lambda: rollout.fill(SERVICE.allocate(rollout, 4)), rollout.step):
        with pytest.raises(EnvironmentFault, match=rf"'scripted': it {says}.*in every step, or never"):
            step()


def test_a_buffer_that_does_not_fit_into_memory_is_refused_before_it_is_made(scripted, echo, monkeypatch):
    rollout = SERVICE.start(scripted(2, 3, with_mask=True), echo(), seeds=3)
    buffer = SERVICE.allocate(rollout, 10)
    arrays = [*buffer.observations.values(), *(getattr(buffer, part) for part in FLAGS + NUMBERS)]
    needed = sum(array.nbytes for array in arrays)
    monkeypatch.setattr(limits, "available_memory", lambda: needed)
    SERVICE.allocate(rollout, 10)
    monkeypatch.setattr(limits, "available_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"rollouts of 10 steps, 2 worlds and 3 agents need .* lower num_steps"):
        SERVICE.allocate(rollout, 10)


def test_a_limit_of_the_process_that_the_system_does_not_tell_is_a_configuration_error_too(scripted, echo, monkeypatch):
    rollout = SERVICE.start(scripted(2), echo(), seeds=3)
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    with pytest.raises(ConfigError, match=r"worlds and 1 agents do not fit into memory .*: lower num_steps"):
        SERVICE.allocate(rollout, 10**13)


def test_an_episode_that_spans_two_rollouts_is_counted_once_and_whole(scripted, echo):
    whole = collect(scripted(3), echo(), num_steps=42)
    rollout = SERVICE.start(scripted(3), echo(), seeds=3)
    buffer = SERVICE.allocate(rollout, 7)
    parts = [rollout.fill(buffer) for _ in range(6)]
    assert [value for part in parts for value in part.episode_returns] == whole[2].episode_returns
    assert [value for part in parts for value in part.episode_lengths] == whole[2].episode_lengths
    assert sum(part.agent_steps for part in parts) == whole[2].agent_steps


def test_a_second_rollout_writes_into_the_same_arrays(scripted, echo):
    rollout, buffer, _ = collect(scripted(2), echo(), num_steps=5)
    places = [
        buffer.actions.ctypes.data,
        buffer.observations["observation"].ctypes.data,
        buffer.last_values.ctypes.data,
    ]
    before = buffer.observations["observation"].copy()
    rollout.fill(buffer)
    assert places == [
        buffer.actions.ctypes.data,
        buffer.observations["observation"].ctypes.data,
        buffer.last_values.ctypes.data,
    ]
    assert (buffer.observations["observation"] != before).any()


def test_a_policys_state_comes_back_to_it(scripted, echo):
    rollout = SERVICE.start(scripted(2), echo(), seeds=0)
    states = []
    for _ in range(3):
        rollout.step()
        states.append(rollout._state)
    assert states == [1, 2, 3]


def test_world_three_acts_the_same_alone_and_among_others(scripted, echo):
    """With one seed for each world, every world is world 0 under its own seed."""
    _, among, _ = collect(scripted(5), echo(), seeds=[11, 12, 13, 14, 15])
    _, alone, _ = collect(scripted(1), echo(), seeds=[14])
    assert among.actions[:, 3].tobytes() == alone.actions[:, 0].tobytes()
    assert among.observations["observation"][:, 3].tobytes() == alone.observations["observation"][:, 0].tobytes()


def test_world_three_draws_the_same_numbers_whatever_the_number_of_worlds():
    def stream(num_worlds, starts):
        noise = ActionNoise(7, "act", num_worlds=num_worlds, num_agents=2, size=3)
        drawn = []
        for tick in range(12):
            drawn.append(noise.next()[3].copy())
            begin = np.zeros(num_worlds, bool)
            begin[3] = tick == 4
            begin[[world for world in starts if world < num_worlds]] |= tick % 2 == 0
            if begin.any():
                noise.begin_episodes(begin)
        return np.array(drawn)

    first = stream(4, starts=())
    assert first.tobytes() == stream(9, starts=(0, 1, 8)).tobytes()
    assert np.unique(first).size == first.size
    assert first.min() >= 0.0
    assert first.max() < 1.0


def test_a_number_is_that_of_its_key_in_any_episode():
    noise = ActionNoise(7, "act", num_worlds=3, num_agents=2, size=2)
    begins = np.random.default_rng(0).random((100, 3)) < [0.9, 0.1, 0.0]
    episodes, ticks = np.zeros(3, int), np.zeros(3, int)
    for begin in begins:
        keys = randomness.key(7, "act", np.arange(3)[:, None], episodes[:, None], np.arange(2))
        expected = randomness.uniform(keys[..., None], 2 * ticks[:, None, None] + np.arange(2))
        assert noise.next().tobytes() == expected.tobytes()
        episodes, ticks = episodes + begin, np.where(begin, 0, ticks + 1)
        noise.begin_episodes(begin)
    assert [place.tolist() for place in noise.position()] == [episodes.tolist(), ticks.tolist()]
    assert episodes[0] > 64
    again = ActionNoise(7, "act", num_worlds=3, num_agents=2, size=2)
    again.restore(noise.snapshot())
    for begin in begins:
        assert again.next().tobytes() == noise.next().tobytes()
        for each in (noise, again):
            each.begin_episodes(begin)


def test_noise_is_keyed_by_episode_and_tick_not_by_the_steps_made():
    first = ActionNoise(7, "act", num_worlds=1, num_agents=1, size=1)
    second = ActionNoise(7, "act", num_worlds=1, num_agents=1, size=1)
    for _ in range(3):
        first.next()
    for _ in range(8):
        second.next()
    for noise in (first, second):
        noise.begin_episodes(np.array([True]))
    assert first.next().tobytes() == second.next().tobytes()


def test_purposes_and_seeds_share_no_noise():
    def first(seed, purpose):
        return ActionNoise(seed, purpose, num_worlds=4, num_agents=2, size=2).next()

    assert not np.isin(first(0, "act"), first(0, "evaluate")).any()
    assert not np.isin(first(0, "act"), first(1, "act")).any()
    assert first(np.int64(5), "act").tobytes() == first(5, "act").tobytes()


def test_a_deterministic_rollout_gives_no_noise(scripted, echo):
    policy = echo()
    collect(scripted(2), policy, deterministic=True, num_steps=3)
    assert not np.any(policy.noises)


def test_a_buffer_takes_the_spaces_types():
    buffer = RolloutBuffer.allocate(
        2,
        3,
        1,
        observation_spaces={"a": spaces.Box(0, 255, (4, 4), np.uint8), "b": spaces.Discrete(3)},
        action_space=spaces.MultiDiscrete([2, 3]),
        has_action_mask=True,
    )
    assert buffer.observations["a"].shape == (2, 3, 1, 4, 4)
    assert buffer.observations["a"].dtype == np.uint8
    assert buffer.observations["b"].shape == (2, 3, 1)
    assert buffer.observations["b"].dtype == np.int64
    assert buffer.actions.shape == (2, 3, 1, 2)
    assert buffer.actions.dtype == np.int64
    assert buffer.action_mask.shape == (2, 3, 1, 5)


def test_one_seed_gives_one_rollout_to_the_byte_on_a_real_environment():
    config = load_config(None, sets=["environment.name=gymnasium:CartPole-v1", "environment.num_worlds=4"]).config

    def run(seed):
        environment = BuiltInResolver().environment(config.environment)
        spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
        policy = NumpyPolicy(
            spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=1), {}, worlds_per_shard=4
        )
        _, buffer, statistics = collect(environment, policy, num_steps=60, seeds=seed)
        environment.close()
        return buffer.observations["observation"].tobytes() + buffer.log_probs.tobytes(), statistics

    assert run(5) == run(5)
    assert run(5)[0] != run(6)[0]
    assert len(run(5)[1].episode_returns) > 4
