"""A broken plugin is a record, and all others work, in every order of loading."""

import json

import pytest

from townlet_core.plugins.discovery import Source, installed_sources
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.registry import Registry

ORDERS = {"first": "aaa-bad", "between": "mmm-bad", "last": "zzz-bad"}


def load(shelf, **options):
    return PluginManager(installed_sources([str(shelf.path)]), **options)


@pytest.mark.parametrize("order", ORDERS)
def test_a_broken_plugin_is_recorded_and_the_good_ones_work(shelf, bad, new_strategy, order):
    source, stage, cause = bad
    shelf.install("bbb-good", new_strategy("before"))
    shelf.install(ORDERS[order], source)
    shelf.install("yyy-good", new_strategy("after"))

    manager = load(shelf)

    failures = {plugin.source.distribution: plugin.failure for plugin in manager.plugins if plugin.failure}
    assert list(failures) == [ORDERS[order]]
    failure = failures[ORDERS[order]]
    assert (failure.stage, cause in failure.cause) == (stage, True), failure
    assert "Traceback" in failure.traceback
    assert "\n" not in failure.cause
    assert set(Registry(manager).strategies) == {"before", "after"}
    assert Registry(manager).resolve("strategy", "after") is json.JSONDecoder


@pytest.mark.parametrize("order", ORDERS)
def test_a_process_with_every_broken_plugin_at_once_lists_all_and_runs(shelf, all_bad, new_strategy, order):
    shelf.install("bbb-good", new_strategy("before"))
    shelf.install("yyy-good", new_strategy("after"))
    for number, (source, _, _) in enumerate(all_bad.values()):
        shelf.install(f"{ORDERS[order]}-{number}", source)

    done = shelf.townlet("plugins", "--json")

    assert done.returncode == 0, done.stderr
    listed = {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)["plugins"]}
    assert [listed[name]["state"] for name in ("bbb-good", "yyy-good")] == ["ok", "ok"]
    for number, (_, stage, cause) in enumerate(all_bad.values()):
        plugin = listed[f"{ORDERS[order]}-{number}"]
        incompatible = stage == "api" and "upgrade" in cause
        assert plugin["state"] == ("incompatible" if incompatible else "broken")
        assert plugin["stage"] == stage
        assert cause in plugin["cause"]


def test_plugins_are_loaded_in_the_order_of_distribution_and_entry_point(shelf):
    for distribution, lines in {"zeta": "a = a\nb = c", "Alpha": "y = a\nx = b", "mid.dle": "m = b"}.items():
        shelf.write_metadata(distribution, f"[townlet]\n{lines}\n")
    sources = [plugin.source for plugin in load(shelf).plugins]
    assert [(source.distribution, source.name) for source in sources] == [
        ("Alpha", "x"),
        ("Alpha", "y"),
        ("mid.dle", "m"),
        ("zeta", "a"),
        ("zeta", "b"),
    ]


def test_keyboard_interrupt_during_loading_gets_through(shelf):
    shelf.install("interrupting", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(shelf)


def test_what_a_plugin_prints_at_import_does_not_reach_stdout(shelf, new_strategy):
    shelf.install("loud", "print('hello from the plugin')" + new_strategy("loud"))
    done = shelf.townlet("plugins", "--json")
    assert "loud" in [plugin["distribution"] for plugin in json.loads(done.stdout)["plugins"]]
    assert "hello from the plugin" in done.stderr


def test_a_plugin_cannot_hide_the_hooks_of_another(shelf, new_strategy):
    shelf.install("good", new_strategy("good"))
    shelf.install(
        "wrapper",
        "from townlet_core.plugins import hookimpl\nTOWNLET_PLUGIN_API = (1, 0)\n"
        "@hookimpl(wrapper=True)\ndef townlet_strategies():\n    yield\n    return []\n",
    )
    assert set(Registry(load(shelf)).strategies) == {"good"}


def test_disabled_plugins_are_listed_and_never_imported(shelf, new_strategy):
    shelf.install("Some.Thing", "raise RuntimeError('imported')", point="one")
    shelf.install("other-thing", "raise RuntimeError('imported')", point="two")
    shelf.install("good", new_strategy("good"))
    manager = load(shelf, disabled=["some-thing", "two"])
    assert {plugin.source.distribution for plugin in manager.plugins if plugin.disabled} == {
        "Some.Thing",
        "other-thing",
    }
    assert not any(plugin.failure for plugin in manager.plugins)
    assert not any(plugin.api for plugin in load(shelf, no_plugins=True).plugins)


def test_the_manager_takes_entry_points_that_importlib_metadata_found(shelf, new_strategy):
    from importlib import metadata

    shelf.install("injected", new_strategy("injected"))
    (point,) = next(metadata.distributions(path=[str(shelf.path)])).entry_points
    manager = PluginManager([Source.of(point)])
    assert set(Registry(manager).strategies) == {"injected"}
    assert manager.plugins[0].title == "plugin 'mine' of injected 1.2"
