from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.environments import limits
from townlet_core.environments.build import make_environment, runs_code
from townlet_core.environments.vector import AutoresetMode
from townlet_core.errors import ConfigError, DataError, EnvironmentFault, UnavailableError, UsageError
from townlet_core.testing import check_environment
from townlet_core.testing.environment_traces import random_actions, record, same_worlds

TOYS = "pettingzoo:parallel_toys"
NOTHING = {"luck": False}
COMES_AND_GOES = {"arrives": [0, 2, 4], "leaves": [3, 7, 6], "truncated": [1]}


@pytest.fixture
def toys(make):
    """Return ``toys(num_worlds, max_episode_steps, **options)``."""

    def build(num_worlds=2, max_episode_steps=None, **options):
        return make(TOYS, num_worlds=num_worlds, max_episode_steps=max_episode_steps, options=options)

    return build


def still(environment):
    """Return an action 0 of every agent."""
    shape = (environment.num_worlds, environment.num_agents, *environment.action_space.shape)
    return np.zeros(shape, environment.action_space.dtype)


# The contract


@pytest.mark.parametrize("plan", [{}, COMES_AND_GOES, {"masks": True, **COMES_AND_GOES}], ids=["all", "come", "masks"])
@pytest.mark.parametrize("kind", ["equal", "positive", "sizes", "indices"])
def test_toys_keep_the_contract(toys, kind, plan) -> None:
    check_environment(toys(3, kind=kind, **plan), num_steps=50)


@pytest.mark.parametrize("kind", ["forces", "masked", "choices"])
def test_toys_of_other_actions_and_with_masks_among_what_they_see_keep_the_contract(toys, kind) -> None:
    check_environment(toys(3, kind=kind, **COMES_AND_GOES), num_steps=50)
    check_environment(toys(3, max_episode_steps=4, kind=kind), num_steps=50)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("simple_spread_v3", {}),
        ("simple_tag_v3", {}),
        ("simple_adversary_v3", {"continuous_actions": True}),
        ("simple_speaker_listener_v4", {}),
        ("simple_speaker_listener_v4", {"continuous_actions": True}),
    ],
)
def test_mpe2_keeps_the_contract(make, module, options) -> None:
    environment = make(f"pettingzoo:mpe2.{module}", num_worlds=3, options={"max_cycles": 12, **options})
    assert environment.autoreset is AutoresetMode.SAME_STEP
    check_environment(environment, num_steps=40)


def test_every_step_equals_a_hand_stepped_world(make, episode_seed) -> None:
    from mpe2 import simple_tag_v3

    num_worlds, seed = 2, 11
    environment = make("pettingzoo:mpe2.simple_tag_v3", num_worlds=num_worlds, options={"max_cycles": 7})
    worlds = [simple_tag_v3.parallel_env(max_cycles=7) for _ in range(num_worlds)]
    agents = worlds[0].possible_agents
    episodes = [0] * num_worlds
    shown = environment.reset(seed)
    seen = [world.reset(seed=episode_seed(seed, index))[0] for index, world in enumerate(worlds)]
    for index in range(20):
        actions = random_actions(environment, shown, [1, 2], index)
        shown = environment.step(actions)
        for place, world in enumerate(worlds):
            seen[place], rewards, terminated, truncated, _ = world.step(
                dict(zip(agents, actions[place].tolist(), strict=True))
            )
            np.testing.assert_array_equal(shown.rewards[place], np.float32([rewards[agent] for agent in agents]))
            assert shown.terminations[place].tolist() == [terminated[agent] for agent in agents]
            assert shown.truncations[place].tolist() == [truncated[agent] for agent in agents]
            assert shown.episode_starts[place] == (index % 7 == 6)
            if not world.agents:
                for slot, agent in enumerate(agents):
                    final = shown.final_observations["observation.observation"][place, slot, : len(seen[place][agent])]
                    np.testing.assert_array_equal(final, seen[place][agent])
                episodes[place] += 1
                seen[place], _ = world.reset(seed=episode_seed(seed, place, episodes[place]))
            for slot, agent in enumerate(agents):
                row = shown.observations["observation.observation"][place, slot]
                np.testing.assert_array_equal(row, np.pad(seen[place][agent], (0, 16 - len(seen[place][agent]))))
    assert episodes == [2, 2]


