"""Find the entry points of installed plugins, one distribution at a time, so that a damaged one hides no other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from townlet_core.plugins.hookspecs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECTION = re.compile(rf"^\s*\[\s*{PROJECT}\s*\]", re.MULTILINE)


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
    def of(cls, entry_point: metadata.EntryPoint) -> Source:
        """Return the source of an entry point that belongs to an installed distribution, or to none."""
        distribution = entry_point.dist
        return cls(
            distribution=(distribution and distribution.name) or "unknown",
            version=(distribution and distribution.version) or "unknown",
            name=entry_point.name,
            value=entry_point.value,
            load=entry_point.load,
        )


def normalized(distribution: str) -> str:
    """Return the name of a distribution as package indexes compare it: lower-case, runs of ``-_.`` as one ``-``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed_sources() -> Iterator[Source]:
    """Yield the source of every installed entry point of the group ``townlet``.

    Of two distributions with one name the first on ``sys.path`` counts, as it does for ``import``. The metadata of a
    distribution without such entry points is not parsed. One that has them and cannot be read becomes a source whose
    `load` raises what was wrong.
    """
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue
        if not _SECTION.search(text):
            continue
        try:
            name = normalized(distribution.name)
            if name in seen:
                continue
            seen.add(name)
            points = metadata.distribution(name).entry_points.select(group=PROJECT)
            found = [Source.of(point) for point in points]
        except Exception as error:  # noqa: BLE001  (metadata in any state of damage must not stop the others)
            found = [_damaged(distribution, error)]
        yield from found


def _damaged(distribution: metadata.Distribution, error: Exception) -> Source:
    place = str(distribution.locate_file(""))

    def load() -> object:
        raise ImportError(f"the metadata of this distribution in {place} cannot be read: {error!r}") from error

    try:
        name, version = distribution.name, distribution.version
    except Exception:  # noqa: BLE001  (the same damage)
        name, version = "unknown", "unknown"
    return Source(distribution=name or "unknown", version=version or "unknown", name="unknown", value="", load=load)
