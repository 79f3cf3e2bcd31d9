"""Four distributions, one version, one licence; extras and exact versions name what they should."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
STRATEGIES = ("bc", "ppo", "anneal")
FOLDERS = ("townlet_core", *(f"townlet_strategies_{name}" for name in STRATEGIES))


def project(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def normalized(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def pinned():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    return {normalized(line): line.partition("==")[2] for line in lines}


def test_all_have_one_version_and_require_each_other_in_that_version():
    (version,) = {project(folder)["version"] for folder in FOLDERS}
    for name in STRATEGIES:
        assert f"townlet-core=={version}" in project(f"townlet_strategies_{name}")["dependencies"]
    extras = project("townlet_core")["optional-dependencies"]
    own = {f"townlet-strategies-{name}=={version}" for name in STRATEGIES}
    assert {requirement for name in STRATEGIES for requirement in extras[name]} == own
    assert set(extras["anneal"]) == own
    assert extras["bc"] == [f"townlet-strategies-bc=={version}"]
    assert extras["ppo"] == [f"townlet-strategies-ppo=={version}"]
    assert set(re.search(r"\[(.*)\]", extras["all"][0])[1].split(",")) == extras.keys() - {"all"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_is_typed_licensed_and_described(folder):
    metadata = project(folder)
    assert metadata["name"] == folder.replace("_", "-")
    assert metadata["license"] == "MIT"
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (ROOT / folder / metadata["readme"]).read_text().startswith(f"# {metadata['name']}\n")
    assert (ROOT / folder / "src" / folder / "py.typed").exists()


def test_only_distributions_that_work_offer_something():
    offering = {folder for folder in FOLDERS if project(folder).get("entry-points")}
    assert offering == {"townlet_strategies_anneal", "townlet_strategies_bc", "townlet_strategies_ppo"}


def test_core_requires_no_torch_and_its_strategies_that_learn_do():
    requirements = {folder: set(map(normalized, project(folder)["dependencies"])) for folder in FOLDERS}
    assert {folder for folder in FOLDERS if "torch" in requirements[folder]} == {
        "townlet_strategies_bc",
        "townlet_strategies_ppo",
    }


def test_everything_that_is_installed_for_development_has_an_exact_version(pinned):
    (tools,) = re.findall(r"^DEV := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = {normalized(tool) for tool in tools.split()}
    wanted |= {normalized(each) for folder in FOLDERS for each in project(folder)["dependencies"]}
    assert {name for name in wanted if not name.startswith("townlet-")} <= pinned.keys()
    assert pinned["torch"] == "2.13.0"


def test_everything_that_those_need_has_an_exact_version_too(pinned):
    waiting, seen = [name for name in pinned if not name.startswith("townlet-")], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # needed by another system's builds only
            continue
        waiting += [
            normalized(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
        ]
    own_to_a_build_of_torch = {name for name in seen if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert seen - own_to_a_build_of_torch <= pinned.keys()


# Older ones fail: click 8.1 has no NoArgsIsHelpError, pydantic 2.7 no ser_json_inf_nan "strings", and before gymnasium
# 1.2.2 Discrete is not generic. `.ci/wheels` runs core at these versions.
FLOORS = {"click": "8.2", "gymnasium": "1.2.2", "pydantic": "2.8", "hatchling": "1.27"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_distribution_allows_a_version_that_it_does_not_work_with(folder):
    text = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    requirements = [*map(Requirement, [*text["build-system"]["requires"], *text["project"]["dependencies"]])]
    floors = {each.name: spec.version for each in requirements for spec in each.specifier if spec.operator == ">="}
    assert floors["hatchling"] == FLOORS["hatchling"]
    assert {name: floors[name] for name in floors.keys() & FLOORS} == {
        name: FLOORS[name] for name in floors.keys() & FLOORS
    }
    assert all(each.specifier for each in requirements)
