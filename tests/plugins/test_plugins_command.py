"""`townlet plugins` and `townlet doctor` tell the state of everything, to people and to programs."""

import json
import re
import sys

import pytest

CONFLICT = """
from townlet_core.plugins import EnvironmentEntry, hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_environments():
    return [EnvironmentEntry(name="town", factory="json:loads")]
"""


@pytest.fixture
def states(shelf, new_strategy):
    """One plugin in each state."""
    shelf.install("a-ok", new_strategy("fine"))
    shelf.install("b-needs", new_strategy("heavy", requires=("json", "a_missing_library")))
    shelf.install("c-broken", "import a_package_that_is_not_there")
    shelf.install("d-incompatible", "TOWNLET_PLUGIN_API = (1, 7)")
    shelf.install("e-conflict", CONFLICT)
    shelf.install("f-disabled", "raise SystemExit", point="off")
    return shelf


def rows(output):
    return {line.split()[0]: line for line in output.splitlines() if line and not line.startswith(" ")}


@pytest.mark.parametrize("arguments", [("plugins",), ("plugins", "list")])
def test_the_table_shows_each_state_and_its_cause(states, arguments):
    done = states.townlet(*arguments, TOWNLET_DISABLE_PLUGINS="off")
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    assert re.fullmatch(r"a-ok +1\.2 +mine +1\.0 +ok +strategy fine", table["a-ok"])
    assert re.fullmatch(r"b-needs +1\.2 +mine +1\.0 +needs a_missing_library +strategy heavy", table["b-needs"])
    assert re.fullmatch(r"c-broken +1\.2 +mine +- +broken +-", table["c-broken"])
    assert re.fullmatch(r"d-incompatible +1\.2 +mine +1\.7 +incompatible +-", table["d-incompatible"])
    assert re.fullmatch(r"e-conflict +1\.2 +mine +1\.0 +conflict +environment town", table["e-conflict"])
    assert re.fullmatch(r"f-disabled +1\.2 +off +- +disabled +-", table["f-disabled"])
    assert "    import: ModuleNotFoundError: No module named 'a_package_that_is_not_there'\n" in done.stdout
    assert "environment 'town' is a built-in name; this one is 'plugin:e-conflict:town'" in done.stdout
    assert "Traceback" not in done.stdout


def test_verbose_adds_targets_and_tracebacks(states):
    done = states.townlet("plugins", "-v", TOWNLET_DISABLE_PLUGINS="off")
    assert "      strategy: json:JSONDecoder\n" in done.stdout
    assert "    strategy fine: decodes\n" in done.stdout
    assert "    Traceback (most recent call last):\n" in done.stdout


def test_json_says_the_same_to_a_program(states):
    done = states.townlet("plugins", "list", "--json", TOWNLET_DISABLE_PLUGINS="off")
    report = json.loads(done.stdout)
    assert report["api"] == [1, 0]
    plugins = {plugin["distribution"]: plugin for plugin in report["plugins"]}
    assert {name: plugin["state"] for name, plugin in plugins.items() if name[1] == "-"} == {
        "a-ok": "ok",
        "b-needs": "needs",
        "c-broken": "broken",
        "d-incompatible": "incompatible",
        "e-conflict": "conflict",
        "f-disabled": "disabled",
    }
    assert plugins["a-ok"]["offers"] == [
        {
            "kind": "strategy",
            "name": "fine",
            "summary": "decodes",
            "targets": {
                "result": "townlet_core.dto.base:TrainingResultBase",
                "settings": "townlet_core.config.tracking:TrackingConfig",
                "strategy": "json:JSONDecoder",
            },
            "missing": [],
            "conflict": "",
        }
    ]
    assert plugins["b-needs"]["offers"][0]["missing"] == ["a_missing_library"]


@pytest.mark.parametrize(
    ("disabled", "code"),
    [
        ("off,c-broken,d-incompatible,e-conflict", 0),
        ("off,c-broken,d-incompatible", 69),
        ("off,c-broken,e-conflict", 69),
        ("off,d-incompatible,e-conflict", 69),
    ],
)
def test_check_ends_with_69_unless_everything_is_in_order(states, disabled, code):
    done = states.townlet("plugins", "--check", TOWNLET_DISABLE_PLUGINS=disabled)
    assert (done.returncode, done.stderr) == (code, "")


TARGETS = """
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_environments():
    return [EnvironmentEntry(name="world", factory="{factory}", requires={requires!r})]
"""


