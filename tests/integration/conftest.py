"""Real `townlet` processes in a directory of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CARTPOLE = ("--strategy", "ppo", "--env", "gymnasium:CartPole-v1")
SMALL = (
    *CARTPOLE,
    "--set",
    "strategies.ppo.num_steps=32",
    "--set",
    "strategies.ppo.num_epochs=2",
    "--set",
    "training.checkpoint_every=2",
)

BLOCK_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Blocked())
"""


class Program:
    """The program in one working directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command: tuple[str, ...] = (sys.executable, "-m", "townlet_core")

    def environ(self, *, torch: bool) -> dict[str, str]:
        """Return the environment; without torch a start-up module refuses to import it."""
        environ = {**os.environ, "NO_COLOR": "1"}
        if not torch:
            (self.directory / "site").mkdir(exist_ok=True)
            (self.directory / "site" / "sitecustomize.py").write_text(BLOCK_TORCH)
            environ["PYTHONPATH"] = str(self.directory / "site")
        return environ

    def start(self, *arguments: str, torch: bool = True) -> subprocess.Popen[str]:
        """Start it and return at once."""
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.directory,
            env=self.environ(torch=torch),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, torch: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments, torch=torch)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def stop_when(self, process: subprocess.Popen[str], ready: Callable[[], bool], number: signal.Signals) -> str:
        """Send a signal as soon as `ready`; return the error stream."""
        limit = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.005)
        process.send_signal(number)
        return process.communicate(timeout=60)[1]


@pytest.fixture
def townlet(tmp_path: Path) -> Program:
    """The program in an empty directory."""
    return Program(tmp_path)


@pytest.fixture
def small() -> tuple[str, ...]:
    """Arguments of a small training run."""
    return SMALL
