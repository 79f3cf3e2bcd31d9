"""Every mutant is killed by the test that is named there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bc_mutants
import pytest

SCRIPT = Path(__file__).with_name("run_bc_mutants.py")
NAMES = list(bc_mutants.MUTANTS)


def outcomes(names):
    """Return name -> outcome of the mutants called `names`."""
    done = subprocess.run([sys.executable, SCRIPT, *names], capture_output=True, text=True, timeout=280, check=False)
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    assert len(lines) == len(names), done.stdout + done.stderr
    return {name: outcome for outcome, name, _ in lines}


@pytest.mark.parametrize("part", range(2))
def test_every_mutant_is_killed_by_its_test(part):
    found = outcomes(NAMES[part::2])
    assert [name for name, outcome in found.items() if outcome != "killed"] == []


def test_code_that_is_not_changed_survives():
    assert outcomes(list(bc_mutants.CONTROL)) == {"nothing is changed": "SURVIVED"}
