"""What starting the program costs, beside the smallest click program run by the same interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townlet_core.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = """\
import click


@click.group()
def main():
    "Say things."


@main.command()
def hello():
    "Say hello."
    click.echo("hello")
"""
SCRIPT = """\
#!{python}
import sys
from hello import main
if __name__ == "__main__":
    sys.exit(main())
"""


def measure_startup(*, runs: int = 15, clock: Callable[[], float] = time.perf_counter) -> list[dict[str, Any]]:
    """Run each command `runs` times, in turn, and return one row for each.

    Args:
        runs: how often.
        clock: the time.

    Returns:
        Rows of `command`, `median_ms`, `min_ms`, `max_ms`, and `ratio`, the median over that of the click program.

    Raises:
        UnavailableError: the program ``townlet`` is not beside this interpreter, or a command fails.
    """
    townlet = Path(sys.executable).parent / "townlet"
    if not townlet.exists():
        raise UnavailableError(f"{townlet} is missing: install townlet-core with this interpreter's pip")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "hello-world"
        (Path(folder) / "hello.py").write_text(HELLO, encoding="utf-8")
        script.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
        commands = {
            "click hello --help": (sys.executable, str(script), "--help"),
            "townlet --help": (sys.executable, str(townlet), "--help"),
            "townlet plugins": (sys.executable, str(townlet), "plugins"),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                begin = clock()
                _run(command)
                if turn:  # the first writes byte code
                    times[name].append((clock() - begin) * 1e3)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        {
            "command": name,
            "median_ms": round(medians[name], 1),
            "min_ms": round(min(taken), 1),
            "max_ms": round(max(taken), 1),
            "ratio": round(medians[name] / medians["click hello --help"], 2),
        }
        for name, taken in times.items()
    ]


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr.strip()}")
