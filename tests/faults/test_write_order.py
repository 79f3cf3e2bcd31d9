"""The exact order of the calls that make a checkpoint survive."""

from __future__ import annotations

import errno
import os

import pytest

from townlet_core.checkpoint.atomic import clean_leftovers, write_directory, write_file
from townlet_core.checkpoint.manifest import previous_path, read_directory
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import CheckpointError, MissingInputError, StorageError

A, B, C = ("checkpoints/" + f"{step:012d}" for step in (1, 2, 3))


def temporary(path, number=0):
    parent, _, name = path.rpartition("/")
    return f"{parent}/.{name}.{os.getpid()}-{number}.tmp"


def without_contents(calls):
    return [call[:2] if call[0] == "write" else call for call in calls]


def test_a_save_syncs_before_it_renames_and_deletes_only_after_the_pointer(recorder):
    store = CheckpointStore(recorder.root / "checkpoints", keep_last=1, filesystem=recorder)
    store.save(1, {"a.bin": b"one"})
    recorder.calls.clear()
    store.save(2, {"a.bin": b"two"})
    new, pointer, old = temporary(B), temporary("checkpoints/newest"), temporary(A)
    assert without_contents(recorder.calls) == [
        ("make_directory", new),
        ("create", f"{new}/a.bin"),
        ("write", f"{new}/a.bin"),
        ("sync", f"{new}/a.bin"),
        ("create", f"{new}/manifest.json"),
        ("write", f"{new}/manifest.json"),
        ("sync", f"{new}/manifest.json"),
        ("sync_directory", new),
        ("rename", new, B),
        ("sync_directory", "checkpoints"),
        ("create", pointer),
        ("write", pointer),
        ("sync", pointer),
        ("rename", pointer, "checkpoints/newest"),
        ("sync_directory", "checkpoints"),
        ("rename", A, old),
        ("remove_file", f"{old}/a.bin"),
        ("remove_file", f"{old}/manifest.json"),
        ("remove_directory", old),
    ]


def test_the_first_save_makes_the_root_durable_before_anything_is_in_it(recorder):
    CheckpointStore(recorder.root / "checkpoints", filesystem=recorder).save(1, {})
    assert recorder.calls[:2] == [("make_directory", "checkpoints"), ("sync_directory", ".")]


def test_several_old_checkpoints_go_from_the_oldest_on_and_the_previous_one_last(recorder):
    keeping = CheckpointStore(recorder.root / "checkpoints", keep_last=9, filesystem=recorder)
    for step in (1, 2, 3):
        keeping.save(step, {})
    CheckpointStore(recorder.root / "checkpoints", keep_last=1, filesystem=recorder).save(4, {})
    deleted = [source for call, source, *_ in recorder.calls if call == "rename" and source in {A, B, C}]
    assert deleted == [A, B, C]


BEST_AFTER = {1: 1, 2: 1, 3: 1, 4: 4, 5: 4, 6: 4}
"""Step -> the best one so far."""


def saved(store, step):
    store.save(step, {"best": b"%d" % BEST_AFTER[step], "weights": b"%d" % step}, keep={BEST_AFTER[step]})


def test_the_best_checkpoint_is_kept_beside_the_newest_ones_until_there_is_a_better_one(recorder):
    store = CheckpointStore(recorder.root / "checkpoints", keep_last=2, filesystem=recorder)
    kept = []
    for step in BEST_AFTER:
        saved(store, step)
        kept.append(store.steps())
    assert kept == [[1], [1, 2], [1, 2, 3], [3, 4], [4, 5], [4, 5, 6]]
    assert store.load(4).files == {"best": b"4", "weights": b"4"}
    with pytest.raises(MissingInputError, match="000000000003"):
        store.load(3)


def test_a_best_checkpoint_that_is_damaged_is_not_kept_for_its_name(recorder):
    store = CheckpointStore(recorder.root / "checkpoints", keep_last=1, filesystem=recorder)
    for step in (1, 2):
        saved(store, step)
    for step in (1, 2):
        (store.root / f"{step:012d}" / "weights").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="intact"):
        store.load_newest()
    saved(store, 3)
    assert store.steps() == [3]


