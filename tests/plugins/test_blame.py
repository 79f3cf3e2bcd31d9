"""A crash is blamed on the plugin whose code was running, and never on a plugin for what core did without it."""

import pytest

from townlet_core.plugins.blame import culprit, is_ours
from townlet_core.plugins.discovery import installed_sources
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.registry import Registry

HEADER = "from townlet_core.plugins import *\nfrom townlet_core.plugins import hookimpl\nTOWNLET_PLUGIN_API = (1, 0)\n"


def offers(*targets):
    entries = [f"EnvironmentEntry(name='world-{index}', factory='{target}')" for index, target in enumerate(targets)]
    return HEADER + f"@hookimpl\ndef townlet_environments(): return [{', '.join(entries)}]\n"


def trace_through(*packages):
    """Return a traceback with one frame for each package, outermost first."""
    call = "1 / 0"
    for package in reversed(packages):
        scope = {"__name__": f"{package}.inner", "call": call}
        exec("def function():\n    call() if callable(call) else 1 / 0", scope)
        call = scope["function"]
    with pytest.raises(ZeroDivisionError) as caught:
        call()
    return caught.value.__traceback__


@pytest.fixture
def registry(shelf):
    shelf.install("first", offers("first_library.worlds:make", "townlet_core.environments.build:make_environment"))
    shelf.install("second", offers("second_library:make"))
    return Registry(PluginManager(installed_sources([str(shelf.path)])))


@pytest.mark.parametrize(
    ("packages", "distribution"),
    [
        (("townlet_core", "first_library"), "first"),
        (("townlet_core", "first_library", "second_library"), "second"),
        (("second_library", "townlet_core", "first_library", "numpy"), "first"),
        (("first_library", "townlet_core"), "first"),
        (("townlet_core", "numpy"), None),
        (("first_library_two",), None),
    ],
)
def test_the_innermost_plugin_of_a_traceback_is_blamed(registry, packages, distribution):
    plugin = culprit(registry, trace_through(*packages))
    assert (plugin.source.distribution if plugin else None) == distribution


def test_the_package_of_an_entry_point_is_its_plugins(registry):
    package = registry.manager.plugins[1].source.value.partition(".")[0]
    assert culprit(registry, trace_through(package)) is registry.manager.plugins[1]


def test_only_our_own_distributions_are_ours(shelf):
    shelf.install("Townlet_Strategies.PPO", offers("json:loads"))
    shelf.install("townlet-strategies-mine", offers("json:loads"))
    plugins = Registry(PluginManager(installed_sources([str(shelf.path)]))).manager.plugins
    assert {plugin.source.distribution: is_ours(plugin) for plugin in plugins} == {
        "Townlet_Strategies.PPO": True,
        "townlet-strategies-mine": False,
    }
