"""Four distributions, one version, one licence; extras and exact versions name what they should."""

import re
import tomllib
from pathlib import Path

import pytest

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
    assert offering == {"townlet_strategies_ppo"}


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
