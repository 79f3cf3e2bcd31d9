"""Telemetry of every version is read as it was meant; what is damaged is an error that names file, line and field."""

import json
import math

import pytest
import telemetry_logs
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry_logs import LINES

from townlet_core.errors import DataError, MissingInputError, StorageError
from townlet_core.tracking import telemetry_reader
from townlet_core.tracking.measures import measure
from townlet_core.tracking.telemetry_reader import TelemetryTail, read_telemetry
from townlet_core.tracking.telemetry_record import MAX_DEPTH, parse_record
from townlet_core.tracking.telemetry_versions import RECORD_MODELS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.jsonl"


def one(data, line=7):
    return parse_record(data, source="log", line=line)


@pytest.mark.parametrize(
    ("name", "title"),
    [("1.0", "ppo 1.0"), ("1.1", "ppo 1.1"), ("1.2", "ppo 1.2"), ("ppo", "ppo 2.0"), ("bc", "bc 2.0")],
)
def test_every_version_is_recognised_and_read_line_by_line(path, name, title):
    path.write_bytes(b"".join(LINES[name](epoch) for epoch in (1, 2, 3)))
    records = list(read_telemetry(path))
    assert [(record.line, record.epoch, record.model.title) for record in records] == [
        (1, 1, title),
        (2, 2, title),
        (3, 3, title),
    ]
    assert records[0].model.required <= records[0].values.keys()
    assert list(read_telemetry(path.parent)) == records


def test_the_names_of_older_versions_are_fields_that_ppo_still_writes():
    *older, today, _bc, _anneal = RECORD_MODELS
    for model in older:
        assert model.fields.keys() <= today.fields.keys()
    assert [len(model.required) for model in older] == [18, 28, 28]
    assert [len(model.fields) for model in older] == [23, 41, 53]


def test_maps_texts_flags_and_absent_values_keep_their_meaning():
    record = one(LINES["ppo"](3, episode_return_mean=None))
    assert record.number("conflict.rivalry_max_avg") == 0.5
    assert record.number("environment.faint_events") == 3.0
    assert record.values["stop_reason"] == "epochs"
    assert record.number("stop_reason", "episode_return_mean", "kl_k3") == 0.005
    assert record.number("nothing") is None
    record = one(LINES["bc"](1))
    assert record.number("is_best") == 1.0
    assert record.number("actions.wait.recall", "actions.wait.precision") == 0.5
    record = one(LINES["1.2"](1, anneal_bc_passed=0.0, anneal_loss_flag=1.0))
    assert (record.values["anneal_bc_passed"], record.values["anneal_loss_flag"]) == (False, True)


def test_the_map_of_an_older_log_may_be_nested():
    assert one(LINES["1.0"](1, conflict={"a_avg": 1})).number("conflict.a_avg") == 1.0


@pytest.mark.parametrize("written", ["1.1", 1.1])
def test_a_version_may_be_a_number(written):
    assert one(LINES["1.1"](1, telemetry_version=written)).model.version == "1.1"
    assert one(LINES["1.0"](1, telemetry_version=1.0)).model.version == "1.0"
    assert one(LINES["1.0"](1, telemetry_version=1)).model.version == "1.0"


def test_a_line_without_a_version_is_one_of_1_0_if_it_looks_like_it():
    assert one(LINES["1.0"](1, telemetry_version=...)).model.title == "ppo 1.0"
    record = one(b'{"epoch": 2, "episode_return_mean": 3, "words": ["a"], "other": null}')
    assert (record.model.title, record.epoch, dict(record.numbers())) == (
        "other",
        2,
        {"epoch": 2.0, "episode_return_mean": 3.0},
    )
    assert one(b'{"telemetry_version": "2.0", "x": 1}').model.title == "other 2.0"


