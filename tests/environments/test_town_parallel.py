"""The town as PettingZoo sees it: every life is an agent, and lives come and go."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.town import TownConfig
from townlet_core.environments import TownParallelEnv
from townlet_core.environments.town import TownEnvironment
from townlet_core.errors import UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PettingZoo's own tests import what PettingZoo has deprecated
    from pettingzoo.test import parallel_api_test, parallel_seed_test

LASTING = TownConfig.model_validate({"lives": {"newcomers": False}})
DYING = TownConfig.model_validate({"lives": {"newcomers": False}, "needs": {"hunger_decay": 0.02}})
TEEMING = TownConfig.model_validate({"needs": {"hunger_decay": 0.02}})
"""Where lives last some thirty ticks, and others come after them."""


def waits(env):
    return dict.fromkeys(env.agents, 0)


@pytest.mark.parametrize("config", [LASTING, DYING], ids=["lasting", "dying"])
@pytest.mark.parametrize("scenario", ["default", "storm", "observation_baseline"])
def test_pettingzoo_finds_nothing_to_complain_about(scenario, config):
    env = TownParallelEnv(scenario, config, 150)
    parallel_api_test(env, num_cycles=200)
    assert not env.agents, "the episode has not come to its end"


def test_pettingzoo_finds_that_a_seed_gives_the_same():
    parallel_seed_test(lambda: TownParallelEnv("storm", LASTING), num_cycles=60)


def test_a_seed_gives_the_same_episode_and_without_one_the_next_comes():
    first, second = TownParallelEnv("storm"), TownParallelEnv("storm")
    one = [first.reset(seed=3), first.reset(), first.reset(seed=4)]
    assert data_equivalence(one, [second.reset(seed=3), second.reset(), second.reset(seed=4)], exact=True)
    assert not data_equivalence(one[0], one[1])
    assert not data_equivalence(one[0], one[2])
    assert not data_equivalence(TownParallelEnv("storm").reset(), TownParallelEnv("storm").reset())


def test_its_agents_live_in_the_world_that_training_has_under_that_seed():
    env, training = (
        TownParallelEnv("storm", TEEMING),
        TownEnvironment(EnvironmentConfig(scenario="storm", town=TEEMING), num_worlds=1),
    )
    step = training.reset([9])
    observations, infos = env.reset(seed=9)
    was_empty = False
    for _ in range(200):
        acting = {agent: int(agent.split("_")[1]) for agent in env.agents}
        assert sorted(acting.values()) == np.flatnonzero(step.agent_mask[0]).tolist()
        for agent, slot in acting.items():
            for name, rows in observations[agent].items():
                assert rows.tobytes() == step.observations[f"observation.{name}"][0, slot].tobytes()
            assert infos[agent]["action_mask"].tolist() == step.action_mask[0, slot].tolist()
        actions = training.experts["scripted"](step.observations, step.action_mask)
        observations, rewards, terminations, truncations, infos = env.step(
            {agent: int(actions[0, slot]) for agent, slot in acting.items()}
        )
        step = training.step(actions)
        for agent, slot in acting.items():
            assert rewards[agent] == step.rewards[0, slot]
            assert terminations[agent] == step.terminations[0, slot]
            assert truncations[agent] == step.truncations[0, slot]
            if terminations[agent] or truncations[agent]:
                for name, rows in observations[agent].items():
                    assert rows.tobytes() == step.final_observations[f"observation.{name}"][0, slot].tobytes()
        while not step.agent_mask.any():
            was_empty = True
            step = training.step(actions)
        if not env.agents:
            break
    assert step.episode_starts[0] or was_empty


def test_newcomers_come_under_new_ids_which_never_return():
    env = TownParallelEnv("storm", TEEMING)
    observations, infos = env.reset(seed=1)
    assert env.possible_agents == env.agents == [f"agent_{slot}_0" for slot in range(4)]
    alive, gone, came = set(env.agents), set(), set()
    while env.agents:
        acted = set(env.agents)
        observations, rewards, terminations, truncations, infos = env.step(waits(env))
        for result in (observations, rewards, terminations, truncations, infos):
            assert result.keys() == acted | set(env.agents)
        new = set(env.agents) - acted
        assert not new & (gone | alive), "an id has returned"
        for agent in new:
            assert env.observation_space(agent).contains(observations[agent])
            assert observations[agent]["features"][:3].min() > 0.2, "a newcomer sees what it is, not an empty slot"
            assert (rewards[agent], terminations[agent], truncations[agent]) == (0.0, False, False)
            assert infos[agent]["action_mask"].sum() > 1
        dead = {agent for agent in acted if terminations[agent]}
        assert not dead & set(env.agents)
        for agent in dead:
            assert 0 < observations[agent]["features"][0] < 0.05, "what is seen last is not the empty slot"
            assert infos[agent]["reward_terms"]["terminal"] == -1.0
        if env.agents:
            assert not any(truncations.values())
        came |= new
        alive |= new
        gone |= dead
    assert len(came) >= 8
    assert {agent.split("_")[2] for agent in came} >= {"1", "2"}
    assert env.possible_agents == [f"agent_{slot}_0" for slot in range(4)]
    assert env.step({}) == ({}, {}, {}, {}, {})
    env.reset()
    assert env.agents == env.possible_agents


def test_while_nobody_lives_there_the_time_passes_until_somebody_does():
    env = TownParallelEnv("observation_baseline", TEEMING, 200)
    env.reset(seed=0)
    order = []
    while env.agents:
        order += [agent for agent in env.agents if agent not in order]
        assert len(env.agents) == 1
        _, _, terminations, truncations, _ = env.step(waits(env))
    assert order == [f"agent_0_{life}" for life in range(len(order))]
    assert len(order) >= 3
    assert env.town.state.tick[0] == 200
    assert any(truncations.values()) or any(terminations.values())


def test_at_the_end_of_the_episode_everybody_is_truncated():
    env = TownParallelEnv("storm", LASTING)
    env.reset(seed=0)
    for _ in range(199):
        _, _, terminations, truncations, _ = env.step(waits(env))
        assert not any(truncations.values())
    _, _, terminations, truncations, _ = env.step(waits(env))
    assert truncations == dict.fromkeys(env.possible_agents, True)
    assert terminations == dict.fromkeys(env.possible_agents, False)
    assert env.agents == []


def test_spaces_are_those_of_any_life_and_each_life_has_actions_of_its_own():
    env = TownParallelEnv("storm")
    assert env.observation_space("agent_3_17") is env.observation_space("agent_3_17")
    assert env.observation_space("agent_0_0") == env.observation_space("agent_3_17")
    assert env.action_space("agent_1_2") is env.action_space("agent_1_2")
    assert env.action_space("agent_1_2") is not env.action_space("agent_1_3")
    for wrong in ("agent_4_0", "agent_0", "agent_-1_0", "agent_00_0", "citizen"):
        with pytest.raises(UsageError, match="agent_<slot>_<life>"):
            env.observation_space(wrong)


def test_wrong_actions_are_refused_and_missing_ones_are_waits():
    first, second = TownParallelEnv("storm"), TownParallelEnv("storm")
    first.reset(seed=0)
    second.reset(seed=0)
    with pytest.raises(UsageError, match="'agent_0_1' was given an action and is not there"):
        first.step({"agent_0_1": 0})
    with pytest.raises(UsageError, match="agent 'agent_0_0': 8 is no action"):
        first.step({"agent_0_0": 8})
    assert data_equivalence(first.step({}), second.step(waits(second)), exact=True)


def test_the_terms_of_the_reward_add_up_to_it():
    env = TownParallelEnv("storm", TEEMING)
    env.reset(seed=0)
    for _ in range(50):
        _, rewards, _, _, infos = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        for agent, reward in rewards.items():
            assert sum(infos[agent]["reward_terms"].values()) == pytest.approx(reward, abs=1e-6)


def test_without_pettingzoo_the_message_says_what_to_install_and_the_others_work():
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "from townlet_core.environments import TownEnv\n"
        "from townlet_core.errors import UnavailableError\n"
        "try:\n"
        "    from townlet_core.environments import TownParallelEnv\n"
        "except UnavailableError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert "pip install 'townlet-core[pettingzoo]'" in done.stdout
