"""Find the entry points of installed plugins, one distribution at a time, so that a damaged one hides no other.

This reads the files that the packaging specifications lay down (``NAME-VERSION.dist-info/entry_points.txt`` and
``METADATA``) by itself. `importlib.metadata` would parse them with the mail parser of the standard library, whose
import takes half as long as a whole click program, and raises for all when one line of any package is malformed.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import partial, reduce
from importlib import import_module
from typing import TYPE_CHECKING

from townlet_core.plugins.hookspecs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\]\s*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one plugin comes from.

    Attributes:
        distribution: name of the installed distribution.
        version: its version.
        name: name of the entry point.
        value: what the entry point names, ``"package.plugin"``.
        load: imports it and returns the module.
    """

    distribution: str
    version: str
    name: str
    value: str
    load: Callable[[], object]

    @classmethod
    def of(cls, entry_point: EntryPoint) -> Source:
        """Return the source of an entry point that `importlib.metadata` has found, for a manager of one's own."""
        distribution = entry_point.dist
        return cls(
            distribution=distribution.name if distribution else "unknown",
            version=distribution.version if distribution else "unknown",
            name=entry_point.name,
            value=entry_point.value,
            load=entry_point.load,
        )


def normalized(distribution: str) -> str:
    """Return the name of a distribution as package indexes compare it: lower-case, runs of ``-_.`` as one ``-``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed_sources(path: Iterable[str] | None = None) -> Iterator[Source]:
    """Yield the source of every installed entry point of the group ``townlet``.

    Of two distributions with one name the first on the path counts, as it does for ``import``. A distribution whose
    entry points cannot be read becomes a source whose `load` raises what is wrong. Zip files hold no plugins.

    Args:
        path: directories to look in; by default ``sys.path``.
    """
    seen: set[str] = set()
    for folder in sys.path if path is None else path:
        for record in _records(folder or "."):
            project = normalized(_stem(record).partition("-")[0])
            if project not in seen:
                seen.add(project)
                yield from _sources(record)


def _records(folder: str) -> list[str]:
    """Return the metadata directories of a folder in a fixed order; pip's leftovers start with ``~``."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.path for e in entries if e.name.endswith((".dist-info", ".egg-info")) and e.name[0] != "~")
    except OSError:
        return []


def _stem(record: str) -> str:
    return os.path.basename(record).rpartition(".")[0]  # noqa: PTH119  (importing pathlib takes 5 ms)


def _read(record: str, name: str) -> str:
    try:
        with open(f"{record}/{name}", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (as above)
            return file.read()
    except OSError:
        return ""


def _sources(record: str) -> Iterator[Source]:
    lines = list(_section(_read(record, "entry_points.txt")))
    if not lines:
        return
    project, _, version = _stem(record).partition("-")
    header = (_read(record, "METADATA") or _read(record, "PKG-INFO")).split("\n\n", 1)[0]
    fields = dict(line.split(": ", 1) for line in header.splitlines() if line.startswith(("Name: ", "Version: ")))
    for line in lines:
        name, _, value = (part.strip() for part in line.partition("="))
        yield Source(
            distribution=fields.get("Name", project).strip(),
            version=fields.get("Version", version or "unknown").strip(),
            name=name,
            value=value,
            load=partial(_load, line),
        )


def _section(text: str) -> Iterator[str]:
    """Yield the lines of the section ``[townlet]`` of an entry-points file, without comments and empty lines."""
    inside = False
    for line in map(str.strip, text.splitlines() if PROJECT in text else ()):
        if line.startswith("["):
            inside = line.strip("[] \t") == PROJECT
        elif inside and line and not line.startswith(("#", ";")):
            yield line


def _load(line: str) -> object:
    """Import what a line ``name = package.module:attribute`` names."""
    match = _VALUE.fullmatch(line.partition("=")[2].strip())
    if match is None:
        raise ImportError(f"the entry point {line!r} is not of the form 'name = package.module'")
    attributes = filter(None, (match["attribute"] or "").split("."))
    return reduce(getattr, attributes, import_module(match["module"]))
