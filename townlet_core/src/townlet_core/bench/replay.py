"""Whether a dataset of 4 GB is learned from as fast as one of 40 MB, in as little memory, and what looking at it costs.

Every training is a process of its own, `townlet train --strategy bc`, watched from outside; each row of the dataset is
read in it at least once, in shuffled order.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.bench.memory import MEGABYTE, megabytes, memory_of, require_memory_figures
from townlet_core.errors import UnavailableError
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.summary import summarise
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.validate import validate
from townlet_core.replay.writer import DatasetWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUM_FEATURES, NUM_ACTIONS, EPISODE_STEPS = 64, 8, 1000
BUDGET_BYTES = 512 << 20
"""What a training may have resident at its peak, mapped pages of the dataset included. [bytes]"""
_POLL_SEC = 0.02


def write_synthetic(path: Path, num_bytes: int, *, seed: int = 0) -> Dataset:
    """Write and return a dataset of about `num_bytes`: normal observations, labelled by a noisy linear rule."""
    rng = np.random.default_rng(seed)
    rule = rng.standard_normal((NUM_FEATURES, NUM_ACTIONS)).astype(np.float32)
    box = spaces.Box(-np.inf, np.inf, (NUM_FEATURES,), np.float32)
    flags = np.zeros(EPISODE_STEPS, np.bool_)
    row_bytes = NUM_FEATURES * 4 + 8 + 4 + 2
    with DatasetWriter(path, observation_spaces={"observation": box}, action_space=spaces.Discrete(NUM_ACTIONS)) as out:
        for group in range(max(2, num_bytes // (row_bytes * EPISODE_STEPS))):
            observation = rng.standard_normal((EPISODE_STEPS, NUM_FEATURES), np.float32)
            noise = 0.5 * rng.standard_normal((EPISODE_STEPS, NUM_ACTIONS), np.float32)
            steps = {
                "observation": observation,
                "actions": (observation @ rule + noise).argmax(axis=1),
                "rewards": observation[:, 0],
                "terminations": flags,
                "truncations": flags,
            }
            out.add(Trajectory(steps=steps, ending="cut", group=group))
    return Dataset(path)


def measure_replay(sizes_mb: Sequence[int], *, epochs: int = 1, directory: Path | None = None) -> list[dict[str, Any]]:
    """Return one row of figures for each size of dataset.

    Args:
        sizes_mb: sizes. [MB]
        epochs: passes over the data.
        directory: where the datasets are written, and deleted again; by default the system's own for such files.

    Raises:
        UnavailableError: this system does not tell how much memory a process has, or BC is not installed.
    """
    require_memory_figures()
    return list(_rows(sizes_mb, epochs, directory))


def _rows(sizes_mb: Sequence[int], epochs: int, directory: Path | None) -> Iterator[dict[str, Any]]:
    for size in sizes_mb:
        with tempfile.TemporaryDirectory(dir=directory) as place:
            dataset = write_synthetic(Path(place) / "data", size * MEGABYTE)
            row: dict[str, Any] = {"size_mb": round(dataset.num_bytes / MEGABYTE), "rows": dataset.num_rows}
            row |= _train(dataset, Path(place) / "run", epochs)
            begin = time.perf_counter()
            summarise(dataset)
            middle = time.perf_counter()
            validate(dataset)
            end = time.perf_counter()
        gigabytes = dataset.num_bytes / 1e9
        row["summary_sec_per_gb"] = round((middle - begin) / gigabytes, 2)
        row["validate_sec_per_gb"] = round((end - middle) / gigabytes, 2)
        yield row


def _train(dataset: Dataset, run: Path, epochs: int) -> dict[str, Any]:
    """Clone from `dataset` in a process of its own; return its speed and the most memory that it had."""
    settings = {"dataset": dataset.path, "num_epochs": epochs, "evaluate_episodes": 0}
    sets = [word for name, value in settings.items() for word in ("--set", f"strategies.bc.{name}={value}")]
    command = [sys.executable, "-m", "townlet_core", "train", "--strategy", "bc", *sets]
    command += ["--set", "tracking.progress=off", "--run-dir", str(run), "--json"]
    anonymous = peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            status = memory_of(process.pid)
            anonymous, peak = max(anonymous, status.get("RssAnon", 0)), max(peak, status.get("VmHWM", 0))
            time.sleep(_POLL_SEC)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise UnavailableError(f"'{' '.join(command)}' ended with {process.returncode}")
    result = json.loads(output)
    return {
        "samples_per_sec": round(result["samples_per_sec"], 1),
        "peak_anonymous_mb": megabytes(anonymous),
        "peak_resident_mb": megabytes(peak),
        "within_budget": peak <= BUDGET_BYTES,
    }
