from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.environments import limits
from townlet_core.environments.build import make_environment
from townlet_core.environments.gym_source import spare_action_checks, spare_batch_action_checks
from townlet_core.errors import ConfigError, DataError, UnavailableError, UsageError


def build(name, *, trust_code=True, **fields):
    return make_environment(EnvironmentConfig(name=name, **fields), trust_code=trust_code)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, "no environment is chosen: set environment.name"),
        ("CartPole-v1", "did you mean 'gymnasium:CartPole-v1'"),
        ("city", "no environment 'city'.*there are: town; gymnasium:ID.*pettingzoo:MODULE.*python:module:factory$"),
        (
            "pettingzoo:mpe2.simple_spred_v3",
            "no module 'mpe2.simple_spred_v3'; did you mean 'mpe2.simple_spread_v3'",
        ),
        ("gymnasium:CartPole-v9", "no environment 'CartPole-v9'; did you mean 'CartPole-v1'"),
        ("gymnasium:CartPole", "no environment 'CartPole'; did you mean 'CartPole-v"),
        ("gymnasium:", "not of the form 'gymnasium:ID'"),
        ("python:toy_worlds", "not of the form 'python:module:factory'"),
        ("python:toy_worlds:toi", "no factory 'toi'; did you mean 'toy'"),
        ("python:toy_worlds:not_an_environment", "returned a int, not a gymnasium.Env"),
    ],
)
def test_a_name_that_stands_for_nothing_says_what_there_is(name, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build(name)


@pytest.mark.parametrize("name", ["python:toy_worlds:toy", "gymnasium:toy_worlds:ToyVector-v0"])
def test_a_name_that_runs_code_is_refused_unless_trusted(name) -> None:
    with pytest.raises(ConfigError, match=r"would import and run the module 'toy_worlds'.*--trust-config"):
        build(name, trust_code=False)


@pytest.mark.parametrize("name", ["python:no_such_module_here:make", "gymnasium:no_such_module_here:Id-v0"])
def test_a_module_that_is_not_there_is_unavailable(name) -> None:
    with pytest.raises(UnavailableError, match="no_such_module_here"):
        build(name)


@pytest.mark.parametrize("vectorization", ["sync", "workers"])
def test_a_missing_package_brings_the_install_hint(vectorization) -> None:
    with pytest.raises(UnavailableError, match="pip install toybox"):
        build("python:toy_worlds:refuses", vectorization=vectorization)


def test_options_that_the_environment_refuses_are_named() -> None:
    with pytest.raises(ConfigError, match=r"environment.options = {'gravitas': 3}: TypeError"):
        build("gymnasium:Pendulum-v1", options={"gravitas": 3})


def test_options_reach_the_environment(make) -> None:
    steps = [make("gymnasium:Pendulum-v1", num_worlds=1, options={"g": g}) for g in (1.0, 9.0)]
    shown = [environment.reset(0) and environment.step(np.ones((1, 1, 1), np.float32)) for environment in steps]
    assert not np.array_equal(shown[0].observations["observation"], shown[1].observations["observation"])


def test_a_plugin_name_is_asked_for_and_given_its_settings() -> None:
    config = EnvironmentConfig(name="my-town", num_worlds=4)
    asked = []

    def entries(name):
        asked.append(name)
        return lambda config, *, num_worlds: (config, num_worlds)

    assert make_environment(config, num_worlds=2, entries=entries) == (config, 2)
    assert asked == ["my-town"]


@pytest.mark.parametrize(("name", "hint"), [(None, ""), ("my-twon", "; did you mean 'my-town'")])
def test_a_missing_name_lists_the_environments_of_plugins_too(name, hint) -> None:
    with pytest.raises(ConfigError, match=rf"{hint}.*gymnasium:ID.*; a-farm \(of a plugin\); my-town \(of a plugin\)$"):
        make_environment(EnvironmentConfig(name=name), entries=lambda _: None, plugin_names=["my-town", "a-farm"])


def test_an_id_without_a_vector_entry_point_names_sync() -> None:
    with pytest.raises(ConfigError, match=r"Taxi-v4' has no vector entry point: use environment.vectorization 'sync'"):
        build("gymnasium:Taxi-v4", vectorization="entry_point")
    with pytest.raises(ConfigError, match="no vector entry point"):
        build("python:toy_worlds:toy", vectorization="entry_point")


def test_a_vector_entry_point_that_resets_in_another_way_names_sync() -> None:
    with pytest.raises(ConfigError, match=r"only NEXT_STEP is supported: use environment.vectorization 'sync'"):
        build("gymnasium:toy_worlds:ToyVector-v0", vectorization="entry_point", options={"mode": "same"})


def test_a_fault_in_a_vector_entry_point_names_world_and_step(make) -> None:
    from townlet_core.errors import EnvironmentFault

    name, options = "gymnasium:toy_worlds:ToyVector-v0", {"nan": True}
    environment = make(name, num_worlds=3, vectorization="entry_point", options=options)
    environment.reset(0)
    environment.step(np.zeros((3, 1), np.int64))
    environment.step(np.zeros((3, 1), np.int64))
    with pytest.raises(EnvironmentFault, match=r"world 2, episode 0 \(reset seed \d+\), step 3: reward is nan"):
        environment.step(np.zeros((3, 1), np.int64))
    with pytest.raises(UsageError, match="is closed"):
        environment.reset(0)


@pytest.mark.parametrize("start", [0, 5, -3])
def test_the_quick_membership_test_of_an_action_has_the_same_members(start) -> None:
    plain, quick = spaces.Discrete(3, start=start), spaces.Discrete(3, start=start)
    spare_action_checks(SimpleNamespace(unwrapped=SimpleNamespace(action_space=quick)))
    assert type(quick) is not type(plain)
    assert quick == plain
    offered = [*range(-5, 10), 10**30, np.int64(start), np.array(start), True, float(start), "0", None]
    assert [quick.contains(action) for action in offered] == [plain.contains(action) for action in offered]
    assert [action for action in range(-5, 10) if quick.contains(action)] == [start, start + 1, start + 2]


@pytest.mark.parametrize("nvec", [[2, 2, 2], [3]])
def test_the_quick_membership_test_of_a_batch_of_actions_has_the_same_members(nvec) -> None:
    plain, quick = spaces.MultiDiscrete(nvec), spaces.MultiDiscrete(nvec)
    spare_batch_action_checks(SimpleNamespace(action_space=quick))
    assert type(quick) is not type(plain)
    assert quick == plain
    ones = np.ones(len(nvec), np.int64)
    offered = [ones, ones * 0, ones * 3, -ones, ones.astype(np.int32), ones.astype(float), ones[:-1], ones.tolist()]
    assert [quick.contains(actions) for actions in offered] == [plain.contains(actions) for actions in offered]
    assert quick.contains(ones)
    shifted = spaces.MultiDiscrete(nvec, start=ones)
    spare_batch_action_checks(SimpleNamespace(action_space=shifted))
    assert type(shifted) is spaces.MultiDiscrete


def test_worlds_that_do_not_fit_into_memory_are_refused_before_they_are_allocated(monkeypatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"memory are free: lower environment.num_worlds"):
        build("gymnasium:CartPole-v1", num_worlds=64)


def test_available_memory_is_read_or_unknown(tmp_path) -> None:
    meminfo = tmp_path / "meminfo"
    assert limits.available_memory(meminfo) is None
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   7 kB\n")
    assert limits.available_memory(meminfo) == 7 * 1024


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros(2, np.int64), r"shape \(2,\), expected \(2, 1\)"),
        (np.zeros((2, 1), np.float32), "dtype float32, expected int64"),
        (np.array([[0], [2]]), r"action of world 1 is 2; each is 0 to below 2"),
        (np.array([[-1], [0]]), "action of world 0 is -1"),
    ],
)
def test_actions_that_do_not_exist_are_refused(make, actions, says) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=2)
    environment.reset(0)
    with pytest.raises(DataError, match=says):
        environment.step(actions)