# Spaces


def test_equal_spaces_stay_as_they_are(toys) -> None:
    environment = toys(kind="equal")
    assert environment.observation_spaces == {"observation": spaces.Box(-2000, 2000, (2,), np.float32)}
    assert environment.action_space == spaces.Discrete(3)
    assert environment.num_agents == 3
    assert environment.reset(0).action_mask is None


def test_spaces_that_differ_only_in_where_they_start_are_equal(toys) -> None:
    environment = toys(kind="positive")
    assert environment.action_space == spaces.Discrete(3)


def test_shorter_observations_are_padded_and_the_type_is_told(toys) -> None:
    environment = toys(1, kind="sizes", **NOTHING)
    assert {name: space.shape for name, space in environment.observation_spaces.items()} == {
        "observation.observation": (4,),
        "observation.agent_type": (2,),
    }
    shown = environment.reset(0).observations
    np.testing.assert_array_equal(
        shown["observation.observation"][0], [[10, 10, 0, 0], [20, 20, 20, 20], [30, 30, 0, 0]]
    )
    np.testing.assert_array_equal(shown["observation.agent_type"][0], [[1, 0], [0, 1], [1, 0]])
    assert {leaf.dtype.name for leaf in shown.values()} == {"float32"}


def test_the_mask_hides_the_actions_that_an_agent_lacks(toys) -> None:
    environment = toys(2, kind="sizes", leaves=[2, 9, 9])
    lacks = [[True, True, True], [True, True, False], [True, True, True]]
    np.testing.assert_array_equal(environment.reset(0).action_mask, [lacks, lacks])
    for _ in range(3):
        shown = environment.step(still(environment))
        np.testing.assert_array_equal(shown.action_mask, [lacks, lacks])


def test_unequal_counts_of_observations_become_the_larger_and_each_is_checked_against_its_own(toys) -> None:
    environment = toys(1, kind="indices", **NOTHING)
    assert environment.observation_spaces["observation.observation"] == spaces.Discrete(6)
    np.testing.assert_array_equal(environment.reset(0).observations["observation.observation"], [[10 % 4, 20 % 6]])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("images", r"observation spaces.*: Box\(4,\) uint8.* and Box\(4,\) float32"),
        ("grids", r"observation spaces.*: Box\(2, 2\) float32.* and Box\(2, 3\) float32"),
        ("several", r"action spaces.*: MultiDiscrete\(\[2, 3\]\) and MultiDiscrete\(\[3, 3\]\)"),
        ("mixed", r"action spaces.*: Discrete\(2\) and Box\(2,\) float32"),
    ],
)
def test_spaces_that_do_not_go_together_name_both_agents_and_both_spaces(toys, kind, says) -> None:
    with pytest.raises(ConfigError, match=rf"agents 'walker_0' and 'walker_1' have {says}"):
        toys(kind=kind)


# Actions


def test_actions_arrive_in_each_agents_own_space(toys) -> None:
    environment = toys(1, kind="sizes", **NOTHING)
    environment.reset(0)
    np.testing.assert_array_equal(environment.step(np.array([[2, 1, 0]])).rewards, [[2, 7 + 1 + 100, 200]])


def test_forces_are_clipped_to_each_agents_own_bounds_and_surplus_numbers_are_ignored(toys) -> None:
    environment = toys(1, kind="forces", **NOTHING)
    assert environment.action_space.shape == (3,)
    environment.reset(0)
    rewards = environment.step(np.full((1, 3, 3), 9, np.float32)).rewards
    np.testing.assert_array_equal(rewards, [[1, 2 + 2 + 2 + 100, 1 + 1 + 200]])
    rewards = environment.step(np.full((1, 3, 3), -9, np.float32)).rewards
    np.testing.assert_array_equal(rewards, [[-1, -3 - 3 - 3 + 100, 200]])


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros((2, 1), np.int64), r"shape \(2, 1\), expected \(2, 3\)"),
        (np.array([[0, 0, 0], [0, 2, 0]]), "agent 'walker_1': the action of world 1 is 2; each is 0 to below 2"),
        (np.zeros((2, 3), np.float32), "agent 'walker_0': actions have dtype float32, expected int64"),
    ],
)
def test_actions_that_an_agent_does_not_have_are_refused_by_its_name(toys, actions, says) -> None:
    environment = toys(2, kind="sizes")
    environment.reset(0)
    with pytest.raises(DataError, match=says):
        environment.step(actions)