@pytest.mark.parametrize("keep_last", [1, 2])
def test_at_every_moment_the_newest_good_checkpoint_and_the_best_that_it_names_are_there(recorder, killed, keep_last):
    """A writer is killed at each of its calls in turn, and another one goes on."""
    lives = moments = 0
    while True:
        root = recorder.root / f"killed-{lives}"
        recorder.lives = lives
        try:
            store = CheckpointStore(root, keep_last=keep_last, filesystem=recorder)
            for step in BEST_AFTER:
                saved(store, step)
            break
        except killed:
            recorder.lives = None
        loaded = CheckpointStore(root).load_newest()
        if loaded is not None:
            moments += 1
            best = CheckpointStore(root).load(int(loaded.files["best"]))
            assert best.files["weights"] == loaded.files["best"] == b"%d" % BEST_AFTER[loaded.step]
        again = CheckpointStore(root, keep_last=keep_last, filesystem=recorder)
        for step in BEST_AFTER:
            if loaded is None or step > loaded.step or step == max(BEST_AFTER):  # what a kill left goes with a save
                saved(again, step)
        assert again.steps() == sorted({4, *list(BEST_AFTER)[-keep_last:]})
        lives += 1
    assert moments > 80


def test_replacing_a_directory_deletes_the_old_one_only_when_the_new_one_is_durable(recorder):
    target = recorder.root / "policy"
    write_directory(target, {"w": b"old"}, filesystem=recorder)
    recorder.calls.clear()
    write_directory(target, {"w": b"new"}, replace=True, filesystem=recorder)
    new = f".policy.{os.getpid()}-0.tmp"
    at = [recorder.calls.index(call) for call in (
        ("sync_directory", new),
        ("rename", "policy", ".policy.previous"),
        ("rename", new, "policy"),
        ("sync_directory", "."),
        ("remove_file", ".policy.previous/manifest.json"),
    )]  # fmt: skip
    assert at == sorted(at)
    assert read_directory(target) == {"w": b"new"}
    assert sorted(path.name for path in recorder.root.iterdir()) == ["policy"]


@pytest.mark.parametrize("number", range(40))
def test_a_refused_call_of_any_number_leaves_the_old_directory_or_the_new_one(recorder, number):
    """Every call of a replacement is refused in turn: no state in between is ever seen, and a retry succeeds."""
    target = recorder.root / "policy"
    write_directory(target, {"w": b"old"})
    kinds = ("make_directory", "create", "write", "sync", "sync_directory", "rename", "remove_file", "remove_directory")
    kind, count = kinds[number % len(kinds)], number // len(kinds)
    recorder.refuse = {(kind, count): errno.EIO}
    refused = None
    try:
        write_directory(target, {"w": b"new"}, replace=True, filesystem=recorder)
    except StorageError as error:
        refused = str(error)
    assert (refused is not None) == (recorder.counts[kind] > count), "a refusal is told, and nothing else is"
    if refused:
        assert str(target) in refused
        assert "EIO" in refused
        assert kind.startswith("remove") or not list(recorder.root.glob(".*.tmp"))
    assert target.is_dir(), "what was set aside came back"
    assert read_directory(target)["w"] in (b"old", b"new")
    clean_leftovers(recorder.root)
    write_directory(target, {"w": b"again"}, replace=True)
    assert read_directory(target) == {"w": b"again"}
    assert [path.name for path in recorder.root.iterdir()] == ["policy"]


def test_between_the_two_renames_of_a_replacement_a_reader_finds_the_old_contents(recorder):
    target = recorder.root / "policy"
    write_directory(target, {"w": b"old"})
    target.rename(previous_path(target))
    assert read_directory(target) == {"w": b"old"}
    assert clean_leftovers(recorder.root) == [".policy.previous"]
    assert target.is_dir()
    assert read_directory(target) == {"w": b"old"}


def test_an_existing_directory_is_not_replaced_unless_asked_even_an_empty_one(recorder):
    target = recorder.root / "policy"
    target.mkdir()
    with pytest.raises(StorageError, match="EEXIST"):
        write_directory(target, {"w": b"new"}, filesystem=recorder)
    assert [path.name for path in recorder.root.iterdir()] == ["policy"]


def test_a_short_write_is_continued_where_it_stopped(recorder, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, data, write=os.write: write(descriptor, data[:3]))
    write_file(recorder.root / "file", b"0123456789", filesystem=recorder)
    assert (recorder.root / "file").read_bytes() == b"0123456789"


def test_a_leftover_of_the_same_process_number_is_stepped_over(recorder):
    """In a container every process may be number 1."""
    (recorder.root / f".file.{os.getpid()}-0.tmp").write_bytes(b"torn")
    (recorder.root / f".dir.{os.getpid()}-0.tmp").mkdir()
    write_file(recorder.root / "file", b"whole", filesystem=recorder)
    write_directory(recorder.root / "dir", {}, filesystem=recorder)
    assert (recorder.root / "file").read_bytes() == b"whole"
    assert len(clean_leftovers(recorder.root)) == 2
