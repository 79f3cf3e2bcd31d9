"""Observers are told what happened, one plugin at a time, and can neither break a run nor change what it says."""

import json

import pytest

from townlet_core.plugins.discovery import installed_sources
from townlet_core.plugins.manager import PluginManager

OBSERVER = """
import json, pathlib
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)

def note(hook, **event):
    with open({path!r}, "a") as file:
        file.write(json.dumps([{name!r}, hook, event], default=dict) + "\\n")

@hookimpl
def townlet_run_started(run_dir, strategy):
    note("townlet_run_started", run_dir=run_dir, strategy=strategy)

@hookimpl
def townlet_run_finished(run_dir, result):
    note("townlet_run_finished", run_dir=run_dir, result=result)

@hookimpl
def townlet_run_failed(run_dir, error):
    note("townlet_run_failed", run_dir=run_dir, error=error)
"""

EVENTS = {
    "townlet_run_started": {"run_dir": "/runs/a", "strategy": "ppo"},
    "townlet_run_finished": {"run_dir": "/runs/a", "result": {"return": 1.5, "nested": {"a": [1, 2]}}},
    "townlet_run_failed": {"run_dir": "/runs/a", "error": "ValueError: no"},
}


def bad(body):
    hooks = "".join(f"@hookimpl\ndef {hook}({', '.join(event)}):\n    {body}\n" for hook, event in EVENTS.items())
    return "from townlet_core.plugins import hookimpl\nTOWNLET_PLUGIN_API = (1, 0)\n" + hooks


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("")
    return path


def notes(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("hook", EVENTS)
@pytest.mark.parametrize("body", ["1 / 0", "raise SystemExit(1)", "import missing_thing"])
def test_an_observer_that_raises_is_recorded_and_the_others_are_told(shelf, log, hook, body):
    shelf.install("aaa", OBSERVER.format(path=str(log), name="aaa"))
    shelf.install("mmm", bad(body))
    shelf.install("zzz", OBSERVER.format(path=str(log), name="zzz"))
    manager = PluginManager(installed_sources([str(shelf.path)]))

    failed = manager.notify(hook, **EVENTS[hook])

    assert notes(log) == [["aaa", hook, EVENTS[hook]], ["zzz", hook, EVENTS[hook]]]
    ((plugin, failure),) = failed
    assert plugin.source.distribution == "mmm"
    assert failure.stage == "observe"
    assert plugin.observer_failures == [failure]
    assert plugin.failure is None


def test_an_observer_cannot_change_the_result(shelf):
    shelf.install("nested", bad("locals()['result']['nested']['b'] = 5"))
    shelf.install("outer", bad("locals()['result']['return'] = 5"))
    shelf.install("inner", bad("locals()['result']['nested']['a'].append(5)"))
    manager = PluginManager(installed_sources([str(shelf.path)]))
    event = {"run_dir": "/runs/a", "result": {"return": 1.5, "nested": {"a": [1, 2]}}}
    assert len(manager.notify("townlet_run_finished", **event)) == 3
    assert event == EVENTS["townlet_run_finished"]


def test_keyboard_interrupt_in_an_observer_gets_through(shelf):
    shelf.install("interrupting", bad("raise KeyboardInterrupt"))
    manager = PluginManager(installed_sources([str(shelf.path)]))
    with pytest.raises(KeyboardInterrupt):
        manager.notify("townlet_run_started", run_dir="/runs/a", strategy="ppo")


def test_a_hook_that_is_no_observer_is_refused():
    with pytest.raises(ValueError, match="observers are townlet_run_started"):
        PluginManager([]).notify("townlet_strategies")
