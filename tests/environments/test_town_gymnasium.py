"""The town as Gymnasium sees it: one learner, its neighbours, and N of those as a batch."""

import subprocess
import sys
from copy import deepcopy

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.scenario import ScenarioConfig
from townlet_core.config.town import TownConfig
from townlet_core.environments import TownEnv, TownVectorEnv
from townlet_core.environments.town import TownEnvironment
from townlet_core.errors import UsageError
from townlet_core.simulation.rewards import TERMS

HARSH = TownConfig.model_validate({"needs": {"hunger_decay": 0.012}, "day_ticks": 50, "employment": {"rent": 3.0}})
"""Where agents faint, and are evicted, within some fifty ticks."""
EVICTING = ScenarioConfig.model_validate(
    {"name": "evicting", "ticks": 60, "size": [6, 6], "agents": [{"wallet": 0.0, "unpaid_rents": 1}, {}]}
)


def equal(one, other):
    """Return whether two structures hold the same keys, types and bytes."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype == object:
            return one.shape == other.shape and all(map(equal, one, other))
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return one == other


def play(env, ticks, *, seed=0):
    """Return what happens to a learner that takes allowed actions by chance."""
    chance = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    seen = []
    for _ in range(ticks):
        step = env.step(chance.choice(np.flatnonzero(info["action_mask"])))
        seen.append(step)
        info = step[-1]
        if step[2] or step[3]:
            seen.append(env.reset())
            info = seen[-1][-1]
    return seen


@pytest.mark.parametrize("scenario", ["default", "storm", "observation_baseline"])
@pytest.mark.parametrize("others", ["scripted", "random", "idle"])
def test_gymnasium_finds_nothing_to_complain_about(scenario, others):
    check_env(TownEnv(scenario, others=others), skip_render_check=True)


@pytest.mark.parametrize(
    "config", [{"variant": "compact"}, {"variant": "full", "map_dtype": "float32"}], ids=["compact", "full"]
)
def test_gymnasium_finds_nothing_to_complain_about_in_the_other_variants(config):
    env = TownEnv("storm", TownConfig.model_validate(config))
    check_env(env, skip_render_check=True)
    assert ("map" in env.observation_space.spaces) == (config["variant"] != "compact")


def test_make_finds_the_town_by_its_id_alone_and_as_a_batch():
    env = gymnasium.make("townlet_core.environments.town_env:townlet/Town-v0", scenario="storm")
    assert isinstance(env.unwrapped, TownEnv)
    batch = gymnasium.make_vec("townlet/Town-v0", num_envs=2, vectorization_mode="vector_entry_point", scenario="storm")
    assert isinstance(batch, TownVectorEnv)
    batch.reset(seed=0)
    assert batch.step(batch.action_space.sample())[1].shape == (2,)


def test_a_seed_gives_the_same_bytes_and_without_one_the_next_episode_comes():
    first, second = TownEnv("storm"), TownEnv("storm")
    one = first.reset(seed=5), first.reset(), first.reset()
    assert equal(one, (second.reset(seed=5), second.reset(), second.reset()))
    assert not equal(one[0], one[1])
    assert not equal(one[1], one[2])
    assert equal(first.reset(seed=5), one[0])
    assert not equal(first.reset(seed=6), one[0])


def test_without_any_seed_two_towns_differ_until_their_generator_is_the_same():
    assert not equal(TownEnv("storm").reset(), TownEnv("storm").reset())
    first, second = TownEnv("storm"), TownEnv("storm")
    first.np_random, second.np_random = np.random.default_rng(3), np.random.default_rng(3)
    assert equal(first.reset(), second.reset())


@pytest.mark.parametrize("learner", [0, 2])
def test_the_learner_lives_in_the_world_that_training_has_under_that_seed(learner):
    """If the learner follows the script like the others, it sees and earns what its slot does in training."""
    env = TownEnv("storm", learner=learner)
    training = TownEnvironment(EnvironmentConfig(scenario="storm"), num_worlds=1)
    step = training.reset([11])
    observations, _ = env.reset(seed=11)
    for _ in range(200):
        assert observations["features"].tobytes() == step.observations["observation.features"][0, learner].tobytes()
        assert observations["map"].tobytes() == step.observations["observation.map"][0, learner].tobytes()
        assert env.action_masks().tolist() == step.action_mask[0, learner].tolist()
        actions = training.experts["scripted"](step.observations, step.action_mask)
        observations, reward, terminated, truncated, _ = env.step(actions[0, learner])
        step = training.step(actions)
        assert reward == step.rewards[0, learner]
        assert (terminated, truncated) == (step.terminations[0, learner], step.truncations[0, learner])
    assert truncated
    assert observations["map"].tobytes() == step.final_observations["observation.map"][0, learner].tobytes()


def test_the_episode_ends_with_the_learners_life_and_shows_it_as_it_was():
    env = TownEnv("kitchen_breakfast", HARSH, 1000)
    observations, _ = env.reset(seed=0)
    for _ in range(1000):
        before = observations
        observations, reward, terminated, truncated, info = env.step(0)
        if terminated or truncated:
            break
    assert (terminated, truncated) == (True, False)
    assert info["events"]["faint_events"] == 1.0
    assert info["reward_terms"]["terminal"] == -1.0
    assert reward < -0.9
    assert 0 < observations["features"][0] < before["features"][0] < 0.05, "what is seen last is not the empty slot"
    assert info["action_mask"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(0)
    _, first = env.reset()
    assert set(first["events"].values()) == set(first["reward_terms"].values()) == {0.0}
    assert env.step(0)[2] is False


def test_an_eviction_terminates_too():
    env = TownEnv(EVICTING, TownConfig.model_validate({"day_ticks": 20}))
    env.reset(seed=0)
    ends = [env.step(0)[2] for _ in range(20)]
    assert ends == [False] * 19 + [True]


def test_the_time_limit_truncates_and_ends_nobodys_life():
    env = TownEnv("default", max_episode_steps=9)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(9)]
    assert ends == [(False, False)] * 8 + [(False, True)]


def test_the_terms_of_the_reward_add_up_to_it_and_begin_at_nothing():
    env = TownEnv("storm")
    _, info = env.reset(seed=0)
    assert info["reward_terms"] == dict.fromkeys(TERMS, 0.0)
    assert set(info["events"].values()) == {0.0}
    for step in play(env, 60):
        if len(step) == 5:
            assert sum(step[-1]["reward_terms"].values()) == pytest.approx(step[1], abs=1e-6)


def test_the_rules_of_the_others_are_three_different_ones_and_each_can_be_repeated():
    def neighbours(others):
        env = TownEnv("default", others=others)
        return play(env, 120)

    runs = {others: neighbours(others) for others in ("scripted", "random", "idle")}
    assert equal(runs["random"], neighbours("random"))
    done = {
        others: sum(step[-1]["events"]["affordance_start"] for step in run if len(step) == 5)
        for others, run in runs.items()
    }
    assert done["idle"] < done["scripted"]
    assert not equal(runs["random"], runs["idle"])
    assert not equal(runs["random"], runs["scripted"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"others": "scriptd"}, "did you mean 'scripted'"),
        ({"learner": 8}, "slots are 0 to 7"),
        ({"learner": -1}, "slots are 0 to 7"),
        ({"render_mode": "human"}, "render nothing"),
        ({"max_episode_steps": 0}, "at least 1 tick"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        TownEnv("default", **arguments)


@pytest.mark.parametrize("action", [8, -1, 261, 1.0, [0, 0]])
def test_what_is_no_action_is_refused(action):
    env = TownEnv("storm")
    env.reset(seed=0)
    with pytest.raises(UsageError, match="actions"):
        env.step(action)


def both(others, learner, scenario, config, length):
    options = {
        "scenario": scenario,
        "config": config,
        "max_episode_steps": length,
        "others": others,
        "learner": learner,
    }
    one = SyncVectorEnv([lambda: TownEnv(**options)] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    return one, TownVectorEnv(4, **options)


@pytest.mark.parametrize(
    ("others", "learner", "scenario", "config", "length"),
    [
        ("random", 0, "storm", HARSH, 58),
        ("scripted", 2, "storm", HARSH, 39),
        ("idle", 0, EVICTING, TownConfig.model_validate({"day_ticks": 20, "variant": "compact"}), None),
    ],
    ids=["random", "scripted", "evictions"],
)
def test_the_batch_is_row_for_row_what_gymnasium_makes_of_single_ones(others, learner, scenario, config, length):
    single, batch = both(others, learner, scenario, config, length)
    chance = np.random.default_rng(1)
    ends = np.zeros(2)
    assert batch.observation_space == single.observation_space
    assert batch.action_space == single.action_space
    assert batch.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert equal(batch.reset(seed=40), single.reset(seed=40))
    for tick in range(300):
        actions = chance.integers(0, 8, size=4)
        one, other = single.step(actions), batch.step(actions)
        assert equal(one, other), f"tick {tick}"
        ends += one[2].sum(), one[3].sum()
    assert ends[0] >= 5, "no learner has died: the comparison shows little"
    assert length is None or ends[1] >= 3, "no episode has been cut: the comparison shows little"


def test_resets_of_the_batch_follow_the_same_rules_as_single_ones():
    single, batch = both("scripted", 0, "storm", TownConfig(), None)
    for seed in (7, None, [3, None, 3, 9], None):
        assert equal(batch.reset(seed=seed), single.reset(seed=seed))
        assert equal(batch.step(np.ones(4, np.int64)), single.step(np.ones(4, np.int64)))
    mask = np.array([False, True, False, True])
    assert equal(
        batch.reset(seed=8, options={"reset_mask": mask}), single.reset(seed=8, options={"reset_mask": mask.copy()})
    )
    assert equal(batch.step(np.ones(4, np.int64)), single.step(np.ones(4, np.int64)))
    with pytest.raises(UsageError, match="3 seeds for 4 worlds"):
        batch.reset(seed=[1, 2, 3])


def test_the_batch_keeps_nothing_of_what_it_has_returned():
    batch = TownVectorEnv(3, "storm", HARSH, 30)
    returned = [batch.reset(seed=0)]
    copies = deepcopy(returned)
    for _ in range(40):
        returned.append(batch.step(np.zeros(3, np.int64)))
        copies.append(deepcopy(returned[-1]))
    assert equal(returned, copies)


def test_the_names_are_there_and_the_package_stays_light():
    code = (
        "import sys, townlet_core.environments as e; assert 'TownEnv' in dir(e); "
        "assert not {'numpy', 'gymnasium', 'pydantic', 'pettingzoo'} & sys.modules.keys(); "
        "from townlet_core.environments import TownEnv, TownVectorEnv; assert 'pettingzoo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
