"""Sources of plugins: good ones, and one for each way of being broken."""

from collections.abc import Callable

import pytest

HEADER = """
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)
"""

STRATEGY = """
@hookimpl
def townlet_strategies():
    return [StrategyEntry(name="{name}", strategy="json:JSONDecoder", summary="decodes", requires={requires!r},
                          settings="townlet_core.config.tracking:TrackingConfig",
                          result="townlet_core.dto.base:TrainingResultBase")]
"""


def strategy_plugin(name: str, requires: tuple[str, ...] = ()) -> str:
    """Source of a plugin that offers one strategy, whose targets exist everywhere."""
    return HEADER + STRATEGY.format(name=name, requires=requires)


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
