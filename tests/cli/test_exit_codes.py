"""Every way in which a command can end has its exit code, seen from outside the process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from townlet_core import errors
from townlet_core.cli.main import main
from townlet_core.errors import EXIT_CODE_MEANINGS, ExitCode, TownletError

PLUGIN = """
import click
from townlet_core.plugins import CommandEntry, hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_commands():
    names = ("fail", "takes", "verdict", "wait", "spill", "group_of_one")
    return [CommandEntry(name=name, command=f"ends.commands:{name}") for name in names]
"""

COMMANDS = """
import sys
import time
import click
from townlet_core import errors
from townlet_core.cli.main import main

@click.command()
@click.argument("kind")
def fail(kind):
    if hasattr(errors, kind):
        raise getattr(errors, kind)("what went wrong")
    raise {"os": OSError(28, "No space left", "a/file"), "abort": click.Abort(), "bug": RuntimeError("oops"),
           "memory": MemoryError("9 GiB"),
           "file": click.FileError("a/file", "is not there"), "click": click.ClickException("no")}[kind]

@click.command()
@click.argument("number", type=int)
@click.option("--choice", type=click.Choice(["one", "two"]))
@click.option("--must", required=True)
def takes(number, choice, must):
    click.echo(number)

@click.command()
@click.argument("code", type=int)
@click.pass_context
def verdict(ctx, code):
    ctx.exit(code)

@click.command()
def wait():
    click.echo("waiting")
    time.sleep(60)

@click.command()
def spill():
    for _ in range(100_000):
        print("x" * 100)

@click.group()
def group_of_one():
    pass

@group_of_one.command()
def inner():
    pass
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    path = tmp_path_factory.mktemp("shelf")
    (path / "ends").mkdir()
    (path / "ends" / "__init__.py").write_text("")
    (path / "ends" / "plugin.py").write_text(PLUGIN)
    (path / "ends" / "commands.py").write_text(COMMANDS)
    info = path / "ends-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ends\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[townlet]\nends = ends.plugin\n")
    return path


@pytest.fixture
def start(shelf):
    def start(*arguments, **options):
        return subprocess.Popen(
            [sys.executable, "-m", "townlet_core", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(shelf), *sys.path]), "PYTHONUNBUFFERED": ""},
            stderr=subprocess.PIPE,
            text=True,
            **{"stdout": subprocess.PIPE, **options},
        )

    return start


@pytest.fixture
def townlet(start):
    def townlet(*arguments, **options):
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return townlet


def test_too_little_memory_is_the_configurations_fault_and_no_bug(townlet):
    code, out, err = townlet("fail", "memory")
    assert (code, out) == (78, "")
    assert (
        err == "error: there is not enough memory (9 GiB): lower environment.num_worlds, or the sizes of the strategy\n"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "no command was given"),
        (("plugns",), "unknown command 'plugns'; did you mean 'plugins'?"),
        (("--verison",), "No such option"),
        (("plugins", "lst"), "No such command"),
        (("plugins", "--chekc"), "--check"),
        (("doctor", "--runs-dir"), "requires an argument"),
        (("doctor", "surplus"), "unexpected extra argument"),
        (("plugins", "--json", "list"), "options stand after 'list'"),
        (("takes", "--must", "x"), "Missing argument 'NUMBER'"),
        (("takes", "3"), "Missing option '--must'"),
        (("takes", "three", "--must", "x"), "'three' is not a valid integer"),
        (("takes", "3", "--must", "x", "--choice", "three"), "'three' is not one of 'one', 'two'"),
        (("takes", "3", "--must=x", "--must"), "requires an argument"),
        (("group_of_one",), "no command was given"),
        (("fail", "click"), "no"),
    ],
)
def test_a_wrong_command_line_ends_with_64_and_says_what_is_wrong(townlet, arguments, text):
    code, out, err = townlet(*arguments)
    assert (code, out) == (64, "")
    assert err.startswith("error: ")
    assert text in err
    assert "Traceback" not in err


TREE = sorted(name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TownletError))


@pytest.mark.parametrize("name", TREE)
def test_every_error_of_the_tree_is_one_line_and_its_own_code(townlet, name):
    assert townlet("fail", name) == (getattr(errors, name).exit_code, "", "error: what went wrong\n")


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [("os", 74, "No space left: 'a/file'"), ("abort", 130, "stopped"), ("file", 66, "is not there")],
)
def test_errors_of_the_system_and_of_click_have_their_codes(townlet, kind, code, text):
    assert townlet("fail", kind)[0] == code
    assert text in townlet("fail", kind)[2]


BUG = "error: this is a bug in {}; please report it with the lines above\n"


def test_a_crash_of_a_plugin_ends_with_69_its_traceback_and_its_name(townlet):
    code, out, err = townlet("fail", "bug")
    assert (code, out) == (69, "")
    assert "RuntimeError: oops" in err
    assert err.endswith(BUG.format("plugin 'ends' of ends 1.0"))


def test_a_crash_of_core_ends_with_70_and_is_a_bug_in_townlet(monkeypatch, capsys):
    monkeypatch.setattr("townlet_core.plugins.status.describe", lambda *_args, **_options: 1 / 0)
    assert main(["plugins"]) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert err.endswith(BUG.format("Townlet"))


def test_a_crash_of_our_own_strategy_ends_with_70_and_is_a_bug_in_townlet(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("townlet_strategies_ppo.strategy.settings_from", lambda *_args, **_options: 1 / 0)
    arguments = ["--strategy", "ppo", "--env", "gymnasium:CartPole-v1", "--run-dir", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 70
    assert re.search(
        r"error: this is a bug in Townlet \(plugin 'ppo' of townlet-strategies-ppo [\d.]+\); please",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_verdict_passes_through(townlet, code):
    assert townlet("verdict", str(code)) == (code, "", "")


def test_an_interrupt_from_the_keyboard_of_what_cannot_be_resumed_ends_with_130(start):
    process = start("wait")
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "error: stopped\n")


def test_a_reader_that_goes_away_ends_it_quietly_and_not_with_a_verdict(start):
    process = start("spill")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (74, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
@pytest.mark.parametrize("arguments", [("spill",), ("plugins", "--json"), ("--help",)])
def test_output_to_a_full_disk_ends_with_74(townlet, arguments):
    with Path("/dev/full").open("w") as full:
        code, _, err = townlet(*arguments, stdout=full)
    assert code == 74
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--help",), ("-h",), ("plugins", "--help"), ("doctor", "--help"), ("--version",)]
)
def test_help_and_version_end_with_0(townlet, arguments):
    code, out, err = townlet(*arguments)
    assert (code, err) == (0, "")
    assert out


def test_every_code_has_a_meaning_and_errors_stay_away_from_verdicts():
    assert set(EXIT_CODE_MEANINGS) == set(ExitCode)
    assert all(64 <= getattr(errors, name).exit_code <= 78 for name in TREE)


def test_a_name_with_a_control_character_is_refused_in_one_line(townlet, tmp_path):
    arguments = ("--strategy", "ppo", "--env", "gymnasium:Cart\tPole", "--run-dir", str(tmp_path / "run"))
    code, out, err = townlet("train", *arguments)
    assert (code, out) == (78, "")
    assert err.startswith("error: environment.name (option): ")
    assert "'gymnasium:Cart\\tPole'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
