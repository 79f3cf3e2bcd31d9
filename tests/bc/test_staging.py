"""Memory on the way to a device: used again in turns, and only when what was copied from it has arrived."""

from __future__ import annotations

import numpy as np
import torch

from townlet_strategies_bc.staging import Stage


class Events:
    """Remembers what was recorded and waited for."""

    def __init__(self):
        self.log, self.count = [], 0

    def __call__(self):
        number, self.count, log = self.count, self.count + 1, self.log

        class Event:
            def record(self):
                log.append(("record", number))

            def synchronize(self):
                log.append(("wait", number))

        return Event()


def make_stage():
    allocated, events = [], Events()

    def allocate(size, dtype):
        memory = torch.full((size,), 0, dtype=dtype)
        allocated.append(memory)
        return memory

    return Stage(torch.device("cpu"), allocate=allocate, event=events), allocated, events


def test_arrays_arrive_as_they_were_whatever_becomes_of_them():
    stage, _, _ = make_stage()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    flags = np.array([True, False])
    moved = stage({"a": array, "flags": flags, "columns": array.T})
    expected = array.copy()
    array[:] = 9
    assert np.array_equal(moved["a"].numpy(), expected)
    assert moved["flags"].tolist() == [True, False]
    assert np.array_equal(moved["columns"].numpy(), expected.T)


def test_two_sets_of_memory_take_turns_and_each_waits_for_its_last_copy():
    stage, allocated, events = make_stage()
    for value in range(5):
        stage({"a": np.full(3, value, np.float32)})
    assert len(allocated) == 2
    assert events.log == [
        ("record", 0),
        ("record", 1),
        ("wait", 0),
        ("record", 2),
        ("wait", 1),
        ("record", 3),
        ("wait", 2),
        ("record", 4),
    ]


def test_memory_grows_with_the_batch_and_does_not_shrink():
    stage, allocated, _ = make_stage()
    for size in (3, 3, 8, 8, 2, 2):
        moved = stage({"a": np.arange(size, dtype=np.float32)})
        assert moved["a"].tolist() == list(range(size))
    assert [memory.numel() for memory in allocated] == [3, 3, 8, 8]
