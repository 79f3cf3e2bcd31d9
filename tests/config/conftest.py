"""A strategy with settings of its own, files in a temporary directory, and the program as a process."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from townlet_core.config.base import Settings


class WalkSettings(Settings):
    """The section of a strategy that walks."""

    stride: float = Field(default=0.5, gt=0, le=10, description="Length of a step. [metres]")
    gait: Literal["walk", "trot"] = Field(default="walk", description="How it walks.")
    widths: tuple[int, ...] = Field(default=(64, 64), max_length=4, description="Hidden layers. [units]")
    label: str = Field(default="", max_length=100, description="Anything.")
    limp: float | None = Field(default=None, ge=0, le=1, description="How badly it limps; null = not. [1]")


@pytest.fixture
def strategies():
    return {"walk": WalkSettings}


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="run.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


@pytest.fixture
def townlet(tmp_path):
    """Run the program in an empty directory; returns the completed process."""

    def run(*arguments, **environ):
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environ}
        command = [sys.executable, "-m", "townlet_core", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60, check=False)

    return run