def test_actions_of_absent_agents_are_ignored(toys) -> None:
    environment = toys(1, kind="sizes", arrives=[0, 0, 3], **NOTHING)
    environment.reset(0)
    np.testing.assert_array_equal(environment.step(np.array([[0, 0, 999]])).rewards, [[0, 107, 0]])


# Masks


def test_a_mask_in_info_arrives_and_follows_its_step(toys) -> None:
    environment = toys(1, kind="equal", masks=True, arrives=[0, 1, 0])
    shown = environment.reset(0)
    np.testing.assert_array_equal(shown.action_mask[0], [[False, True, True], [True] * 3, [False, True, True]])
    shown = environment.step(np.ones((1, 3), np.int64))
    np.testing.assert_array_equal(shown.action_mask[0], [[True, False, True]] * 3)


def test_a_mask_within_the_observation_is_taken_out_of_it(toys) -> None:
    environment = toys(1, kind="masked", **NOTHING)
    assert set(environment.observation_spaces) == {"observation.observation", "observation.agent_type"}
    shown = environment.reset(0)
    np.testing.assert_array_equal(shown.observations["observation.observation"][0], [[10, 10, 0], [20] * 3, [30] * 3])
    np.testing.assert_array_equal(shown.action_mask[0], [[0, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]])


# Agents that come and go


def test_agents_come_act_and_leave_by_plan(toys) -> None:
    environment = toys(1, **NOTHING, **COMES_AND_GOES)
    shown = environment.reset(0)
    steps = [shown.agent_mask[0].tolist()]
    seen = [shown.observations["observation"][0, :, 0].tolist()]
    terminations, truncations, rewards, starts = [], [], [], []
    for _ in range(7):
        shown = environment.step(np.ones((1, 3), np.int64))
        steps.append(shown.agent_mask[0].tolist())
        seen.append(shown.observations["observation"][0, :, 0].tolist())
        terminations.append(shown.terminations[0].tolist())
        truncations.append(shown.truncations[0].tolist())
        rewards.append(shown.rewards[0].tolist())
        starts.append(bool(shown.episode_starts[0]))
    no, yes = False, True
    assert steps == [[yes, no, no]] * 2 + [[yes, yes, no], [no, yes, no], [no, yes, yes], [no, yes, yes]] + [
        [no, yes, no],
        [yes, no, no],
    ]
    assert seen == [
        [10, 0, 0],
        [11, 0, 0],
        [12, 22, 0],
        [0, 23, 0],
        [0, 24, 34],
        [0, 25, 35],
        [0, 26, 0],
        [10, 0, 0],
    ]
    assert rewards == [[1, 0, 0], [1, 0, 0], [1, 101, 0], [0, 101, 0], [0, 101, 201], [0, 101, 201], [0, 101, 0]]
    assert [row.index(True) if True in row else None for row in terminations] == [None, None, 0, None, None, 2, None]
    assert truncations == [[no, no, no]] * 6 + [[no, yes, no]]
    assert starts == [no] * 6 + [yes]


def test_the_last_observation_of_an_agent_that_leaves_is_kept(toys) -> None:
    environment = toys(1, leaves=[2, 4, 4], **NOTHING)
    environment.reset(0)
    assert environment.step(still(environment)).final_observations is None
    shown = environment.step(still(environment))
    np.testing.assert_array_equal(shown.final_observations["observation"][0, 0], [12, 12])
    assert environment.step(still(environment)).final_observations is None
    shown = environment.step(still(environment))
    np.testing.assert_array_equal(shown.final_observations["observation"][0, 1:], [[24, 24], [34, 34]])
    np.testing.assert_array_equal(shown.observations["observation"][0, :, 0], [10, 20, 30])


