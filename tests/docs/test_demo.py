"""`make train` says what the README shows: the demo is run at a small size, and compared with numbers masked."""

import difflib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documented_output import masked, matches

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "town"


def shown():
    """Return the output of `make train` that stands in the README."""
    (text,) = re.findall(r"^```text\n# Record(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return f"# Record{text}"


def smaller(document, suite):
    """Return the demo's configuration with less of everything, and margins that pass what learned so little."""
    anneal = document["strategies"]["anneal"]
    document["environment"] |= {"num_worlds": 8, "max_episode_steps": 300}
    document["strategies"]["ppo"] |= {"num_steps": 16, "num_minibatches": 2}
    document["promotion"] = {"suite": str(suite), "margin": 1.0}
    anneal |= {"evaluate_episodes": 8, "accuracy_threshold": 0.5, "return_share": None, "margin": 1.0}
    anneal |= {"critic_warmup_updates": 1, "actor_ramp_updates": 0}
    anneal["guardrails"] = [{**guardrail, "slack": 1e6} for guardrail in anneal["guardrails"]]
    for entry in anneal["schedule"]:
        entry["epochs"] = 2
    return document


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo at a small size; return its directory, its exit code and what it said."""
    home = tmp_path_factory.mktemp("demo")
    suite, config = home / "suite.yaml", home / "small.yaml"
    suite.write_text("name: small\nentries: [{environment: {max_episode_steps: 300}, seed: 1, count: 8}]\n")
    config.write_text(yaml.safe_dump(smaller(yaml.safe_load((DEMO / "town.yaml").read_text()), suite)))
    done = subprocess.run(
        [DEMO / "demo.sh", "out"],
        cwd=home,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CONFIG": str(config),
            "COLUMNS": "80",
            "DAYS": "4",
            "SUITE": str(suite),
        },
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
    )
    return home / "out", done.returncode, done.stdout


def without_outcomes(lines):
    """Return masked lines without what a small demo learns otherwise: which stage is best, and how verdicts go."""
    best = (re.sub(r"(?<=PASS) best$|, the best so far$", "", line) for line in lines)
    return [re.sub(r"^verdict (PASS|HOLD|FAIL) .*", "verdict", line) for line in best]


def test_the_readme_shows_what_make_train_says(demo):
    directory, code, text = demo
    assert code == 0, text
    _, _, told = text.partition("# Record")
    told = f"# Record{told}".replace(f"in {directory.name}\n", "in runs/town-20261127-090000\n")
    told = re.sub(r"--suite \S+", "--suite town", told).replace("of suite small", "of suite town")
    told = told.replace("episodes of small", "episodes of town")
    expected, got = without_outcomes(masked(shown())), without_outcomes(masked(told))
    difference = difflib.unified_diff(expected, got, "README.md", "make train", lineterm="")
    assert matches(expected, got), "\n".join(difference)


def test_the_demo_ends_with_a_champion_and_two_compared_runs(demo):
    directory, _, text = demo
    status = json.loads((directory / "releases" / "status.json").read_text())
    assert status["champion"]
    assert "state        promoted" in text
    for seed in (1, 2):
        report = json.loads((directory / f"evaluation-{seed}.json").read_text())
        assert [len(other["difference"]) > 0 for other in report["against"]] == [True, True]


def test_the_demo_overwrites_nothing(demo):
    directory, _, _ = demo
    again = subprocess.run([DEMO / "demo.sh", directory], check=False, text=True, capture_output=True)
    assert again.returncode != 0
    assert str(directory) in again.stderr


def test_make_train_is_the_demo():
    recipe = (ROOT / "Makefile").read_text().partition("\ntrain:")[2].partition("\n\n")[0]
    assert recipe.split()[-1] == "examples/town/demo.sh"
