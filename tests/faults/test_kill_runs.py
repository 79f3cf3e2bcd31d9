"""Whole PPO runs, killed at random moments and taken up again, end with the bytes of the uninterrupted run.

`TOWNLET_KILLS` says how many kills there are: 40 unless it is set, 400 in `make faults`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NUM_KILLS = int(os.environ.get("TOWNLET_KILLS", "40"))
PROGRAM = Path(__file__).parents[1] / "fixtures" / "killed_runs.py"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@pytest.fixture
def killed_runs(tmp_path, capsys):
    """Return a function that runs the program and returns its report, which `make faults` shows."""

    def run(*arguments):
        report = report_of(tmp_path, *arguments)
        if NUM_KILLS > 40:
            with capsys.disabled():
                sys.stdout.write(f"\n{json.dumps(report, indent=1)}\n")
        return report

    return run


def report_of(root: Path, *arguments: object) -> dict[str, object]:
    pytest.importorskip("torch", reason="PPO trains with torch")
    command = [sys.executable, "-W", "error", str(PROGRAM), str(root), *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, **ONE_THREAD}, capture_output=True, check=False, text=True, timeout=30 * NUM_KILLS
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(30 * NUM_KILLS)
def test_runs_that_are_killed_at_random_moments_end_with_the_bytes_of_an_uninterrupted_run(killed_runs) -> None:
    report = killed_runs("--kills", NUM_KILLS, "--leftovers", NUM_KILLS // 4)
    assert report["differences"] == []
    assert report["kills"] >= NUM_KILLS
    assert report["leftovers"] >= NUM_KILLS // 4
    assert report["runs"] >= 3
    assert report["skipped"] == 0, "a kill tears no checkpoint that has its name"
    assert report["most_lost"] <= 1, "an update that has its checkpoint is never lost"
    assert report["checkpoint_bytes"] > 2_000_000


@pytest.mark.timeout(30 * NUM_KILLS)
def test_runs_that_are_stopped_by_sigterm_lose_nothing_and_end_with_the_same_bytes(killed_runs) -> None:
    report = killed_runs("--kills", NUM_KILLS // 8, "--leftovers", 0, "--signal", "SIGTERM", "--seed", 1)
    assert report["differences"] == []
    assert report["kills"] >= NUM_KILLS // 8
    assert (report["updates_lost"], report["leftovers"], report["skipped"]) == (0, 0, 0)