def test_a_time_limit_truncates_those_who_are_still_there(toys) -> None:
    environment = toys(1, max_episode_steps=4, arrives=[0, 0, 4], leaves=[2, 9, 9], **NOTHING)
    environment.reset(0)
    for _ in range(4):
        shown = environment.step(still(environment))
    assert shown.truncations[0].tolist() == [False, True, False]  # one has left, one has only just come
    assert not shown.terminations.any()
    assert shown.episode_starts[0]
    assert shown.agent_mask[0].tolist() == [True, True, False]
    np.testing.assert_array_equal(shown.final_observations["observation"][0, 1], [24, 24])
    np.testing.assert_array_equal(shown.observations["observation"][0, :, 0], [10, 20, 0])


def test_who_terminates_at_the_time_limit_is_not_truncated(toys) -> None:
    environment = toys(1, max_episode_steps=2, leaves=[2, 9, 9])
    environment.reset(0)
    environment.step(still(environment))
    shown = environment.step(still(environment))
    assert shown.terminations[0].tolist() == [True, False, False]
    assert shown.truncations[0].tolist() == [False, True, True]


def test_a_truncated_agent_bootstraps_from_its_own_last_observation(toys) -> None:
    from townlet_core.policy.base import PolicyStep
    from townlet_core.services.capture import RolloutCaptureService

    class FirstNumber:
        noise_size = 0

        def values(self, observations):
            return observations["observation"][..., 0].copy()

        def act(self, observations, action_mask, agent_mask, noise, state):
            zeros = np.zeros(agent_mask.shape, np.float32)
            return PolicyStep(np.zeros(agent_mask.shape, np.int64), zeros, self.values(observations))

    environment = toys(1, leaves=[2, 3, 9], truncated=[0], max_episode_steps=5, **NOTHING)
    service = RolloutCaptureService()
    rollout = service.start(environment, FirstNumber(), seeds=0, deterministic=True)
    buffer = service.allocate(rollout, 6)
    statistics = rollout.fill(buffer)
    bootstraps = np.zeros((6, 3))
    bootstraps[1, 0], bootstraps[4, 2] = 12, 35
    np.testing.assert_array_equal(buffer.bootstrap_values[:, 0], bootstraps)
    np.testing.assert_array_equal(buffer.agent_mask[:, 0].sum(axis=0), [2 + 1, 3 + 1, 5 + 1])
    assert statistics.agent_steps == 13
    assert statistics.episode_lengths == [2, 3, 5]
    assert statistics.episode_returns == [0, 300, 1000]


# Exactness


def test_the_same_seed_gives_the_same_bytes_in_any_environment_made_alike(toys) -> None:
    one, other = (record(toys(3, kind="sizes", **COMES_AND_GOES), 5, 40) for _ in range(2))
    assert same_worlds(one, other, range(3), range(3)) is None
    another = record(toys(3, kind="sizes", **COMES_AND_GOES), 6, 40)
    assert same_worlds(one, another, [0], [0]) is not None


def test_a_world_does_not_know_its_neighbours(make) -> None:
    name = "pettingzoo:mpe2.simple_adversary_v3"
    many = record(make(name, num_worlds=3), [4, 5, 6], 60)
    alone = record(make(name, num_worlds=1), [5], 60)
    assert same_worlds(many, alone, [1], [0]) is None


def test_every_episode_of_every_world_has_a_seed_of_its_own(toys) -> None:
    environment = toys(3, leaves=[1, 1, 1])
    shown = environment.reset(0)
    starts = set(shown.observations["observation"][:, 0, 0].tolist())
    for _ in range(20):
        starts |= set(environment.step(still(environment)).observations["observation"][:, 0, 0].tolist())
    assert len(starts) > 50


# Faults

