"""Anneal runs that are killed in every stage, between stages and at the end come to the same verdicts and bytes.

`TOWNLET_KILLS` says how many kills there are at most: 10 unless it is set; from 100 on, one at every write of a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NUM_KILLS = int(os.environ.get("TOWNLET_KILLS", "10"))
PROGRAM = Path(__file__).parents[1] / "fixtures" / "killed_anneal.py"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@pytest.mark.timeout(120 + 30 * NUM_KILLS)
def test_a5_runs_that_are_killed_in_each_stage_end_with_the_verdicts_and_bytes_of_an_uninterrupted_one(tmp_path):
    every = max(1, 100 // NUM_KILLS)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), str(tmp_path), "--every", str(every)],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["differences"] == []
    assert report["kills"] >= min(NUM_KILLS, report["writes"]) - 2
    passed_again = [["ppo", "PASS", 1]] * 3  # from the weight before the one that failed
    expected = [["bc", "PASS", 0], ["ppo", "PASS", 0], ["ppo", "FAIL", 0], *passed_again]
    assert report["verdicts"] == expected
