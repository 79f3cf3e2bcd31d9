"""Killed or without power at any moment, releases are as they were before an operation, or as after it."""

import errno
import itertools
import shutil
from contextlib import suppress

import pytest
from device_states import Device, put_on_disk

from townlet_core.errors import StorageError, TownletError
from townlet_core.releases.verify import verify

NUM_STEPS = 6


@pytest.fixture
def statuses(tmp_path, story, service):
    """How things stand after each number of steps."""
    undisturbed = service(tmp_path / "undisturbed")
    found = [undisturbed.status()]
    for step in story.steps():
        assert step(undisturbed).done
        found.append(undisturbed.status())
    return found


@pytest.mark.parametrize("number", range(NUM_STEPS))
def test_a_kill_at_any_call_of_an_operation_leaves_the_releases_before_or_after_it(
    recorder, killed, story, service, statuses, number
):
    step, before = story.steps()[number], statuses[number : number + 2]
    torn = 0
    for lives in itertools.count():
        root = recorder.root / f"killed-{lives}"
        for earlier in story.steps()[:number]:
            earlier(service(root))
        recorder.lives = lives
        try:
            step(service(root, filesystem=recorder))
            break
        except killed:
            recorder.lives = None
        if root.is_dir():
            report = verify(root)
            assert report.problems == ()
            torn += bool(report.leftovers)
        assert service(root).status() in before
        if service(root).status() == before[0]:
            assert step(service(root)).done
        else:
            service(root).record_verdict(story.policies / "2", "HOLD", by="test")  # a writer that finishes the rest
        after = verify(root)
        assert after.problems == ()
        assert not [one for one in after.leftovers if one.text != "the log does not know it"]
    assert lives >= 8
    assert torn > 3


@pytest.mark.parametrize("number", range(NUM_STEPS))
def test_a_refused_call_leaves_the_releases_before_or_after_an_operation(recorder, story, service, statuses, number):
    kinds = {"make_directory", "append", "create", "write", "sync", "sync_directory", "rename"}
    left, refusals = [(kind, 0) for kind in kinds], 0
    while left:
        kind, count = left.pop()
        root = recorder.root / f"{kind}-{count}"
        for earlier in story.steps()[:number]:
            earlier(service(root))
        recorder.counts.clear()
        recorder.refuse = {(kind, count): errno.ENOSPC}
        with suppress(StorageError):
            story.steps()[number](service(root, filesystem=recorder))
            continue
        left.append((kind, count + 1))
        refusals += 1
        if root.is_dir():
            assert verify(root).problems == ()
        assert service(root).status() in statuses[number : number + 2]
    assert refusals >= 8


def unrecovered(path, story, service, statuses, acknowledged):
    """Return what is wrong after a power loss that left `path`, where so many operations had returned."""
    root = path / "releases"
    try:
        problems = verify(root).problems if root.is_dir() else ()
        if problems:
            return problems[0].text
        status = service(root).status()
        if status.events < acknowledged:
            return f"{acknowledged} events were acknowledged and {status.events} found"
        if status != statuses[status.events]:
            return "other contents"
        if status.events < NUM_STEPS and not story.steps()[status.events](service(root)).done:
            return "there is no going on"
        return "; ".join(problem.text for problem in verify(root).problems) if root.is_dir() else None
    except TownletError as error:
        return str(error)


def recorded_calls(recorder, story, service, leave_out=None):
    """Return the calls of each operation; `leave_out` is (operation, number of the sync that it goes without)."""
    operations = []
    for number, step in enumerate(story.steps()):
        recorder.skip_sync = leave_out[1] if leave_out and leave_out[0] == number else None
        recorder.restart_counting()
        recorder.calls.clear()
        step(service(recorder.root / "releases", filesystem=recorder))
        operations.append(list(recorder.calls))
    return operations


def losses(operations, tmp_path, *, start=0):
    """Yield (directory, operations that had returned) for each state that a loss after a call may leave.

    Args:
        operations: the calls of each.
        tmp_path: where the states are put.
        start: number of the operation in which the first loss comes.
    """
    device, seen = Device(), set()
    for finished, calls in enumerate(operations):
        for number, call in enumerate(calls, start=1):
            device.follow(*call)
            acknowledged = finished + (number == len(calls))
            if finished < start:
                continue
            for state in device.states():
                if (state, acknowledged) not in seen:
                    seen.add((state, acknowledged))
                    path = tmp_path / f"loss-{len(seen)}"
                    put_on_disk(state, path)
                    yield path, acknowledged


def test_every_power_loss_is_recovered_from(recorder, story, service, statuses, tmp_path):
    states = list(losses(recorded_calls(recorder, story, service), tmp_path))
    found = {path.name: unrecovered(path, story, service, statuses, acknowledged) for path, acknowledged in states}
    assert {name: problem for name, problem in found.items() if problem} == {}
    assert len(states) > 100


NUM_SYNCS = (8, 14, 14, 9, 12, 7)
RECOVERING = (0, 3, 4, 4, 4, 4)
"""The first syncs of each operation: of what a killed writer may have left; another test says what they are for."""
# The last one is of the name of status.json, which may be one event behind: the next writer makes up for it.
NEEDED = [
    (number, sync)
    for number, (syncs, first) in enumerate(zip(NUM_SYNCS, RECOVERING, strict=True))
    for sync in range(first, syncs - 1)
]


