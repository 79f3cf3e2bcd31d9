"""How many processors a process may use is also what its control groups leave it of their time."""

import os
from pathlib import Path

import pytest

from townlet_core.environments import limits

FIRST = "3:cpuset:/\n2:cpu,cpuacct:/pod/box\n"
SECOND = "0::/pod/box\n"


def first(quota, period=100_000):
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


def second(quota, period=100_000):
    return {"cpu.max": f"{quota} {period}\n"}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 8),
        (SECOND, {}, 8),
        (SECOND, {"pod/box": second("max")}, 8),
        (SECOND, {"pod/box": second(300_000)}, 3),
        (SECOND, {"pod/box": second(250_000)}, 2),
        (SECOND, {"pod/box": second(20_000)}, 1),
        (SECOND, {"pod/box": second(900_000), "pod": second(200_000, 50_000)}, 4),
        (SECOND, {".": second(200_000)}, 2),
        (SECOND, {"pod/box": {"cpu.max": "damaged"}}, 8),
        (FIRST, {"cpu,cpuacct/pod/box": first(-1)}, 8),
        (FIRST, {"cpu,cpuacct/pod/box": first(500_000), "cpuset": first(100_000)}, 5),
        (FIRST, {"cpu,cpuacct": first(200_000)}, 2),
        (FIRST, {"cpu,cpuacct/pod/box": {"cpu.cfs_quota_us": "100000"}}, 8),
        (FIRST + SECOND, {"cpu,cpuacct/pod/box": first(600_000), "pod/box": second(500_000)}, 5),
    ],
)
def test_the_smallest_quota_counts_in_whole_processors_and_one_is_always_left(
    tmp_path, monkeypatch, groups, files, expected
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    (tmp_path / "groups").write_text(groups)
    for group, contents in files.items():
        directory = tmp_path / "root" / group
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (directory / name).write_text(text)
    assert limits.usable_processors(tmp_path / "groups", tmp_path / "root") == expected


def test_where_the_system_has_no_control_groups_all_processors_are_usable():
    nowhere = Path("nowhere")
    assert limits.usable_processors(nowhere, nowhere) >= 1
