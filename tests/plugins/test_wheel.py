"""A plugin that is built as a wheel and installed with pip, offline, is found and works."""

import json
import os
import subprocess
import sys

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "Townlet-Wheel.Plugin"
version = "3.4"
dependencies = ["townlet-core"]

[project.entry-points.townlet]
wheeled = "wheeled.plugin"
"""

HATCH = '\n[tool.hatch.build.targets.wheel]\npackages = ["src/wheeled"]\n'

PLUGIN = """
from townlet_core.plugins import CommandEntry, hookimpl

TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_commands():
    return [CommandEntry(name="greet", command="wheeled.greet:greet", summary="Greet somebody.")]
"""

COMMAND = """
import click

@click.command()
@click.argument("name")
def greet(name):
    if name == "crash":
        raise RuntimeError("crashed")
    click.echo(f"hello {name}")
"""


def test_a_plugin_from_a_wheel_is_listed_and_its_command_runs(shelf, tmp_path):
    source = tmp_path / "project" / "src" / "wheeled"
    source.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text(PROJECT + HATCH)
    (source / "__init__.py").write_text("")
    (source / "plugin.py").write_text(PLUGIN)
    (source / "greet.py").write_text(COMMAND)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    target = ["--no-build-isolation", "--no-deps", "--target", str(shelf.path), str(tmp_path / "project")]
    subprocess.run([*pip, *target], check=True, timeout=120, env={**os.environ, "PIP_NO_CACHE_DIR": "1"})

    listed = json.loads(shelf.townlet("plugins", "--json", "--check").stdout)["plugins"]
    (plugin,) = (plugin for plugin in listed if plugin["plugin"] == "wheeled")
    assert (plugin["distribution"].lower(), plugin["version"], plugin["state"]) == ("townlet-wheel.plugin", "3.4", "ok")

    assert "Greet somebody." in shelf.townlet("--help").stdout
    assert shelf.townlet("greet", "world").stdout == "hello world\n"
    assert shelf.townlet("greet").returncode == 64
    assert shelf.townlet("--no-plugins", "greet", "world").returncode == 64
    crashed = shelf.townlet("greet", "crash")
    assert crashed.returncode == 69
    assert "this is a bug in plugin 'wheeled' of " in crashed.stderr
