"""Every disk state that a power loss may leave behind is recovered from, and no fsync can be left out.

The model is the weak one of POSIX: at the loss, each file that was not synced is empty, half or whole, and of the
changes to the names in a directory that was not synced any subset may be lost. The calls are those of the production
writer; each state is put on a real disk and read by the production reader.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from device_states import Device, put_on_disk

from townlet_core.checkpoint.atomic import clean_leftovers, write_directory
from townlet_core.checkpoint.manifest import read_directory
from townlet_core.checkpoint.store import POINTER_NAME, CheckpointStore
from townlet_core.errors import CheckpointError, DataError, MissingInputError

STEPS = (1, 2, 3)


def problem(path, acknowledged):
    """Return what is wrong with recovering from `path`, where `save` had returned for the steps to `acknowledged`."""
    store = CheckpointStore(path / "checkpoints")
    try:
        loaded = store.load_newest()
    except CheckpointError as error:
        # A first checkpoint that was not acknowledged may be torn; nothing was lost then.
        return str(error) if acknowledged else None
    if (loaded.step if loaded else 0) < acknowledged:
        return f"{acknowledged} was acknowledged and {loaded and loaded.step} found"
    if loaded and loaded.files != {"a": b"weights %d" % loaded.step}:
        return "other contents"
    try:
        name = (path / "checkpoints" / POINTER_NAME).read_text().strip()
    except FileNotFoundError:
        return "the pointer is missing" if acknowledged else None
    try:
        read_directory(path / "checkpoints" / name)
    except (DataError, MissingInputError) as error:
        return f"the pointer misleads: {error}"
    return None if int(name or 0) >= acknowledged else "the pointer is behind"


def recorded_saves(recorder, leave_out=None):
    """Return the calls of each save; `leave_out` is (save from 0, number of the sync that it goes without)."""
    store = CheckpointStore(recorder.root / "checkpoints", keep_last=1, filesystem=recorder)
    saves = []
    for number, step in enumerate(STEPS):
        recorder.skip_sync = leave_out[1] if leave_out and leave_out[0] == number else None
        recorder.restart_counting()
        recorder.calls.clear()
        store.save(step, {"a": b"weights %d" % step})
        saves.append(list(recorder.calls))
    return saves


def problems(saves, tmp_path):
    """Yield what is wrong in each state that a loss after each call may leave."""
    device, seen = Device(), set()
    for finished, calls in enumerate(saves):
        for number, call in enumerate(calls, start=1):
            device.follow(*call)
            acknowledged = finished + (number == len(calls))
            for state in device.states():
                if (state, acknowledged) in seen:
                    continue
                seen.add((state, acknowledged))
                path = tmp_path / f"state-{len(seen)}"
                put_on_disk(state, path)
                found = problem(path, acknowledged)
                if found:
                    yield found


def problems_of(calls, start, wrong, tmp_path):
    """Yield what `wrong` finds in each state that a loss after each call from number `start` on may leave."""
    device, seen = Device(), set()
    for number, call in enumerate(calls, start=1):
        device.follow(*call)
        if number < start:
            continue
        for state in device.states():
            if (state, number == len(calls)) in seen:
                continue
            seen.add((state, number == len(calls)))
            path = tmp_path / f"state-{len(seen)}"
            put_on_disk(state, path)
            found = wrong(path, last=number == len(calls))
            if found:
                yield f"after call {number} of {len(calls)}: {found}"


def wrong_policy(path, *, last):
    try:
        contents = read_directory(path / "policy")["a"]
    except (DataError, MissingInputError) as error:
        return str(error)
    return None if contents in ([b"third"] if last else [b"first", b"second", b"third"]) else f"{contents} was found"


@pytest.mark.parametrize("left_out", range(4))
def test_no_sync_can_be_left_out_of_a_replacement(recorder, tmp_path, left_out):
    write_directory(recorder.root / "policy", {"a": b"first"}, filesystem=recorder)
    start = len(recorder.calls)
    recorder.restart_counting()
    recorder.skip_sync = left_out
    write_directory(recorder.root / "policy", {"a": b"third"}, replace=True, filesystem=recorder)
    assert recorder.syncs == 4
    assert next(problems_of(recorder.calls, start, wrong_policy, tmp_path), None) is not None


@pytest.mark.parametrize("cleans", [False, True])
@pytest.mark.parametrize("lives", range(15))
def test_a_power_loss_while_a_replacement_is_repeated_after_a_kill_shows_no_half(
    recorder, tmp_path, killed, lives, cleans
):
    target = recorder.root / "policy"
    write_directory(target, {"a": b"first"}, filesystem=recorder)
    start, recorder.lives = len(recorder.calls), lives
    with pytest.raises(killed) if lives < 14 else nullcontext():
        write_directory(target, {"a": b"second"}, replace=True, filesystem=recorder)
    recorder.lives = None
    if cleans:
        clean_leftovers(recorder.root, filesystem=recorder)
    write_directory(target, {"a": b"third"}, replace=True, filesystem=recorder)

    assert next(problems_of(recorder.calls, start, wrong_policy, tmp_path), None) is None


@pytest.mark.parametrize("lives", range(20))
def test_a_power_loss_after_a_killed_save_and_another_one_loses_nothing(recorder, tmp_path, killed, lives):
    root = recorder.root / "checkpoints"
    CheckpointStore(root, keep_last=1, filesystem=recorder).save(1, {"a": b"weights 1"})
    start, recorder.lives = len(recorder.calls), lives
    with pytest.raises(killed) if lives < 19 else nullcontext():
        CheckpointStore(root, keep_last=1, filesystem=recorder).save(2, {"a": b"weights 2"})
    recorder.lives = None
    again = CheckpointStore(root, keep_last=1, filesystem=recorder)
    step = again.load_newest().step + 1
    again.save(step, {"a": b"weights %d" % step})

    def wrong(path, *, last):
        return problem(path, step if last else 1)

    assert next(problems_of(recorder.calls, start, wrong, tmp_path), None) is None


def test_every_power_loss_is_recovered_from(recorder, tmp_path):
    saves = recorded_saves(recorder)
    assert list(problems(saves, tmp_path)) == []
    assert len(list(tmp_path.glob("state-*"))) > 50


def wrong_best(path, *, last):
    """Return what is wrong with the best checkpoint, which the newest one names."""
    try:
        store = CheckpointStore(path / "checkpoints")
        best = store.load(int(store.load_newest().files["best"]))
    except (CheckpointError, MissingInputError) as error:
        return f"{error}{' at the end' * last}"
    return None if best.files["best"] == b"%d" % best.step else f"{best.step} is not what was the best"


@pytest.mark.parametrize("keep_last", [1, 2])
def test_every_power_loss_leaves_the_best_checkpoint_that_the_newest_one_names(recorder, tmp_path, keep_last):
    store, start = CheckpointStore(recorder.root / "checkpoints", keep_last=keep_last, filesystem=recorder), 0
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        store.save(step, {"best": b"%d" % best}, keep={best})
        start = start or len(recorder.calls)
    assert list(problems_of(recorder.calls, start, wrong_best, tmp_path)) == []
    assert store.steps() == [4, 5]


NUM_SYNCS = (7, 6, 6)  # the first save also syncs the name of the directory that it makes


def test_the_number_of_syncs_of_each_save_is_known(recorder):
    saves = recorded_saves(recorder)
    assert tuple(sum(call[0].startswith("sync") for call in calls) for calls in saves) == NUM_SYNCS


@pytest.mark.parametrize("leave_out", [(save, sync) for save, syncs in enumerate(NUM_SYNCS) for sync in range(syncs)])
def test_no_sync_can_be_left_out(recorder, tmp_path, leave_out):
    saves = recorded_saves(recorder, leave_out)
    assert next(problems(saves, tmp_path), None) is not None


def test_the_old_checkpoint_cannot_go_before_the_pointer(recorder, tmp_path):
    saves = recorded_saves(recorder)
    for calls in saves[1:]:
        start = next(n for n, call in enumerate(calls) if call[0] == "create" and POINTER_NAME in call[1])
        end = next(n for n, call in enumerate(calls) if call[0] == "rename" and call[2].endswith(POINTER_NAME)) + 2
        calls[start:] = calls[end:] + calls[start:end]
    assert next(problems(saves, tmp_path), None) is not None
