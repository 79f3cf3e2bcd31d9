"""Trackers of plugins cannot stop a run; the run's own can."""

from __future__ import annotations

import pytest

from townlet_core.errors import StorageError
from townlet_core.tracking import Tracker, Trackers


class Fake:
    """Raises the given error from its n-th record on, and when it is closed if told so."""

    def __init__(self, error=None, *, at=0, closing=None):
        self.error, self.at, self.closing = error, at, closing
        self.records, self.closed = [], 0

    def log(self, record):
        self.records.append(dict(record))
        if self.error is not None and len(self.records) > self.at:
            raise self.error

    def close(self):
        self.closed += 1
        if self.closing is not None:
            raise self.closing


def test_all_trackers_get_every_record():
    own, plugin, said = Fake(), Fake(), []
    trackers = Trackers([own], plugins={"p": plugin}, warn=said.append)
    assert isinstance(trackers, Tracker)
    trackers.log({"epoch": 1})
    trackers.log({"epoch": 2})
    trackers.close()
    trackers.close()
    assert own.records == plugin.records == [{"epoch": 1}, {"epoch": 2}]
    assert plugin.closed == 1
    assert said == []


@pytest.mark.parametrize("error", [ValueError("broken\npipe"), StorageError("full"), KeyError("x"), RecursionError()])
def test_a_plugin_that_raises_is_told_once_and_left_out_from_then_on(error):
    own, bad, good, said = Fake(), Fake(error, at=1), Fake(), []
    trackers = Trackers([own], plugins={"bad": bad, "good": good}, warn=said.append)
    for epoch in range(4):
        trackers.log({"epoch": epoch})
    trackers.close()
    assert len(own.records) == len(good.records) == 4
    assert len(bad.records) == 2
    assert len(said) == 1
    assert "tracker 'bad' failed and is switched off" in said[0]
    assert type(error).__name__ in said[0]
    assert "\n" not in said[0]


def test_a_plugin_cannot_change_what_others_see():
    class Rude(Fake):
        def log(self, record):
            record["epoch"] = 99

    good, said, record = Fake(), [], {"epoch": 1}
    trackers = Trackers([], plugins={"a-rude": Rude(), "good": good}, warn=said.append)
    trackers.log(record)
    assert good.records == [{"epoch": 1}]
    assert record == {"epoch": 1}
    assert "TypeError" in said[0]


def test_an_error_of_the_runs_own_tracker_ends_the_run():
    with pytest.raises(StorageError):
        Trackers([Fake(StorageError("full"))], warn=print).log({})


def test_an_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        Trackers([], plugins={"p": Fake(KeyboardInterrupt())}, warn=print).log({})


def test_each_tracker_is_closed_whatever_the_others_do():
    bad, last, own, said = Fake(closing=ValueError("x")), Fake(), [Fake(closing=StorageError("y")), Fake()], []
    with pytest.raises(StorageError):
        Trackers(own, plugins={"bad": bad, "last": last}, warn=said.append).close()
    assert [tracker.closed for tracker in (bad, last, *own)] == [1, 1, 1, 1]
    assert said == ["tracker 'bad' failed while closing: ValueError: x"]


def test_a_tracker_that_is_added_later_is_a_plugins(tmp_path):
    class Broken:
        def log(self, record):
            raise OSError("no such server")

        def close(self):
            raise OSError("no such server")

    said = []
    trackers = Trackers([], warn=said.append)
    trackers.add("mine", Broken())
    trackers.log({"epoch": 1})
    trackers.log({"epoch": 2})
    assert len(said) == 1
    assert "'mine' failed and is switched off" in said[0]
