"""Suites: explicit episodes, each once, with a digest over all that they depend on and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.errors import ConfigError, MissingInputError
from townlet_core.services.evaluation import episode_seeds
from townlet_core.services.suites import SHIPPED, load_suite, own_suite

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.services.suites import Suite

POLE = "environment: {name: 'gymnasium:CartPole-v1'}"


def written(path: Path, text: str) -> Suite:
    path.write_text(text)
    return load_suite(str(path))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_is_32_episodes_of_the_town_under_seeds_of_its_own(name: str) -> None:
    suite = load_suite(name)
    seeds = [seed for part in suite.parts for seed in part.seeds]
    assert len(set(seeds)) == len(seeds) == 32
    assert (suite.name, suite.score_name) == (name, "reward_mean")
    assert not set(seeds) & {*episode_seeds(0, 1000), *episode_seeds(0, 1000, purpose="selection")}
    assert [part.num_episodes for part in suite.record().parts] == [len(part.seeds) for part in suite.parts]
    assert suite.record().digest == suite.digest


def test_seeds_are_listed_or_drawn_and_stand_in_the_suite(tmp_path: Path) -> None:
    text = f"name: mine\nentries:\n  - {{{POLE}, seeds: [7, 3]}}\n  - {{{POLE}, seed: 5, count: 3}}\n"
    suite = written(tmp_path / "mine.yaml", text)
    assert [part.seeds for part in suite.parts] == [(7, 3), tuple(episode_seeds(5, 3))]
    assert suite.score_name == "episode_return"
    as_json = '{"name": "mine", "entries": [{"environment": {"name": "gymnasium:CartPole-v1"}, "seeds": [7, 3]}]}'
    assert written(tmp_path / "mine.json", as_json).parts[0] == suite.parts[0]


def test_the_digest_is_of_what_episodes_depend_on(tmp_path: Path) -> None:
    def digest(entry: str, more: str = "", name: str = "a") -> str:
        return written(tmp_path / "suite.yaml", f"name: {name}\n{more}\nentries: [{{{entry}}}]\n").digest

    plain = digest("environment: {scenario: storm}, seeds: [1, 2]")
    for same in (
        "environment: {scenario: storm, num_worlds: 3, town: {variant: compact, map_dtype: float32}}, seeds: [1, 2]",
        "environment: {scenario: storm, step_timeout_sec: 5}, seeds: [1, 2]",
    ):
        assert digest(same, name="b") == plain
    others = [
        digest("environment: {scenario: storm}, seeds: [2, 1]"),
        digest("environment: {scenario: default}, seeds: [1, 2]"),
        digest("environment: {scenario: storm, max_episode_steps: 5}, seeds: [1, 2]"),
        digest("environment: {scenario: storm, town: {needs: {hunger_decay: 0.03}}}, seeds: [1, 2]"),
        digest("environment: {scenario: storm}, seeds: [1, 2]", more="score: episode_return"),
    ]
    assert len({plain, *others}) == 6


def test_the_digest_is_of_what_a_scenarios_file_says_and_not_of_where_it_lies(tmp_path: Path) -> None:
    def digest(folder: str, size: str) -> str:
        scenario = tmp_path / folder / "village.yaml"
        scenario.parent.mkdir(exist_ok=True)
        scenario.write_text(f"name: village\nticks: 20\nsize: {size}\nagents: [{{count: 2}}]\n")
        return own_suite(EnvironmentConfig(scenario=str(scenario)), episodes=2, seed=0).digest

    assert digest("here", "[8, 8]") == digest("there", "[8, 8]")
    assert digest("here", "[8, 9]") != digest("there", "[8, 8]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", r"entries \(.*suite.yaml\): there is none"),
        ("name: a\nentries: []", r"entries \(.*suite.yaml:2\): there is none"),
        ("name: a\nentries: 3", r"entries \(.*suite.yaml:2\): 3 given"),
        ("name: a\nentries:\n  - 3", r"entries\[0\].*3 given; must be a section"),
        ("name: a\nentires: []", r"entires \(.*suite.yaml:2\): there is no such key; did you mean 'entries'"),
        ("name: a b\nentries: [{count: 1}]", r"name \(.*suite.yaml:1\): 'a b' given"),
        ("name: a\nentries:\n  - {count: 2}\n  - {}", r"entries\[1\].*either seeds, a list, or count"),
        ("name: a\nentries:\n  - {count: 2, seeds: [1]}", r"entries\[0\].*either seeds, a list, or count"),
        ("name: a\nentries:\n  - seeds: [1, 2, 1]", r"entries\[0\].*a seed stands twice"),
        ("name: a\nentries:\n  - count: -1", r"entries\[0\].count \(.*suite.yaml:3\): -1 given; must be an integer"),
        ("name: a\nentries:\n  - seeds: [x]", r"entries\[0\].seeds.*'x' is text"),
        (
            "name: a\nentries:\n  - count: 1\n    environment: {scenarios: storm}",
            r"entries\[0\].environment.scenarios \(.*suite.yaml:4\): there is no such key; did you mean",
        ),
        ("name: a\nentries:\n  - {count: 2}\n  - {count: 3}", r"entries\[1\]: the episode of seed \d+ is in the suite"),
        (f"name: a\nentries:\n  - {{count: 2}}\n  - {{{POLE}, count: 2}}", r"score: .*say what is compared"),
        ("name: a\nentries:\n  - {count: 999999}\n  - {seed: 1, count: 2}", r"1,000,001 episodes in all"),
        ("name: a\nentries: [{count: 1, environment: {scenario: nowhere}}]", "there is no scenario 'nowhere'"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        written(tmp_path / "suite.yaml", text)
    assert "suite.yaml" in str(error.value) or "nowhere" in text


def test_a_suite_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no suite 'twon'; did you mean 'town'"):
        load_suite("twon")
    with pytest.raises(MissingInputError, match=r"there is no suite file .*none.yaml"):
        load_suite(str(tmp_path / "none.yaml"))
