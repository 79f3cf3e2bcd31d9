"""A test that needs a program is skipped by name where it is missing, and fails where programs are required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.system("sh")
def test_present():
    pass

@pytest.mark.system("sh", "a-program-that-is-nowhere")
def test_missing():
    pass
"""


@pytest.mark.parametrize(("required", "outcome"), [("", "1 passed, 1 skipped"), ("1", "1 passed, 1 error")])
def test_a_missing_program_is_named(tmp_path, required, outcome):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = system: needs a program\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "TOWNLET_REQUIRE_SYSTEM": required, "PYTHONPATH": str(CONFTEST.parent / "fixtures")},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert outcome in done.stdout
    assert "needs a-program-that-is-nowhere, which is not installed" in done.stdout
    assert "test_missing" in done.stdout