FAULTS = {
    "raises": "step raised ZeroDivisionError: the crowd broke",
    "four values": "step raised ValueError: not enough values to unpack",
    "a list": "observations is a list, expected a mapping from agents",
    "no observations": "agent 'walker_1': observations has no entry for it",
    "no rewards": "agent 'walker_1': rewards has no entry for it",
    "no terminations": "agent 'walker_1': terminations has no entry for it",
    "no truncations": "agent 'walker_1': truncations has no entry for it",
    "nan": r"agent 'walker_1': observation is nan at index \(1,\)",
    "nan at the end": r"agent 'walker_1': final observation is nan at index \(0,\)",
    "shape": r"agent 'walker_1': observation has shape \(3,\), its space \(2,\)",
    "text": r"agent 'walker_1': observation has shape \(\), its space \(2,\)",
    "nan reward": "agent 'walker_1': reward is nan",
    "huge reward": "agent 'walker_1': reward is inf",
    "text reward": "agent 'walker_1': reward is '1' .str., expected a number",
    "number as flag": "agent 'walker_1': terminated is 1 .int., expected True or False",
    "still there": "agent 'walker_1': agents still holds it, though it is terminated or truncated",
    "gone": "agent 'walker_1': agents does not hold it any more, though it is neither terminated nor truncated",
    "stranger": "agents holds 'stranger', which is not one of possible_agents",
    "late mask": "agent 'walker_1': info has an 'action_mask', and there was none after the first reset",
}
FAULTS_OF_MASKS = {
    "lost mask": "agent 'walker_1': info has no 'action_mask', and there was one after the first reset",
    "wide mask": r"agent 'walker_1': info\['action_mask'\] has shape \(4,\) and dtype bool, expected 3 flags",
}


@pytest.mark.parametrize("fault", [*FAULTS, *FAULTS_OF_MASKS])
def test_a_fault_names_world_episode_seed_step_agent_and_field(toys, episode_seed, fault) -> None:
    seed = episode_seed(4, 1, 1)
    environment = toys(3, leaves=[3, 3, 3], fault=fault, when=seed, masks=fault in FAULTS_OF_MASKS)
    shown = environment.reset(4)
    for index in range(4):
        shown = environment.step(random_actions(environment, shown, [0, 1, 2], index))
    with pytest.raises(EnvironmentFault) as caught:
        environment.step(random_actions(environment, shown, [0, 1, 2], 4))
    place = re.escape(f"{TOYS}': world 1, episode 1 (reset seed {seed}), step 2: ")
    assert re.search(place + {**FAULTS, **FAULTS_OF_MASKS}[fault], str(caught.value)), caught.value
    with pytest.raises(UsageError, match="is closed"):
        environment.step(still(environment))


def test_an_error_of_the_environment_brings_its_own_traceback(toys, episode_seed) -> None:
    environment = toys(1, fault="raises", when=episode_seed(0, 0))
    environment.reset(0)
    environment.step(still(environment))
    with pytest.raises(EnvironmentFault, match=r"(?s)parallel_toys.py.*raise ZeroDivisionError"):
        environment.step(still(environment))


def test_a_world_without_agents_after_reset_is_a_fault_of_step_0(toys, episode_seed) -> None:
    environment = toys(2, fault="nobody", when=episode_seed(0, 1))
    with pytest.raises(EnvironmentFault, match=r"world 1, episode 0 .*, step 0: agents is empty after reset"):
        environment.reset(0)


# Names


def build(name, *, trust_code=False, **fields):
    return make_environment(EnvironmentConfig(name=name, **fields), trust_code=trust_code)


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("pettingzoo:mpe2.simple_spread_v3", False),
        ("pettingzoo:pettingzoo.sisl.pursuit_v5", False),
        ("pettingzoo:parallel_toys", True),
        ("pettingzoo:mpe2x.simple_spread_v3", True),
        ("pettingzoo:my.mpe2", True),
    ],
)
def test_only_modules_of_well_known_packages_need_no_trust(name, runs) -> None:
    assert runs_code(name) == runs
    if runs:
        with pytest.raises(ConfigError, match=r"would import and run the module.*--trust-config"):
            build(name)


