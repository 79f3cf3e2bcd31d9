"""What every test shares: the `system` marker names the programs that a test needs."""

import os
import shutil
from pathlib import Path

import pytest
from distributions import Shelf


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, saying which; with `TOWNLET_REQUIRE_SYSTEM=1` that is a failure."""
    marker = item.get_closest_marker("system")
    if marker is None:
        return
    if not marker.args:
        pytest.fail("@pytest.mark.system needs the names of the programs: @pytest.mark.system('strace')")
    missing = [program for program in marker.args if shutil.which(program) is None]
    if missing and os.environ.get("TOWNLET_REQUIRE_SYSTEM") == "1":
        pytest.fail(f"needs {', '.join(missing)}, which is not installed; .ci/run installs it", pytrace=False)
    if missing:
        pytest.skip(f"{item.name}: needs {', '.join(missing)}, which is not installed; .ci/run requires it")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty shelf whose distributions can be imported in this process."""
    shelf = Shelf(tmp_path / "shelf")
    monkeypatch.syspath_prepend(str(shelf.path))
    return shelf