def test_a_policy_that_gives_nan_is_told_apart_from_a_faulty_environment(make) -> None:
    environment = make("gymnasium:Pendulum-v1", num_worlds=2)
    environment.reset(0)
    with pytest.raises(DataError, match=r"action of world 1 is .nan.: the policy"):
        environment.step(np.array([[[0.0]], [[np.nan]]], np.float32))


@pytest.mark.parametrize("mode", [{}, {"vectorization": "entry_point"}])
def test_step_before_reset_and_wrong_seeds_are_refused(make, mode) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=2, **mode)
    with pytest.raises(UsageError, match="before reset"):
        environment.step(np.zeros((2, 1), np.int64))
    with pytest.raises(UsageError, match="3 seeds for 2 worlds"):
        environment.reset([1, 2, 3])
    with pytest.raises(UsageError, match="-1 is not a seed"):
        environment.reset(-1)


def test_unsupported_spaces_name_what_is_supported() -> None:
    with pytest.raises(ConfigError, match="a Text space is not supported; supported are Box, Discrete"):
        build("python:toy_worlds:toy", options={"observation": "words"})
    with pytest.raises(
        ConfigError, match="a MultiBinary action space is not supported; supported are Discrete, MultiDiscrete and Box"
    ):
        build("python:toy_worlds:toy", options={"action": "switches"})
