"""Stopped or killed, within a pass or between two, a run ends as if nothing had happened: byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from bc_data import demonstrations
from bc_runs import StopAfter, context_for, train_once, what_is_promised

from townlet_core.errors import CheckpointError, RunInterrupted
from townlet_core.runs.layout import RunDirectory

SETTINGS = {"num_epochs": 3, "checkpoint_steps": 97, "window_bytes": 1 << 16, "patience": None}
KINDS = {
    "plain": {},
    "normalised, with values": {
        "normalize_observations": True,
        "value_coef": 0.5,
        "class_weights": "balanced",
        "weight_decay": 0.01,
    },
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Rows of several windows and shards."""
    made = demonstrations(
        tmp_path_factory.mktemp("data") / "d", 60, num_steps=60, shard_bytes=40_000, ending="truncated", bootstrap=1.0
    )
    assert len(made.shards) > 2
    return made


@pytest.fixture(scope="module", params=KINDS)
def whole(request, dataset, tmp_path_factory):
    """A run that nobody disturbed: its settings and what is promised of it."""
    fields = SETTINGS | KINDS[request.param]
    context = context_for(tmp_path_factory.mktemp("whole") / "run", dataset.path, **fields)
    return fields, what_is_promised(train_once(context), context.run)


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one == other


PASS = 202  # batches of a pass; the stop signal is looked at once after each, and twice after the last


@pytest.mark.parametrize("looks", [0, 97, PASS - 2, PASS - 1, PASS + 1, 2 * PASS + 57])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, dataset, whole, looks):
    fields, expected = whole
    context = context_for(tmp_path / "run", dataset.path, **fields)
    with pytest.raises(RunInterrupted, match="stopped after"):
        train_once(context, stop=StopAfter(looks))
    result = train_once(context, resume=True)
    same(what_is_promised(result, context.run), expected)


def test_a_run_that_was_stopped_again_and_again_too(tmp_path, dataset, whole):
    fields, expected = whole
    context = context_for(tmp_path / "run", dataset.path, **fields)
    stops, result = 0, None
    while result is None:
        try:
            result = train_once(context, stop=StopAfter(57 + stops), resume=stops > 0)
        except RunInterrupted:
            stops += 1
    assert stops > 8
    same(what_is_promised(result, context.run), expected)


def test_a_finished_training_is_not_repeated(tmp_path, dataset, whole):
    """The process ended between the last checkpoint and the result."""
    fields, expected = whole
    context = context_for(tmp_path / "run", dataset.path, **fields)
    train_once(context)
    step = context.run.checkpoints().steps()[-1]
    same(what_is_promised(train_once(context, resume=True), context.run), expected)
    assert context.run.checkpoints().steps()[-1] == step


def test_a_checkpoint_of_another_network_is_refused(tmp_path, dataset):
    context = context_for(tmp_path / "run", dataset.path, num_epochs=1)
    train_once(context)
    store = context.run.checkpoints()
    loaded = store.load_newest()
    arrays = safetensors.numpy.load(loaded.files["state.safetensors"])
    arrays["first.policy"] = arrays["first.policy"][1:]
    store.save(loaded.step, loaded.files | {"state.safetensors": safetensors.numpy.save(arrays)})
    with pytest.raises(CheckpointError, match=r"does not belong to this run: 'first.policy' is float32"):
        train_once(context, resume=True)
    store.save(loaded.step, loaded.files | {"state.json": b'{"epoch": 1}'})
    with pytest.raises(CheckpointError, match="does not hold the counters"):
        train_once(context, resume=True)


def test_a_dataset_that_has_grown_meanwhile_is_refused_and_both_digests_are_named(tmp_path):
    grown = demonstrations(tmp_path / "grown", 13)
    before = demonstrations(tmp_path / "d", 12)
    context = context_for(tmp_path / "run", before.path, num_epochs=3)
    with pytest.raises(RunInterrupted):
        train_once(context, stop=StopAfter(40))
    before.path.rename(tmp_path / "kept")
    grown.path.rename(before.path)
    told = rf"d has changed since .*{grown.digest[:12]} now, {before.digest[:12]} in .*former contents, or begin a new"
    with pytest.raises(CheckpointError, match=told):
        train_once(context, resume=True)
    before.path.rename(tmp_path / "grown")
    (tmp_path / "kept").rename(before.path)
    assert train_once(context, resume=True).dataset_digest == before.digest


def test_a_checkpoint_that_does_not_say_which_dataset_is_refused(tmp_path, dataset):
    context = context_for(tmp_path / "run", dataset.path, num_epochs=1)
    train_once(context)
    store = context.run.checkpoints()
    loaded = store.load_newest()
    store.save(loaded.step, {name: data for name, data in loaded.files.items() if name != "dataset.sha256"})
    with pytest.raises(CheckpointError, match=r"it has no dataset\.sha256"):
        train_once(context, resume=True)


def test_a_checkpoint_is_due_after_so_many_steps_within_a_pass_and_so_many_passes(tmp_path, dataset, monkeypatch):
    from townlet_core.checkpoint.store import CheckpointStore

    saved = []
    save = CheckpointStore.save
    monkeypatch.setattr(
        CheckpointStore, "save", lambda self, step, files: (saved.append(step), save(self, step, files))
    )
    fields = SETTINGS | {"checkpoint_steps": 150, "num_epochs": 3}
    train_once(context_for(tmp_path / "run", dataset.path, training={"checkpoint_every": 2}, **fields))
    assert saved == [0, 150, 300, 404, 450, 600, 606]


# -- killed -----------------------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from bc_runs import context_for, train_once
from townlet_core.runs.layout import RunDirectory
from townlet_strategies_bc.update import Updater

dataset, run, resume, lives = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume", int(sys.argv[4])
step = Updater.step
def dying(self, batch, *, learning_rate):
    global lives
    lives -= 1
    if lives < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, batch, learning_rate=learning_rate)
Updater.step = dying
context = context_for(None if resume else run, dataset, **{fields!r})
if resume:
    from dataclasses import replace
    context = replace(context, run=RunDirectory.open(run) if (run / "run.json").exists() else RunDirectory(run))
train_once(context, resume=resume)
"""


def test_a_run_that_was_killed_anywhere_ends_as_if_it_had_not_been(tmp_path, dataset):
    """Every kill comes a number of steps after the last one, which no checkpoint interval divides."""
    fields = SETTINGS | KINDS["normalised, with values"]
    whole = context_for(tmp_path / "whole", dataset.path, **fields)
    expected = what_is_promised(train_once(whole), whole.run)
    code = CHILD.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "fixtures")], fields=fields)
    run, kills = tmp_path / "run", 0
    while True:
        how = "resume" if kills else "begin"
        child = subprocess.run(
            [sys.executable, "-c", code, str(dataset.path), str(run), how, str(239)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        kills += 1
    assert kills == 2
    context = replace(context_for(None, dataset.path, **fields), run=RunDirectory(run))
    result = train_once(context, resume=True)
    same(what_is_promised(result, context.run), expected)


def test_telemetry_of_a_lost_pass_is_written_once(tmp_path, dataset):
    context = context_for(tmp_path / "run", dataset.path, **SETTINGS)
    with pytest.raises(RunInterrupted):
        train_once(context, stop=StopAfter(2 * PASS + 20))
    with context.run.telemetry_path.open("ab") as file:
        file.write(b'{"epoch":3}\n')
    train_once(context, resume=True)
    lines = context.run.telemetry_path.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert np.diff([json.loads(line)["log_stream_offset"] for line in lines]).min() > 0
