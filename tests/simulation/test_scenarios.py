"""Scenario files: those that are shipped, and a user's own, which are told by file, line and field what is wrong."""

import json

import pytest
import yaml

from townlet_core.cli.main import main
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.problems import ConfigProblems
from townlet_core.config.scenario import ScenarioConfig
from townlet_core.environments.build import make_environment
from townlet_core.errors import ConfigError, MissingInputError, StorageError
from townlet_core.simulation.scenarios import SHIPPED, list_scenarios, load_scenario

GOOD = """\
name: village
ticks: 60
size: [8, 8]
objects:
  - {kind: fridge, at: [2, 2]}
agents:
  - {at: [4, 4], hunger: [0.2, 0.3]}
  - {count: 2}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="village.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_every_shipped_scenario_has_the_name_of_its_file():
    assert [scenario.name for scenario in list_scenarios()] == list(SHIPPED)


@pytest.mark.parametrize(
    ("name", "agents", "ticks"),
    [
        ("default", 8, 1000),
        ("kitchen_breakfast", 2, 120),
        ("queue_conflict", 3, 80),
        ("employment_punctuality", 2, 80),
        ("rivalry_decay", 2, 50),
        ("observation_baseline", 1, 20),
        ("demo_story_arc", 3, 150),
        ("storm", 4, 200),
    ],
)
def test_shipped_scenarios_have_the_agents_and_ticks_of_the_rules(name, agents, ticks):
    scenario = load_scenario(name)
    assert (scenario.num_agents, scenario.ticks) == (agents, ticks)


def test_the_default_town_is_the_one_of_the_rules():
    scenario = load_scenario("default")
    kinds = [thing.kind for thing in scenario.objects]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "fridge": 2,
        "stove": 1,
        "shower": 2,
        "bed": 3,
        "grocer": 1,
        "cafe": 1,
    }
    assert [(agent.count, agent.job, agent.shift) for agent in scenario.agents] == [
        (4, "grocer", (180, 360)),
        (4, "cafe", (400, 560)),
    ]
    assert all(agent.wallet == 4 for agent in scenario.agents)
    assert {event.kind for event in load_scenario("storm").perturbations} == {
        "price_spike",
        "blackout",
        "outage",
        "arranged_meet",
    }


def test_no_tile_of_a_shipped_scenario_is_in_reach_of_objects_of_different_kinds():
    """So that what `use` means never depends on anything but the place: the script counts on it."""
    for scenario in list_scenarios():
        for one in scenario.objects:
            for other in scenario.objects:
                distance = abs(one.at[0] - other.at[0]) + abs(one.at[1] - other.at[1])
                assert one.kind == other.kind or distance > 2


def test_a_file_of_the_users_own_works_like_a_shipped_one(write):
    scenario = load_scenario(write(GOOD))
    assert (scenario.name, scenario.num_agents, scenario.size) == ("village", 3, (8, 8))
    as_json = write(json.dumps(yaml.safe_load(GOOD)), "village.json")
    assert load_scenario(as_json) == scenario


@pytest.mark.parametrize(
    ("find", "replace", "place", "says"),
    [
        ("kind: fridge", "kind: frigde", "objects[0].kind", 5),
        ("hunger: [0.2, 0.3]", "hungr: [0.2, 0.3]", "agents[0].hungr", 7),
        ("hunger: [0.2, 0.3]", "hunger: [0.5, 0.3]", "agents[0]", 7),
        ("hunger: [0.2, 0.3]", "hunger: [.nan, 0.3]", "agents[0].hunger", 7),
        ("at: [4, 4]", "at: [4, 9]", "agents[0].at", 7),
        ("count: 2", "count: 200", "agents[1].count", 8),
        ("count: 2", "count: 40", "agents", 6),
        ("ticks: 60", "ticks: soon", "ticks", 2),
        ("ticks: 60", "ticks: 0", "ticks", 2),
        ("size: [8, 8]", "size: [8, 800]", "size", 3),
        ("size: [8, 8]", "seize: [8, 8]", "seize", 3),
        ("{count: 2}", "{count: 1, job: cafe}", "agents[1]", 8),
        ("{count: 2}", "{count: 1, job: cafe, shift: [3, 5]}", "agents[1].job", 8),
        ("{count: 2}", "{count: 2, at: [1, 1]}", "agents[1]", 8),
        ("{count: 2}", "{at: [4, 4]}", "agents[1].at", 8),
        ("at: [4, 4]", "at: [-1, 4]", "agents[0].at", 7),
        ("{count: 2}", "{shift: [1, 99999999999]}", "agents[1].shift", 8),
        ("{count: 2}", "{wallet: true}", "agents[1].wallet", 8),
        ("{count: 2}", "{wallet: '3'}", "agents[1].wallet", 8),
        ("{count: 2}", "3", "agents[1]", 6),
        ("name: village\n", "", "name", None),
    ],
)
def test_a_bad_file_is_told_with_file_line_and_field(write, find, replace, place, says):
    path = write(GOOD.replace(find, replace, 1))
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    text = str(caught.value)
    assert place in text
    assert (f"({path}:{says})" if says else path) in text


def test_all_problems_of_a_file_are_told_at_once(write):
    with pytest.raises(ConfigError, match="2 problems") as caught:
        load_scenario(write(GOOD.replace("kind: fridge", "kind: frigde").replace("ticks: 60", "ticks: -1")))
    assert "ticks" in str(caught.value)
    assert "objects[0].kind" in str(caught.value)


def test_everything_that_does_not_fit_together_is_told_at_once(write):
    text = """\
