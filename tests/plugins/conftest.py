"""Real little distributions, written with real metadata to a directory that goes on `sys.path` or `PYTHONPATH`."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEADER = """
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)
"""

STRATEGY = """
@hookimpl
def townlet_strategies():
    return [StrategyEntry(name="{name}", strategy="json:JSONDecoder", settings="json:JSONEncoder", result="json:loads",
                          summary="decodes", requires={requires!r})]
"""


def strategy_plugin(name: str, requires: tuple[str, ...] = ()) -> str:
    """Source of a plugin that offers one strategy, whose targets exist everywhere."""
    return HEADER + STRATEGY.format(name=name, requires=requires)


class Shelf:
    """A directory of installed distributions."""

    _numbers = itertools.count()

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def install(self, distribution: str, source: str, *, point: str = "mine", version: str = "1.2") -> str:
        """Write a package with one module `plugin` and the metadata of an installed wheel; return the package."""
        package = f"{re.sub('[-.]', '_', distribution)}_{next(self._numbers)}_{os.getpid()}"
        (self.path / package).mkdir()
        (self.path / package / "__init__.py").write_text("")
        (self.path / package / "plugin.py").write_text(source)
        self.write_metadata(distribution, f"[townlet]\n{point} = {package}.plugin\n", version=version)
        return package

    def write_metadata(self, distribution: str, entry_points: str, *, version: str = "1.2") -> Path:
        """Write the dist-info directory of a distribution."""
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nName: no\n")
        (info / "entry_points.txt").write_text(entry_points)
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text("")
        return info

    def townlet(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the program in a process of its own that sees these distributions."""
        return subprocess.run(
            [sys.executable, "-m", "townlet_core", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.path), *sys.path]), "NO_COLOR": "1", **environ},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty shelf whose distributions can be imported in this process."""
    shelf = Shelf(tmp_path / "shelf")
    monkeypatch.syspath_prepend(str(shelf.path))
    return shelf


@pytest.fixture
def new_strategy() -> Callable[..., str]:
    """The source of a good plugin, for tests that only need one."""
    return strategy_plugin


BAD: dict[str, tuple[str, str, str]] = {
    # case: (source, stage, part of the cause)
    "import error": ("import a_package_that_is_not_there", "import", "a_package_that_is_not_there"),
    "syntax error": ("def (:", "import", "SyntaxError"),
    "system exit": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "foreign panic": ("class Panic(BaseException): pass\nraise Panic('rust')", "import", "Panic: rust"),
    "error without text": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "import",
        "Odd",
    ),
    "no api": ("", "api", "TOWNLET_PLUGIN_API = (1, 0)"),
    "api is text": ("TOWNLET_PLUGIN_API = '1.0'", "api", "'1.0'"),
    "newer minor": ("TOWNLET_PLUGIN_API = (1, 1)", "api", "pip install --upgrade townlet-core"),
    "newer major": ("TOWNLET_PLUGIN_API = (2, 0)", "api", "pip install --upgrade townlet-core"),
    "older major": ("TOWNLET_PLUGIN_API = (0, 9)", "api", "pip install --upgrade"),
    "unknown hook": (HEADER + "@hookimpl\ndef townlet_stratgies(): return []", "register", "townlet_stratgies"),
    "extra argument": (HEADER + "@hookimpl\ndef townlet_trackers(config): return []", "register", "config"),
    "hook raises": (HEADER + "@hookimpl\ndef townlet_trackers(): 1 / 0", "collect", "ZeroDivisionError"),
    "hook exits": (HEADER + "@hookimpl\ndef townlet_trackers(): raise SystemExit", "collect", "SystemExit"),
    "returns none": (
        HEADER + "@hookimpl\ndef townlet_trackers(): pass",
        "collect",
        "townlet_trackers must return a list of TrackerEntry, got None",
    ),
    "returns a dict": (
        HEADER + "@hookimpl\ndef townlet_strategies(): return {}",
        "collect",
        "townlet_strategies must return a list of StrategyEntry, got dict",
    ),
    "returns another kind": (
        HEADER + "@hookimpl\ndef townlet_trackers(): return [CommandEntry(name='x', command='a:b')]",
        "collect",
        "townlet_trackers must return a list of TrackerEntry, got a list with CommandEntry",
    ),
    "target is no target": (
        HEADER + "@hookimpl\ndef townlet_commands(): return [CommandEntry(name='x', command='no target')]",
        "collect",
        "command must be a 'module:Attribute' string, not 'no target'",
    ),
}


@pytest.fixture(params=sorted(BAD))
def bad(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Each way in which a plugin can be broken: its source, the stage it fails in, part of the cause."""
    return BAD[request.param]


@pytest.fixture
def all_bad() -> dict[str, tuple[str, str, str]]:
    """All of them at once."""
    return BAD