def test_the_number_of_syncs_of_each_operation_is_known(recorder, story, service):
    operations = recorded_calls(recorder, story, service)
    assert tuple(sum(call[0].startswith("sync") for call in calls) for calls in operations) == NUM_SYNCS


@pytest.mark.parametrize("leave_out", NEEDED, ids=str)
def test_no_sync_can_be_left_out(recorder, story, service, statuses, tmp_path, leave_out):
    operations = recorded_calls(recorder, story, service, leave_out)
    states = losses(operations, tmp_path, start=leave_out[0])
    found = (unrecovered(path, story, service, statuses, acknowledged) for path, acknowledged in states)
    assert any(found)


def test_half_a_line_is_not_believed_and_the_next_writer_cuts_it_off(store, story, service):
    log, status = store / "events.jsonl", store / "status.json"
    acknowledged, known = log.read_bytes(), status.read_bytes()
    assert service(store).record_verdict(story.policies / "2", "HOLD", by="test").done
    longer = log.read_bytes()
    for length in range(len(acknowledged) + 1, len(longer), 53):
        log.write_bytes(longer[:length])
        status.write_bytes(known)
        report = verify(store)
        assert (report.problems, report.events) == ((), 6)
        assert [one.path for one in report.leftovers] == ["events.jsonl"]
        assert service(store).status().events == 6
        assert service(store).record_verdict(story.policies / "2", "HOLD", by="test").done
        assert log.read_bytes() == longer


def test_a_line_that_a_power_loss_tore_in_its_middle_is_cut_off_too(store, story, service):
    log, status = store / "events.jsonl", store / "status.json"
    acknowledged, known = log.read_bytes(), status.read_bytes()
    assert service(store).record_verdict(story.policies / "2", "HOLD", by="test").done
    longer = log.read_bytes()
    for start in range(len(acknowledged), len(longer) - 1, 97):
        log.write_bytes(
            longer[:start] + bytes(50) + longer[start + 50 :] if start + 50 < len(longer) else longer[:start]
        )
        status.write_bytes(known)
        report = verify(store)
        assert (report.problems, report.events) == ((), 6)
        assert report.leftovers
        assert service(store).record_verdict(story.policies / "2", "HOLD", by="test").done
        assert log.read_bytes() == longer
        assert verify(store).leftovers == ()


@pytest.mark.parametrize("number", range(NUM_STEPS - 1))
def test_a_power_loss_or_a_kill_while_half_a_line_is_cut_off_loses_nothing(
    recorder, killed, story, service, statuses, tmp_path, number
):
    """An operation is killed in the middle of its line, and made again; that is killed at each call, or loses power."""
    steps, root = story.steps(), recorder.root / "releases"
    for step in steps[:number]:
        step(service(root, filesystem=recorder))
    begun = len(recorder.calls)
    recorder.tears = True
    with pytest.raises(killed):
        steps[number](service(root, filesystem=recorder))
    recorder.tears = False
    assert [one.path for one in verify(root).leftovers if one.path == "events.jsonl"]
    shutil.copytree(root, tmp_path / "torn")
    assert steps[number](service(root, filesystem=recorder)).done
    assert ("shorten", "releases/events.jsonl") in [call[:2] for call in recorder.calls]
    operations = [recorder.calls[:begun], recorder.calls[begun:]]
    for path, finished in losses(operations, tmp_path, start=1):
        assert not unrecovered(path, story, service, statuses, number + (finished == 2))
    for lives in range(len(recorder.calls)):
        again = recorder.root / f"again-{lives}"
        shutil.copytree(tmp_path / "torn", again)
        recorder.lives = lives
        try:
            steps[number](service(again, filesystem=recorder))
            break
        except killed:
            recorder.lives = None
        assert verify(again).problems == ()
        assert service(again).status() in statuses[number : number + 2]
    assert lives > 5


@pytest.mark.parametrize("number", range(NUM_STEPS))
def test_a_power_loss_after_a_kill_and_another_try_loses_nothing_that_was_acknowledged(
    recorder, killed, story, service, statuses, tmp_path, number
):
    """An operation is killed at each of its calls, made again, and then power is lost."""
    for lives in itertools.count():
        recorder.root = tmp_path / f"disk-{lives}"
        recorder.root.mkdir()
        root = recorder.root / "releases"
        recorder.calls.clear()
        for step in story.steps()[:number]:
            step(service(root, filesystem=recorder))
        recorder.lives = lives
        try:
            story.steps()[number](service(root, filesystem=recorder))
            break
        except killed:
            recorder.lives = None
        begun = len(recorder.calls)
        if service(root).status().events == number:
            story.steps()[number](service(root, filesystem=recorder))
        else:
            with service(root, filesystem=recorder).store.writing():
                pass  # finishes what was begun
        final = Device()
        for call in recorder.calls:
            final.follow(*call)
        assert begun < len(recorder.calls)
        for state in final.states():
            path = tmp_path / f"loss-{lives}-{hash(state)}"
            put_on_disk(state, path)
            assert not unrecovered(path, story, service, statuses, number + 1)
    assert lives >= 8