name: village
ticks: 60
size: [8, 8]
objects: [{kind: fridge, at: [2, 2]}, {kind: bed, at: [2, 2]}]
agents:
  - {at: [9, 9]}
  - {at: [4, 4]}
  - {at: [4, 4], job: cafe, shift: [3, 5]}
ties:
  - {agents: [0, 1], trust: 0.5}
  - {agents: [0, 9]}
  - {agents: [0, 1], trust: -0.5}
"""
    path = write(text)
    with pytest.raises(ConfigProblems) as caught:
        load_scenario(path)
    assert [(problem.path, problem.origin) for problem in caught.value.problems] == [
        ("objects[1].at", f"{path}:4"),
        ("agents[0].at", f"{path}:6"),
        ("agents[2].at", f"{path}:8"),
        ("agents[2].job", f"{path}:8"),
        ("ties[1].agents", f"{path}:11"),
        ("ties[2].agents", f"{path}:12"),
    ]


@pytest.mark.parametrize(
    ("find", "replace", "says"),
    [
        ("{count: 2}", "3", "agents[1] ({path}:6): 3 given; must be a mapping of keys to values"),
        ("ticks: 60\n", "", "ticks ({path}): it is missing; must be an integer from 1 to 1000000"),
        (
            "[4, 4]",
            "[4, 4, 4]",
            "agents[0].at ({path}:7): [4, 4, 4] given; must be a list of 2 entries, each an integer from 0 to 47",
        ),
        ("kind: fridge", "kind: 3", "objects[0].kind ({path}:5): 3 given; must be one of fridge, stove, shower, bed,"),
        ("{count: 2}", "{wallet: .inf}", "agents[1].wallet ({path}:8): inf is not a finite number; must be a number"),
    ],
)
def test_a_message_says_what_was_given_and_what_is_allowed(write, find, replace, says):
    path = write(GOOD.replace(find, replace, 1))
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(says.replace("{path}", path))


def test_a_shift_that_ends_after_the_day_is_refused(write):
    path = write(
        GOOD.replace("kind: fridge", "kind: cafe").replace("{count: 2}", "{job: cafe, shift: [30, 90]}")
        + "start_tick: 80\n"
    )
    assert load_scenario(path) == load_scenario(path, day_ticks=90)
    with pytest.raises(ConfigProblems) as caught:
        load_scenario(path, day_ticks=80)
    assert [(problem.path, problem.origin) for problem in caught.value.problems] == [
        ("start_tick", f"{path}:9"),
        ("agents[1].shift", f"{path}:8"),
    ]
    config = EnvironmentConfig(scenario=path, town={"day_ticks": 80})
    with pytest.raises(ConfigError, match=r"the day has 80 ticks \(environment\.town\.day_ticks\)"):
        make_environment(config)


def test_an_unknown_key_is_answered_with_the_one_that_was_meant(write):
    with pytest.raises(ConfigError, match="no such key; did you mean 'hunger'"):
        load_scenario(write(GOOD.replace("hunger", "hungre")))


@pytest.mark.parametrize(
    "text", ["name: !!python/object:os.system x", "a: &x 1\nb: *x", "[", "- 1", "name: a\nname: b"]
)
def test_what_is_no_plain_yaml_is_refused(write, text):
    with pytest.raises(ConfigError, match=r"village\.yaml"):
        load_scenario(write(text))


def test_a_name_that_is_not_shipped_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'queue_conflict'\?.*observation_baseline"):
        load_scenario("queue_conflit")


def test_a_file_that_is_missing_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="there is no scenario file"):
        load_scenario(str(tmp_path / "none.yaml"))


def test_a_directory_in_the_place_of_a_file_cannot_be_read(tmp_path):
    for name in (str(tmp_path), f"{tmp_path}/", "."):
        with pytest.raises(StorageError, match="directory"):
            load_scenario(name)


def test_a_name_is_shown_without_its_control_characters():
    with pytest.raises(ConfigError, match=r"no scenario 'a\\x1b\[31m'"):
        load_scenario("a\x1b[31m")


def test_the_command_lists_them_and_shows_one(capsys, write):
    assert main(["scenarios"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in SHIPPED)
    assert main(["scenarios", "storm"]) == 0
    assert "blackout for 40 ticks" in capsys.readouterr().out
    assert main(["scenarios", write(GOOD), "--json"]) == 0
    assert ScenarioConfig.model_validate_json(capsys.readouterr().out).name == "village"
    assert main(["scenarios", "strom"]) == 78
    assert "did you mean 'storm'" in capsys.readouterr().err
