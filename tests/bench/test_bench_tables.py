"""Tables of benchmarks fit a terminal, and lose nothing by it."""

import pytest

from townlet_core.cli.bench_tables import bench_lines, shown
from townlet_core.cli.main import main

ROWS = [
    {"days": days, "seed": seed, **{f"a-long-name-{index}": 1000 * days + index for index in range(8)}, "last": None}
    for days in (1, 30)
    for seed in (0, 1)
]


def cells(lines):
    return [line.split() for line in lines]


def test_a_narrow_table_stays_in_one_piece():
    assert list(bench_lines([{"a": 1, "b": 2000}, {"a": 10, "b": None}], keys=1)) == [
        " a      b",
        " 1  2,000",
        "10  never",
    ]


def test_a_wide_table_goes_on_below_with_its_first_columns_again():
    lines = list(bench_lines(ROWS, keys=2))
    assert max(map(len, lines)) <= 80
    parts = "\n".join(lines).split("\n\n")
    assert len(parts) == 2
    tables = [cells(part.splitlines()) for part in parts]
    assert all(table[0][:2] == ["days", "seed"] for table in tables)
    assert [name for table in tables for name in table[0][2:]] == list(ROWS[0])[2:]
    assert [row[:2] for row in tables[1][1:]] == [["1", "0"], ["1", "1"], ["30", "0"], ["30", "1"]]
    assert tables[1][-1][-2:] == ["30,007", "never"]


def test_columns_have_short_headings_shares_are_percentages_and_large_numbers_are_whole():
    row = {"num_worlds": 8, "steps_per_sec": 123456.7, "share_acting": 0.254, "share": 0.254, "vast": 1.25, "ok": True}
    headings, values = cells(bench_lines([row]))
    assert headings == ["worlds", "steps/s", "act", "share", "vast", "ok"]
    assert values == ["8", "123,457", "25%", "0.254", "1.25", "yes"]


def test_a_column_that_is_wider_than_a_terminal_is_shown_all_the_same():
    lines = list(bench_lines([{"key": 1, "x" * 100: 2, "y": 3}], keys=1))
    assert cells(lines) == [["key", "x" * 100], ["1", "2"], [], ["key", "y"], ["1", "3"]]


def test_a_table_whose_rows_nothing_tells_apart_stays_in_one_piece():
    assert len(list(bench_lines(ROWS))) == 1 + len(ROWS)


@pytest.mark.parametrize(
    ("is_terminal", "told"), [(True, "1 of 2 done: a 1, b 2\n2 of 2 done: a 3, b 4\n"), (False, "")]
)
def test_each_row_that_is_done_is_told_on_a_terminal(monkeypatch, capsys, is_terminal, told):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    rows = [{"a": 1, "b": 2, "c": 5}, {"a": 3, "b": 4, "c": 6}]
    assert shown(iter(rows), total=2, keys=2) == rows
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    "command",
    [
        "town-score random --worlds 2 --ticks 5",
        "town --worlds 1 --agents 8 --seconds 0",
        "town-ppo --worlds 2 --num-steps 8 --variants compact --seconds 0",
    ],
)
def test_what_is_said_of_the_town_fits_a_terminal(capsys, command):
    assert main(["bench", *command.split()]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