@pytest.mark.parametrize(
    ("factory", "requires", "code", "state", "cause"),
    [
        ("nowhere.at.all:factory", (), 69, "broken", "'nowhere.at.all:factory' cannot be imported (ModuleNotFound"),
        ("json:nothing", (), 69, "broken", "has no attribute 'nothing'"),
        ("json:__doc__", (), 69, "broken", "factory 'json:__doc__': it cannot be called"),
        ("talks_and_exits:factory", (), 69, "broken", "'talks_and_exits:factory' cannot be imported (SystemExit: 3)"),
        ("json:loads", (), 0, "ok", ""),
        ("nowhere.at.all:factory", ("a_missing_library",), 0, "needs", "a_missing_library"),
    ],
)
def test_check_imports_every_target_and_the_plain_list_none(shelf, factory, requires, code, state, cause):
    (shelf.path / "talks_and_exits.py").write_text("print('hello')\nraise SystemExit(3)")
    shelf.install("worlds", TARGETS.format(factory=factory, requires=requires))
    done = shelf.townlet("plugins", "--check", "--json")
    (plugin,) = [each for each in json.loads(done.stdout)["plugins"] if each["distribution"] == "worlds"]
    assert (done.returncode, plugin["state"]) == (code, state)
    assert cause in plugin["cause"]
    assert (plugin["stage"] == "resolve") == (state == "broken")
    assert bool(plugin["traceback"]) == (state == "broken")
    plain = json.loads(shelf.townlet("plugins", "--json").stdout)["plugins"]
    assert [each["state"] for each in plain if each["distribution"] == "worlds"] == ["needs" if requires else "ok"]
    if code:
        assert "    resolve: environment 'world' of plugin 'mine' of worlds 1.2 is broken: " in (
            shelf.townlet("plugins", "--check").stdout
        )


def test_a_switch_that_names_no_plugin_is_pointed_out(states):
    done = states.townlet("plugins", TOWNLET_DISABLE_PLUGINS="off, a-okay")
    assert done.stderr == "warning: TOWNLET_DISABLE_PLUGINS names 'a-okay', which is no installed plugin\n"


def test_strict_mode_stops_work_and_not_the_commands_that_show_what_is_wrong(states):
    strict = {"TOWNLET_STRICT_PLUGINS": "1"}
    for arguments in (("--help",), ("plugins",), ("doctor",)):
        assert states.townlet(*arguments, **strict).returncode == 0
    done = states.townlet("a-command-of-a-plugin", **strict)
    assert done.returncode == 69
    assert "c-broken 1.2: import: ModuleNotFoundError" in done.stderr


def test_no_plugins_lists_all_as_disabled_and_imports_none(states):
    done = states.townlet("--no-plugins", "plugins", "--json")
    assert {plugin["state"] for plugin in json.loads(done.stdout)["plugins"]} == {"disabled"}


def test_help_counts_the_problems(states):
    assert "4 problems with plugins: see 'townlet plugins'." in states.townlet("--help").stdout


def test_doctor_reports_versions_torch_threads_plugins_and_the_runs_directory(states, tmp_path):
    done = states.townlet("doctor", "--json", "--runs-dir", str(tmp_path / "new" / "runs"), OMP_NUM_THREADS="1")
    report = json.loads(done.stdout)
    assert report["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert report["townlet"]["townlet-core"]
    assert report["libraries"]["numpy"]
    assert report["threads"]["variables"]["OMP_NUM_THREADS"] == "1"
    assert report["cpu"]["usable"] >= 1
    assert report["runs_dir"] == {"path": str(tmp_path / "new" / "runs"), "problem": ""}
    assert "c-broken" in [plugin["distribution"] for plugin in report["plugins"]]
    assert not (tmp_path / "new").exists()
    text = states.townlet("doctor").stdout
    assert "c-broken mine broken import: ModuleNotFoundError" in text


@pytest.mark.parametrize(
    ("version_file", "expected"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", ("2.13.0+cpu", "CPU")),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", ("2.13.0", "CUDA 12.8")),
        ("__version__ = '2.9.1'\ncuda = None\nhip = '6.4.43482'\n", ("2.9.1", "ROCm 6.4.43482")),
    ],
)
def test_doctor_tells_the_build_of_torch_without_importing_it(shelf, version_file, expected):
    (shelf.path / "torch").mkdir()
    (shelf.path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    (shelf.path / "torch" / "version.py").write_text(version_file)
    report = json.loads(shelf.townlet("doctor", "--json").stdout)
    assert report["torch"] == {"installed": True, "version": expected[0], "build": expected[1]}
