from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from townlet_core.errors import EnvironmentFault, UsageError

SEED, WORLD, NUM_WORLDS = 4, 2, 4
ACTIONS = np.zeros((NUM_WORLDS, 1), np.int64)
SYNC, WORKERS = {}, {"vectorization": "workers", "num_workers": 2}

FIELDS = {
    "raises": "step raised ZeroDivisionError: the toy broke",
    "four values": "step raised ValueError: not enough values to unpack",
    "nan": r"observation.place is nan at index \(1,\)",
    "nan at the end": r"observation.place is nan at index \(0,\)",
    "infinite": r"observation.place is -inf at index \(0,\)",
    "shape": r"observation.place has shape \(3,\), its space \(2,\)",
    "scalar": r"observation.place has shape \(\), its space \(2,\)",
    "text": "observation.place has dtype <U1, its space float32",
    "nothing": r"observation.place has shape \(\)",
    "room too high": r"observation.room is \[4\]",
    "room negative": r"observation.room is \[-1\]",
    "room is a float": "observation.room is 1.5",
    "lost key": "lacks the key 'room'",
    "nan reward": "reward is nan",
    "text reward": "reward is '1.0' .str., expected a number",
    "huge reward": "reward is inf",
    "no reward": "reward is None",
    "number as flag": "terminated is 1 .int., expected True or False",
    "array as flag": "terminated is array",
}


def run_until_fault(make, episode_seed, mode, fault, *, episode=1, at=3):
    """Step until the fault, which happens in one world, in its second episode, and return the error."""
    seed = episode_seed(SEED, WORLD, episode)
    options = {"fault": fault, "when": seed, "at": at, "length": 5}
    environment = make("python:toy_worlds:faulty", num_worlds=NUM_WORLDS, options=options, **mode)
    environment.reset(SEED)
    for _ in range(5 * episode + at - 1):
        environment.step(ACTIONS)
    with pytest.raises(EnvironmentFault) as caught:
        environment.step(ACTIONS)
    return environment, str(caught.value)


IN_WORKERS = ("raises", "nan", "shape", "text reward", "huge reward")  # the block is the same code: these stand for all


@pytest.mark.parametrize(
    ("fault", "mode"),
    [pytest.param(fault, SYNC, id=fault) for fault in FIELDS]
    + [pytest.param(fault, WORKERS, id=f"{fault} in a worker") for fault in IN_WORKERS],
)
def test_a_fault_names_world_episode_seed_step_and_field(make, episode_seed, mode, fault) -> None:
    environment, text = run_until_fault(make, episode_seed, mode, fault)
    assert f"world {WORLD}, episode 1 (reset seed {episode_seed(SEED, WORLD, 1)}), step 3: " in text
    assert re.search(FIELDS[fault], text)
    with pytest.raises(UsageError, match="is closed"):
        environment.step(ACTIONS)


@pytest.mark.parametrize("mode", [SYNC, WORKERS], ids=["sync", "workers"])
def test_an_error_of_the_environment_brings_its_own_traceback(make, episode_seed, mode) -> None:
    _, text = run_until_fault(make, episode_seed, mode, "raises")
    assert 'raise ZeroDivisionError("the toy broke")' in text
    assert "toy_worlds.py" in text


@pytest.mark.parametrize("mode", [SYNC, WORKERS], ids=["sync", "workers"])
def test_a_fault_in_a_reset_is_step_0_of_its_episode(make, episode_seed, mode) -> None:
    seed = episode_seed(SEED, WORLD, 1)
    options = {"fault": "reset raises", "when": seed, "length": 2}
    environment = make("python:toy_worlds:faulty", num_worlds=NUM_WORLDS, options=options, **mode)
    environment.reset(SEED)
    environment.step(ACTIONS)
    with pytest.raises(
        EnvironmentFault, match=rf"world 2, episode 1 \(reset seed {seed}\), step 0: reset raised LookupError"
    ):
        environment.step(ACTIONS)


