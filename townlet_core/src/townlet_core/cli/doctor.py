"""``townlet doctor``: what is installed here, which torch it is, and what works; it imports no torch."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from townlet_core.cli.state import CliState, pass_state
from townlet_core.plugins import requirements, status

_LIBRARIES = (
    "click",
    "gymnasium",
    "numpy",
    "pluggy",
    "pydantic",
    "pyyaml",
    "rich",
    "safetensors",
    "threadpoolctl",
    "torch",
)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), help="Where runs are to be written.")
@pass_state
def command(state: CliState, as_json: bool, runs_dir: Path) -> None:
    """Tell what is installed here and what works."""
    report = examine(state, runs_dir)
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(_text(report)))


def examine(state: CliState, runs_dir: Path) -> dict[str, Any]:
    """Return everything that `townlet doctor` tells, as JSON-like data."""
    from townlet_core.environments.limits import usable_processors

    return {
        "python": {"version": platform.python_version(), "executable": sys.executable, "platform": platform.platform()},
        "townlet": _versions(requirements.FIRST_PARTY_DISTRIBUTIONS),
        "libraries": _versions(_LIBRARIES),
        "torch": torch_build(),
        "cpu": {
            "count": os.cpu_count(),
            "usable": usable_processors(),
        },
        "threads": {
            "variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
            "pools": _thread_pools(),
        },
        "runs_dir": {"path": str(runs_dir.absolute()), "problem": _write_problem(runs_dir)},
        "plugins": [plugin.to_json() for plugin in status.describe(state.any_registry)],
    }


def _versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def torch_build() -> dict[str, Any]:
    """Return which torch is installed, read from its files: importing it takes seconds and can fail.

    Returns:
        ``installed``; ``version`` as the package says, ``2.13.0+cpu``; ``build``: ``CPU``, ``CUDA 12.8``, ``ROCm 6.4``
        or ``unknown``.
    """
    absent = {"installed": False, "version": None, "build": None}
    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        return absent
    if spec is None:
        return absent
    found: dict[str, str] = {}
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / "version.py"
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found = dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE))
    version = found.get("__version__") or _versions(("torch",))["torch"]
    if "cuda" in found:
        build = f"CUDA {found['cuda']}"
    elif "hip" in found:
        build = f"ROCm {found['hip']}"
    else:
        build = "CPU" if found else "unknown"
    return {"installed": True, "version": version, "build": build}


def _thread_pools() -> list[dict[str, Any]]:
    """Return the thread pools of NumPy's matrix library; empty where NumPy does not work."""
    try:
        import numpy as np
        from threadpoolctl import threadpool_info
    except Exception:  # noqa: BLE001  (a damaged installation is what this command is for)
        return []
    np.ones((2, 2)) @ np.ones((2, 2))
    pools = threadpool_info()
    return [{key: pool.get(key) for key in ("user_api", "internal_api", "version", "num_threads")} for pool in pools]


def _write_problem(directory: Path) -> str:
    """Return why nothing can be written below `directory`, or an empty string; leaves nothing behind."""
    place = directory.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return f"{place}: {error.strerror or error}"


def _text(report: dict[str, Any]) -> list[str]:
    torch, cpu, threads, runs = report["torch"], report["cpu"], report["threads"], report["runs_dir"]
    torch_line = f"{torch['version']} ({torch['build']} build)" if torch["installed"] else "not installed"
    pools = ", ".join(f"{pool['internal_api']} {pool['num_threads']}" for pool in threads["pools"]) or "unknown"
    variables = "".join(f", {name}={value}" for name, value in threads["variables"].items())
    versions = {**report["townlet"], **report["libraries"]}
    plugins = report["plugins"]
    rows = {
        "python": f"{report['python']['version']} ({report['python']['executable']})",
        "platform": report["python"]["platform"],
        **{name: version or "not installed" for name, version in versions.items()},
        "torch": torch_line,
        "processors": f"{cpu['usable']} usable of {cpu['count']}",
        "threads": pools + variables,
        "runs": f"{runs['path']}: {runs['problem'] or 'can be written'}",
        "plugins": str(len(plugins) or "none"),
    }
    width = max(map(len, rows))
    return [f"{name:<{width}}  {text}" for name, text in rows.items()] + [_plugin_line(plugin) for plugin in plugins]


def _plugin_line(plugin: dict[str, Any]) -> str:
    words = (plugin["distribution"], plugin["plugin"], plugin["state"], plugin["cause"])
    return "  " + " ".join(word for word in words if word)
