"""The program that makes the town's figures again runs, at a small size, and goes on with what it has made."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOWN = Path(__file__).parents[2] / "examples" / "town"


def small(document):
    """Return the configuration of the figures with less of everything, and verdicts that pass it all the same."""
    anneal = document["strategies"]["anneal"]
    document["environment"] |= {"num_worlds": 8, "max_episode_steps": 300}
    document["strategies"]["ppo"] |= {"num_steps": 16, "num_minibatches": 2}
    anneal |= {"evaluate_episodes": 8, "accuracy_threshold": 0.1, "return_share": None, "margin": 1.0}
    anneal["guardrails"] = [{**guardrail, "slack": 1e6} for guardrail in anneal["guardrails"]]
    for entry in anneal["schedule"]:
        entry["epochs"] = 4 if entry["mode"] == "bc" else 1
    return document


@pytest.mark.timeout(400)
def test_the_figures_of_the_town_are_made_with_one_command(tmp_path):
    config, suite = tmp_path / "small.yaml", tmp_path / "suite.yaml"
    config.write_text(yaml.safe_dump(small(yaml.safe_load((TOWN / "town.yaml").read_text()))))
    suite.write_text("name: small\nentries: [{environment: {max_episode_steps: 300}, seed: 1, count: 8}]\n")
    sizes = ["--seeds", "1", "--config", config, "--suite", suite, "--days", "4", "--updates", "1"]
    tables = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, TOWN / "figures.py", tmp_path / "out", *sizes],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        tables.append([line for line in done.stdout.splitlines() if line.startswith("|")])
        is_made = "... " in done.stdout
    assert not is_made, "the second time, everything was there"
    assert tables[0] == tables[1]
    titles = [line.split("|")[1].strip() for line in tables[0]]
    assert titles[2:7] == ["random", "scripted", "clone", "anneal", "PPO alone"]
    assert titles[9:] == ["unprotected", "protected"]
    assert all(re.search(r"\| -?\d\.\d\d \| -?\d\.\d\d \|$", line) for line in tables[0][9:])
