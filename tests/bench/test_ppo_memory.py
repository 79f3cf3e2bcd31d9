"""What PPO takes is measured above what was there before, and beside what it cannot do without."""

import os
import sys

import numpy as np
import pytest

from townlet_core.bench import memory, ppo_memory
from townlet_core.bench.memory import memory_of
from townlet_core.bench.ppo_memory import measure_ppo_memory
from townlet_core.cli.main import main
from townlet_core.errors import UnavailableError
from townlet_core.plugins.registry import Registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def registry():
    return Registry.discover({})


def test_a_row_has_the_parts_of_its_ratio_and_the_rollout_is_most_of_the_peak(registry):
    """An agent's step: 89 float32, 8 allowed actions, an int64 action, 4 float32 and 3 flags; its last value once."""
    row = measure_ppo_memory(registry, num_worlds=64, num_steps=32, variant="compact", num_updates=1)
    steps = 32 * 64 * 8
    assert row["buffer_mb"] == pytest.approx((steps * (89 * 4 + 8 + 8 + 16 + 3) + 64 * 8 * 4) / 2**20, abs=0.06)
    parameters = 2 * (89 * 64 + 64 + 64 * 64 + 64) + 64 * 8 + 8 + 64 + 1
    assert row["network_mb"] == pytest.approx(16 * parameters / 2**20, abs=0.06)
    least = row["buffer_mb"] + row["network_mb"]
    assert row["ratio"] == pytest.approx(row["peak_mb"] / least, abs=0.02)
    assert row["ratio_with_environment"] == pytest.approx((row["environment_mb"] + row["peak_mb"]) / least, abs=0.02)
    assert row["peak_mb"] > row["buffer_mb"]
    assert row["imports_mb"] > 50


def test_the_memory_of_a_process_is_in_bytes_and_that_of_none_is_nothing():
    before = memory_of("self")
    block = np.ones(50 << 20, np.uint8)
    after = memory_of(os.getpid())
    assert 50 << 20 <= after["VmRSS"] - before["VmRSS"] + (1 << 20) < 60 << 20
    assert after["VmHWM"] >= after["VmRSS"] >= block.nbytes
    assert memory_of(2**30) == {}


def test_a_system_that_does_not_tell_is_refused(registry, monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    with pytest.raises(UnavailableError, match="/proc"):
        measure_ppo_memory(registry)


def test_the_command_has_a_row_for_each_view_and_number_of_worlds(monkeypatch, capsys):
    def measured(_registry, **asked):
        return {"num_worlds": asked["num_worlds"], "variant": asked["variant"], "num_threads": 1, "peak_mb": 1.5}

    monkeypatch.setattr(ppo_memory, "measure_ppo_memory", measured)
    variants = ("--variants", "full", "--variants", "compact")
    assert main(["bench", "ppo-memory", "--worlds", "1", "--worlds", "2", *variants]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [" ".join(line.split()[:2]) for line in lines[1:5]]
    assert shown == ["1 full", "1 compact", "2 full", "2 compact"]
    assert max(map(len, lines)) <= 80
