"""Every hook is documented with its signature, and does what it says in a plugin that implements all of them."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from townlet_core.plugins import Entry, hookspecs
from townlet_core.plugins.discovery import installed_sources
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.offers import KINDS
from townlet_core.plugins.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "hooks.md"
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("townlet_")}

EVERY_HOOK = """
import json
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)
calls = []

@hookimpl
def townlet_strategies():
    return [StrategyEntry(name="thing", strategy="json:load", settings="json:loads", result="json:dump")]

@hookimpl
def townlet_environments():
    return (EnvironmentEntry(name="thing", factory="json:loads"),)

@hookimpl
def townlet_encoders():
    return [EncoderEntry(name="thing", encoder="json:dump")]

@hookimpl
def townlet_trackers():
    return [TrackerEntry(name="thing", tracker="json:dumps")]

@hookimpl
def townlet_commands():
    return [CommandEntry(name="thing", command="json:JSONDecoder")]

@hookimpl
def townlet_run_started(run_dir, strategy):
    calls.append((run_dir, strategy))

@hookimpl
def townlet_run_finished(run_dir, result):
    calls.append((run_dir, result["return"]))

@hookimpl
def townlet_run_failed(run_dir, error):
    calls.append((run_dir, error))
"""

MAIN_TARGETS = {
    "townlet_strategies": json.load,
    "townlet_environments": json.loads,
    "townlet_encoders": json.dump,
    "townlet_trackers": json.dumps,
    "townlet_commands": json.JSONDecoder,
}

EVENTS = {
    "townlet_run_started": ({"run_dir": "/r", "strategy": "ppo"}, ("/r", "ppo")),
    "townlet_run_finished": ({"run_dir": "/r", "result": {"return": 2}}, ("/r", 2)),
    "townlet_run_failed": ({"run_dir": "/r", "error": "ValueError: no"}, ("/r", "ValueError: no")),
}


def test_every_hook_either_offers_or_observes():
    assert list(HOOKS) == [*hookspecs.OFFERS, *hookspecs.OBSERVERS]
    assert list(HOOKS) == [*MAIN_TARGETS, *EVENTS], "each hook needs its own case below"
    assert [entry for entry, _ in KINDS.values()] == list(hookspecs.OFFERS.values())


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_exact_signature_and_version(name):
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{PAGE.name} has no section '### {name}'"
    signature = str(inspect.signature(HOOKS[name])).replace("'", "")
    assert f"def {name}{signature}\n" in section[1]
    since = re.search(r"versionadded:: (\S+ \(plugin API \S+\))", inspect.getdoc(HOOKS[name]))
    assert since, f"{name} does not say which version added it"
    assert f"Since {since[1]}" in section[1].replace("\n", " ")


def test_the_page_documents_no_hook_that_does_not_exist():
    assert re.findall(r"^### (townlet_\w+)", PAGE.read_text(), re.MULTILINE) == list(HOOKS)


@pytest.mark.parametrize("name", hookspecs.OFFERS)
def test_every_field_of_every_entry_is_documented(name):
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shared = {field.name for field in fields(Entry)}
    own = [field.name for field in fields(hookspecs.OFFERS[name]) if field.name not in shared]
    assert own == re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)


@pytest.fixture
def everything(shelf):
    package = shelf.install("everything", EVERY_HOOK)
    return PluginManager(installed_sources([str(shelf.path)])), package


@pytest.mark.parametrize("hook", MAIN_TARGETS)
def test_what_a_hook_offers_is_resolved_by_name(everything, hook):
    manager, _ = everything
    (kind,) = (kind for kind, (entry, _) in KINDS.items() if entry is hookspecs.OFFERS[hook])
    assert Registry(manager).resolve(kind, "thing") is MAIN_TARGETS[hook]


@pytest.mark.parametrize("hook", EVENTS)
def test_an_observer_is_told_once_with_its_arguments(everything, hook):
    from importlib import import_module

    manager, package = everything
    event, expected = EVENTS[hook]
    assert manager.notify(hook, **event) == []
    assert import_module(f"{package}.plugin").calls == [expected]
