"""What every test of faults shares: a file system that remembers every call."""

from pathlib import Path

import pytest
from recording_file_system import Killed, RecordingFileSystem


@pytest.fixture
def recorder(tmp_path: Path) -> RecordingFileSystem:
    root = tmp_path / "run"
    root.mkdir()
    return RecordingFileSystem(root)


@pytest.fixture
def killed() -> type[Killed]:
    return Killed
