"""Start-up is quick because of what is not imported; heavy packages are replaced by ones that report their import."""

import os
import subprocess
import sys

import click
import pytest

import townlet_core
from townlet_core.cli.main import COMMANDS, townlet
from townlet_core.plugins.registry import RESERVED

HEAVY = ("numpy", "pydantic", "gymnasium", "rich", "torch", "yaml", "safetensors")


@pytest.fixture
def light(tmp_path):
    """Run Python where importing a heavy package fails, and is noted even if somebody hides the failure."""
    note = tmp_path / "imported"
    for package in HEAVY:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(
            f"open({str(note)!r}, 'a').write('{package} ')\nraise ImportError('{package} is blocked')\n"
        )

    def light(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr, note.read_text() if note.exists() else ""

    return light


def test_the_blocks_work(light):
    code, _, err, imported = light("-c", "import numpy")
    assert (code, imported) == (1, "numpy ")
    assert "numpy is blocked" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("plugins",),
        ("plugins", "--json"),
        ("plugins", "-v"),
        ("replay", "--help"),
        ("replay", "curate", "--help"),
        ("--version",),
        ("nonsense",),
    ],
)
def test_start_up_imports_nothing_heavy(light, arguments):
    code, _, err, imported = light("-m", "townlet_core", *arguments)
    assert imported == ""
    assert (code, "Traceback" in err) == (64 if arguments == ("nonsense",) else 0, False), err


@pytest.mark.parametrize("arguments", [("--help",), ("plugins",)])
def test_start_up_spares_the_slow_parts_of_the_standard_library(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "townlet_core", *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "townlet_core.cli.main" in imported
    assert not imported & {"importlib.metadata", "email", "difflib", "asyncio", "unittest", "http", "logging"}


def test_a_plugin_module_and_the_names_of_the_package_import_nothing_heavy(light):
    statement = (
        "import townlet_core, townlet_core.plugins.registry, townlet_core.plugins.status, importlib\n"
        "townlet_core.torch_available(), townlet_core.TorchNotAvailableError, dir(townlet_core)\n"
        "for name in ('ppo', 'bc', 'anneal'):\n"
        "    if importlib.util.find_spec(f'townlet_strategies_{name}'):\n"
        "        importlib.import_module(f'townlet_strategies_{name}')\n"
        "        if importlib.util.find_spec(f'townlet_strategies_{name}.plugin'):\n"
        "            importlib.import_module(f'townlet_strategies_{name}.plugin')\n"
    )
    code, _, err, imported = light("-c", statement)
    assert (code, imported) == (0, ""), err


@pytest.mark.parametrize("name", townlet_core.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(townlet_core, name) is not None
    assert name in dir(townlet_core)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        townlet_core.Nonsense  # noqa: B018  (the access is the test)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_has_a_help(name):
    command = townlet.get_command(townlet.make_context("townlet", [name]), name)
    assert isinstance(command, click.Command)
    assert command.get_short_help_str()


def test_every_built_in_command_is_a_reserved_name():
    assert RESERVED["command"] == set(COMMANDS)