def test_mpe2_is_made_without_trust() -> None:
    build("pettingzoo:mpe2.simple_spread_v3", num_worlds=1).close()


@pytest.mark.parametrize("name", ["pettingzoo:", "pettingzoo:mpe2.", "pettingzoo:a:b", "pettingzoo:../x"])
def test_a_malformed_name_shows_the_form(name) -> None:
    with pytest.raises(ConfigError, match="not of the form 'pettingzoo:MODULE'"):
        build(name, trust_code=True)


@pytest.mark.parametrize("vectorization", ["workers", "entry_point"])
def test_another_vectorization_than_sync_is_refused(vectorization) -> None:
    with pytest.raises(ConfigError, match=rf"vectorization '{vectorization}' is for Gymnasium.*use 'sync'"):
        build("pettingzoo:mpe2.simple_spread_v3", vectorization=vectorization)


class Missing:
    """An import finder for which one package is not there."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("module", "missing", "hint"),
    [
        ("mpe2.simple_spread_v3", "mpe2", r"pip install 'townlet-core\[pettingzoo\]' mpe2$"),
        ("parallel_toys", "pettingzoo", r"pip install 'townlet-core\[pettingzoo\]'$"),
        (
            "no_such_module_here",
            "",
            r"named 'no_such_module_here'.*pip install 'townlet-core\[pettingzoo\]'$",
        ),
    ],
)
def test_a_missing_package_brings_the_install_hint(monkeypatch, module, missing, hint) -> None:
    for name in list(sys.modules):
        if missing and name.partition(".")[0] in (missing, "parallel_toys"):
            monkeypatch.delitem(sys.modules, name)
    if missing:
        monkeypatch.setattr(sys, "meta_path", [Missing(missing), *sys.meta_path])
    with pytest.raises(UnavailableError, match=hint):
        build(f"pettingzoo:{module}", trust_code=True)


def test_a_module_that_its_package_does_not_have_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"has no module 'mpe2.simple_spread_v2'.*did you mean 'mpe2.simple_sp"):
        build("pettingzoo:mpe2.simple_spread_v2")


def test_a_module_without_parallel_env_says_so() -> None:
    with pytest.raises(ConfigError, match="module 'toy_worlds' has no function 'parallel_env'"):
        build("pettingzoo:toy_worlds", trust_code=True)


def test_what_is_no_parallel_environment_is_refused(monkeypatch) -> None:
    import parallel_toys
    from mpe2 import simple_spread_v3

    monkeypatch.setattr(parallel_toys, "parallel_env", lambda: 3)
    with pytest.raises(ConfigError, match=r"returned a int, not a PettingZoo ParallelEnv \(it has no reset"):
        build(TOYS, trust_code=True)
    monkeypatch.setattr(parallel_toys, "parallel_env", simple_spread_v3.env)
    with pytest.raises(ConfigError, match="returned a OrderEnforcingWrapper, not a PettingZoo ParallelEnv"):
        build(TOYS, trust_code=True)


def test_options_reach_the_environment_and_are_named_when_it_refuses_them(make) -> None:
    assert make("pettingzoo:mpe2.simple_spread_v3", num_worlds=1, options={"N": 5}).num_agents == 5
    with pytest.raises(ConfigError, match=r"environment.options = {'gravitas': 3}: TypeError"):
        build("pettingzoo:mpe2.simple_spread_v3", options={"gravitas": 3})


def test_worlds_with_different_agents_are_refused(monkeypatch) -> None:
    import parallel_toys

    kinds = iter(["equal", "sizes"])
    monkeypatch.setattr(parallel_toys, "parallel_env", lambda: parallel_toys.Crowd(kind=next(kinds)))
    with pytest.raises(ConfigError, match="worlds with different agents or spaces"):
        build(TOYS, num_worlds=2, trust_code=True)


def test_worlds_that_do_not_fit_into_memory_are_refused_before_they_are_allocated(monkeypatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"memory are free: lower environment.num_worlds"):
        build("pettingzoo:mpe2.simple_spread_v3", num_worlds=64)
