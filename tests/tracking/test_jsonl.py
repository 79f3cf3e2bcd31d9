"""The telemetry file never ends in half a line, and never differs from what was logged."""

from __future__ import annotations

import errno
import json
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from townlet_core.errors import CheckpointError, StorageError
from townlet_core.tracking.jsonl import TelemetryLog, encode_record

any_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.jsonl"


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_a_line_that_can_be_read_at_once(path):
    with TelemetryLog(path) as log:
        for epoch in range(3):
            log.log({"epoch": epoch})
            assert read(path) == [{"epoch": number} for number in range(epoch + 1)]
            assert log.offset == path.stat().st_size


@any_path
@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
    )
)
def test_a_line_is_valid_json_that_holds_the_record_with_null_for_what_json_lacks(record):
    def refuse(constant):
        raise AssertionError(constant)

    def plain(value):
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not abs(value) < float("inf") else value

    line = encode_record(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line, parse_constant=refuse) == {name: plain(value) for name, value in record.items()}


def test_scalars_of_array_libraries_are_plain_numbers():
    record = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": np.float64("nan"),
        "d": np.bool_(True),
        "e": {"f": (1, np.float32("inf"))},
    }
    assert json.loads(encode_record(record)) == {"a": 0.5, "b": 3, "c": None, "d": True, "e": {"f": [1, None]}}


@pytest.mark.parametrize("value", [object(), {1}, Fraction(1, 2), b"bytes"])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(path, value):
    with TelemetryLog(path) as log:
        log.log({"epoch": 1})
        with pytest.raises(TypeError, match="telemetry cannot hold"):
            log.log({"epoch": 2, "x": value})
    assert read(path) == [{"epoch": 1}]


@any_path
@given(st.integers(0, 30), st.integers(1, 200_000))
def test_opening_drops_a_torn_last_line_and_nothing_else(tmp_path, lines, torn):
    path = tmp_path / "torn.jsonl"
    whole = b'{"x":1}\n' * lines
    path.write_bytes(whole + b"y" * torn)
    with TelemetryLog(path) as log:
        assert log.offset == len(whole)
        assert path.read_bytes() == whole
        log.log({"x": 2})
    assert read(path)[-1] == {"x": 2}


def test_truncating_to_a_stored_offset_drops_what_was_logged_after_it(path):
    with TelemetryLog(path) as log:
        log.log({"epoch": 1})
        offset = log.sync()
        log.log({"epoch": 2})
        log.truncate(offset)
        log.log({"epoch": 3})
    assert read(path) == [{"epoch": 1}, {"epoch": 3}]
    with TelemetryLog(path) as log:
        log.truncate(0)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("offset", [-1, 1, 5, 14, 1000])
def test_an_offset_where_no_line_ends_belongs_to_another_file(path, offset):
    with TelemetryLog(path) as log:
        log.log({"epoch": 1})
        with pytest.raises(CheckpointError, match=f"saved when it had {offset} bytes, and now it has 12"):
            log.truncate(offset)
        assert log.offset == 12
    assert read(path) == [{"epoch": 1}]


@pytest.mark.parametrize("written", range(13))
def test_a_write_that_stops_after_any_byte_leaves_the_lines_before_it(path, written, monkeypatch):
    with TelemetryLog(path) as log:
        log.log({"epoch": 1})
        write, left = os.write, [written]

        def full(descriptor, data):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part = data[: left.pop()]
            left.append(0)
            return write(descriptor, part)

        monkeypatch.setattr(os, "write", full)
        if written < 12:
            with pytest.raises(StorageError, match=r"telemetry\.jsonl: .*ENOSPC.*free some space"):
                log.log({"epoch": 2})
            assert read(path) == [{"epoch": 1}]
        monkeypatch.undo()
        log.log({"epoch": 3})
    assert read(path)[-1] == {"epoch": 3}
    assert len(read(path)) == 2


def test_a_file_that_somebody_else_deletes_replaces_or_changes_stops_the_run(path):
    for change, expected in (
        (path.unlink, "ENOENT"),
        (lambda: (path.rename(path.with_suffix(".1")), path.write_text("")), "replaced or changed"),
        (lambda: path.write_text("x"), "replaced or changed"),
    ):
        with TelemetryLog(path) as log:
            log.log({"epoch": 1})
            change()
            for attempt in (lambda: log.log({"epoch": 2}), log.sync, lambda: log.truncate(0)):
                with pytest.raises(StorageError, match=expected):
                    attempt()
        path.unlink(missing_ok=True)


def test_a_link_is_not_written_through(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="ELOOP"):
        TelemetryLog(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_closed_log_refuses_records_and_closes_twice(path):
    log = TelemetryLog(path)
    log.close()
    log.close()
    with pytest.raises(StorageError, match="is closed"):
        log.log({})
