"""Every mutant is killed by the test that is named there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import blend_mutants
import detail_mutants
import mutants
import pytest
import test_probes

SCRIPT = Path(__file__).with_name("run_mutants.py")


def outcomes(names: list[str]) -> dict[str, str]:
    """Return name -> outcome of the mutants called `names`."""
    done = subprocess.run([sys.executable, SCRIPT, *names], capture_output=True, text=True, timeout=280, check=False)
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    assert len(lines) == len(names), done.stdout + done.stderr
    return {name: outcome for outcome, name, _ in lines}


@pytest.mark.parametrize(
    "group",
    [mutants.PROBES, detail_mutants.DETAILS, blend_mutants.BLENDS],
    ids=["probes", "details", "blends"],
)
def test_every_mutant_is_killed_by_its_test(group) -> None:
    found = outcomes(list(group))
    assert [name for name, outcome in found.items() if outcome != "killed"] == []


def test_code_that_is_not_changed_survives() -> None:
    assert outcomes(list(detail_mutants.CONTROL)) == {"nothing is changed": "SURVIVED"}


def test_every_probe_kills_a_mutant() -> None:
    probes = {name for name in vars(test_probes) if name.startswith("test_p")}
    assert probes == {mutant.test.partition("::")[2] for mutant in mutants.PROBES.values()}