def is_running(pid) -> bool:
    """Return whether a process runs; one that ended and waits for its new parent to notice does not."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return subprocess.run(["kill", "-0", str(pid)], check=False, capture_output=True).returncode == 0
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_gone(pids, within_sec) -> None:
    deadline = time.monotonic() + within_sec
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker process is left over"
        time.sleep(0.02)


@pytest.mark.parametrize(("fault", "says"), [("killed", "ended by signal 9"), ("exits", "ended with exit code 3")])
def test_a_worker_that_dies_is_noticed_within_a_second(make, episode_seed, fault, says) -> None:
    started = time.monotonic()
    environment, text = run_until_fault(make, episode_seed, WORKERS, fault)
    assert says in text
    assert f"world {WORLD}, episode 1 (reset seed {episode_seed(SEED, WORLD, 1)}), step 3: " in text
    assert_gone(environment.worker_pids, 1)
    assert time.monotonic() - started < 20


def test_a_worker_killed_from_outside_is_noticed_within_a_second_and_nothing_is_left(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=4, **WORKERS)
    environment.reset(0)
    environment.step(ACTIONS)
    os.kill(environment.worker_pids[1], signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match="signal 9"):
        environment.step(ACTIONS)
    assert time.monotonic() - started < 4
    assert_gone(environment.worker_pids, 1)


@pytest.mark.parametrize("fault", ["stopped", "hangs"])
def test_a_worker_that_hangs_is_noticed_and_torn_down(make, episode_seed, fault) -> None:
    seed = episode_seed(SEED, WORLD)
    environment = make(
        "python:toy_worlds:faulty",
        num_worlds=NUM_WORLDS,
        options={"fault": fault, "when": seed, "at": 2},
        **WORKERS,
        step_timeout_sec=1.0,
    )
    environment.reset(SEED)
    environment.step(ACTIONS)
    started = time.monotonic()
    with pytest.raises(
        EnvironmentFault, match=rf"world 2, episode 0 \(reset seed {seed}\), step 2: no answer within 1 s"
    ):
        environment.step(ACTIONS)
    assert 1 <= time.monotonic() - started < 6
    assert_gone(environment.worker_pids, 1)


def test_close_ends_all_workers_may_be_called_twice_and_does_not_wait_for_one_that_is_stopped(make) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=4, **WORKERS)
    environment.reset(0)
    os.kill(environment.worker_pids[0], signal.SIGSTOP)
    started = time.monotonic()
    environment.close()
    environment.close()
    assert time.monotonic() - started < 5
    assert_gone(environment.worker_pids, 1)


def test_a_world_that_cannot_be_made_in_a_worker_is_told_as_it_is(make) -> None:
    with pytest.raises(EnvironmentFault, match="different"):
        make("python:toy_worlds:moody", num_worlds=4, **WORKERS)


SCRIPT = """
    import sys, time
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.build import make_environment
    if __name__ == "__main__":
        config = EnvironmentConfig(name="gymnasium:CartPole-v1", num_worlds=2, vectorization="workers")
        environment = make_environment(config)
        environment.reset(0)
        print(*environment.worker_pids, flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_parent_but_not_of_a_signal_to_all(tmp_path, how) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.3)
        assert all(is_running(pid) for pid in pids)
        parent.send_signal(how)
    assert_gone(pids, 2)


def test_a_script_that_closes_nothing_ends_at_once_and_leaves_nothing(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("time.sleep(60)", "pass"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30, check=True)
    assert_gone([int(pid) for pid in done.stdout.split()], 1)


STARTS = """
    import subprocess, sys
    import gymnasium
    class Starts(gymnasium.Wrapper):
        def __init__(self):
            super().__init__(gymnasium.make("CartPole-v1"))
            self.helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        def close(self):
            self.helper.terminate()
            self.helper.wait()
"""


def test_a_world_in_a_worker_can_end_the_programs_that_it_started(tmp_path, make, monkeypatch) -> None:
    (tmp_path / "starts.py").write_text(textwrap.dedent(STARTS))
    monkeypatch.syspath_prepend(tmp_path)
    environment = make("python:starts:Starts", num_worlds=2, **WORKERS)
    environment.reset(0)
    started = time.monotonic()
    environment.close()
    assert time.monotonic() - started < 0.9  # nobody had to be killed
    assert_gone(environment.worker_pids, 1)


def test_a_script_without_a_main_guard_is_told_about_it(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "__name__ == '__main__'" in done.stderr