def test_what_is_not_finite_is_nan_in_old_files_and_null_in_new_ones():
    assert math.isnan(one(LINES["1.0"](1, loss_total=math.nan)).number("loss_total"))
    assert one(LINES["1.0"](1, grad_norm=math.inf)).number("grad_norm") == math.inf
    record = one(LINES["ppo"](1, loss_total=math.nan, explained_variance=math.nan))
    assert b"NaN" not in LINES["ppo"](1, loss_total=math.nan)
    assert math.isnan(record.number("loss_total"))
    assert record.number("explained_variance") is None  # there it says that the returns were constant


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"epoch": 1', "not JSON: Expecting ',' delimiter at character 12"),
        (b"\x00" * 20, "not JSON"),
        (b'{"epoch": "\xff"}', "not UTF-8: invalid start byte at byte 11"),
        (b"[1]", "it holds a list, and an object is expected"),
        (b"null", "it holds null"),
        (b'{"epoch": 1, "epoch": 2}', "the field 'epoch' stands twice"),
        (b'{"a":' * (MAX_DEPTH + 2) + b"1" + b"}" * (MAX_DEPTH + 2), f"nested more than {MAX_DEPTH} levels"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"epoch": 1' + b"0" * 400 + b"}", "too large"),
        (b'{"epoch": 1' + b"0" * 5000 + b"}", "limit"),
        (LINES["1.1"](1, telemetry_version="3.1"), "'3.1' is unknown (known: 1.0, 1.1, 1.2, 2.0)"),
        (LINES["1.1"](1, telemetry_version=1.15), "1.15 is unknown"),
        (LINES["1.1"](1, telemetry_version=True), "True is unknown"),
        (LINES["1.1"](1, lr=..., data_mode=...), "telemetry of ppo 1.1 has to have data_mode, lr"),
        (b'{"telemetry_version": "1.0", "epoch": 1}', "adv_std, adv_zero_std_batches, clip_fraction and 12 more"),
        (LINES["1.1"](1, lr="fast"), "lr is a text, and a number is expected"),
        (LINES["1.1"](1, lr=True), "lr is true, and a number is expected"),
        (LINES["1.1"](1.5), "epoch is 1.5, and a whole number is expected"),
        (LINES["1.1"](1, epoch=None), "epoch is null, and a whole number is expected"),
        (LINES["1.1"](1, data_mode=1), "data_mode is 1, and a text is expected"),
        (LINES["1.2"](1, anneal_bc_passed=2), "anneal_bc_passed is 2, and true or false is expected"),
        (LINES["ppo"](1, clip_fraction=1.5), "clip_fraction is 1.5, and cannot be above 1"),
        (LINES["ppo"](1, epoch=0), "epoch is 0, and cannot be below 1"),
        (LINES["bc"](1, is_best="yes"), "is_best is a text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_line_names_file_line_and_field(data, reason):
    with pytest.raises(DataError, match=r"^log:7: the line is damaged: ") as caught:
        one(data)
    assert reason in str(caught.value)


def test_rounding_does_not_damage_a_line():
    for value in (1.0000000002, -1.0000000002):
        assert abs(one(LINES["ppo"](1, reward_advantage_corr=value)).number("reward_advantage_corr")) > 1.0


def test_bounds_of_today_are_not_those_of_older_versions():
    assert one(LINES["1.1"](1, epoch=0.0, reward_advantage_corr=1.5)).epoch == 0


def is_damaged(data):
    """Return whether a line is refused; any other error than the right one passes through."""
    try:
        one(data)
    except DataError as error:
        return str(error).startswith("log:7: ")
    return False


@given(st.binary(max_size=200) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
@settings(max_examples=200, deadline=None)
def test_bytes_that_hold_no_object_end_in_a_data_error(data):
    assert is_damaged(data if isinstance(data, bytes) else data.encode())


@given(st.sampled_from(sorted(LINES)), st.integers(0, 2000), st.integers(0, 31))
@settings(max_examples=200, deadline=None)
def test_a_byte_that_text_cannot_have_ends_in_a_data_error(name, place, byte):
    data = bytearray(LINES[name](1).rstrip())
    data[place % len(data)] = byte
    assert is_damaged(bytes(data)) or data[place % len(data)] in b"\t\r\n"


@given(st.sampled_from(sorted(LINES)), st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_no_changed_byte_ends_in_another_error(name, place, byte):
    data = bytearray(LINES[name](1))
    data[place % len(data)] = byte
    is_damaged(bytes(data))


def test_half_a_last_line_is_left_out_and_one_that_lacks_only_its_newline_is_not(path):
    first, second = LINES["ppo"](1), LINES["ppo"](2)
    for cut in (1, 20, len(second) - 2):
        path.write_bytes(first + second[:cut])
        assert [record.epoch for record in read_telemetry(path)] == [1]
    path.write_bytes(first + second.rstrip())
    assert [(record.epoch, record.line) for record in read_telemetry(path)] == [(1, 1), (2, 2)]


def test_blank_lines_carriage_returns_and_a_byte_order_mark_do_no_harm(path):
    path.write_bytes(b"\xef\xbb\xbf" + LINES["1.0"](1).replace(b"\n", b"\r\n") + b"\n \n" + LINES["1.0"](2))
    assert [(record.epoch, record.line) for record in read_telemetry(path)] == [(1, 1), (2, 4)]


def test_a_damaged_line_in_the_middle_is_an_error_after_the_lines_before_it(path):
    path.write_bytes(LINES["ppo"](1) + b"{\n" + LINES["ppo"](2))
    records = read_telemetry(path)
    assert next(records).epoch == 1
    with pytest.raises(DataError, match=r"telemetry\.jsonl:2: the line is damaged"):
        next(records)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_without_end_is_refused_and_not_read_into_memory(path, monkeypatch, end):
    monkeypatch.setattr(telemetry_reader, "MAX_LINE_BYTES", 5000)
    path.write_bytes(LINES["ppo"](1) + b"x" * 5001 + end)
    with pytest.raises(DataError, match=r"telemetry\.jsonl:2: the line is damaged: it has more than 5000 bytes"):
        list(read_telemetry(path))


def test_what_is_missing_or_no_file_is_said(tmp_path):
    with pytest.raises(MissingInputError, match="nothing does not exist"):
        list(read_telemetry(tmp_path / "nothing"))
    with pytest.raises(MissingInputError, match=r"has no telemetry\.jsonl"):
        list(read_telemetry(tmp_path))
    with pytest.raises(MissingInputError):
        list(read_telemetry(tmp_path / "a\0b"))
    (tmp_path / "telemetry.jsonl").mkdir()
    with pytest.raises(DataError, match="is not a file"):
        list(read_telemetry(tmp_path))
    with pytest.raises((MissingInputError, StorageError)):
        list(read_telemetry(tmp_path / ("x" * 300)))


def test_a_tail_yields_each_line_once_as_soon_as_it_is_complete(path):
    tail = TelemetryTail(path)
    assert list(tail.records()) == []
    data, seen = b"".join(LINES["ppo"](epoch) for epoch in range(1, 5)), []
    for end in range(0, len(data) + 97, 97):
        path.write_bytes(data[:end])
        assert not tail.begin_again_if_rewritten()
        seen += [record.epoch for record in tail.records()]
        assert len(seen) == data[:end].count(b"\n")
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "after",
    [
        LINES["ppo"](1),
        b"",
        LINES["ppo"](1) + LINES["ppo"](2, epoch_duration_sec=9.0),
        LINES["ppo"](1) + LINES["ppo"](2, epoch_duration_sec=9.0) + LINES["ppo"](3),
        b"\n" * 9000,
    ],
    ids=["shortened", "emptied", "written anew", "written anew and longer", "replaced"],
)
def test_a_file_that_was_rewritten_is_read_from_its_beginning(path, after):
    path.write_bytes(LINES["ppo"](1) + LINES["ppo"](2))
    tail = TelemetryTail(path)
    assert len(list(tail.records())) == 2
    path.write_bytes(after)
    assert tail.begin_again_if_rewritten()
    assert [record.line for record in tail.records()] == [
        number for number, line in enumerate(after.splitlines(), 1) if line
    ]
    assert not tail.begin_again_if_rewritten()


def test_a_file_that_vanishes_and_comes_back_as_it_was_is_read_on(path):
    path.write_bytes(LINES["ppo"](1))
    tail = TelemetryTail(path)
    list(tail.records())
    path.unlink()
    assert not tail.begin_again_if_rewritten()
    assert list(tail.records()) == []
    path.write_bytes(LINES["ppo"](1) + LINES["ppo"](2))
    assert not tail.begin_again_if_rewritten()
    assert [(record.epoch, record.line) for record in tail.records()] == [(2, 2)]


def test_measures_have_the_name_of_each_version():
    lines = {name: one(line(4)) for name, line in LINES.items()}
    assert {measure(record, "entropy") for name, record in lines.items() if name != "bc"} == {1.25}
    assert measure(lines["bc"], "loss_total") == 0.25
    assert measure(lines["1.0"], "kl_divergence_max") == telemetry_logs.BASE["kl_divergence"]
    assert measure(lines["1.1"], "kl_divergence_max") == telemetry_logs.ADDED_1_1["kl_divergence_max"]
    assert measure(lines["1.1"], "queue_conflicts_per_tick") == 0.5
    assert measure(lines["1.0"], "queue_conflicts_per_tick") is None
    assert measure(one(LINES["1.1"](1, rollout_ticks=0)), "queue_conflicts_per_tick") is None
    assert measure(lines["ppo"], "environment.faint_events") == 3.0
