"""Catalogues of the earlier format: `versions.json`, which names data sets, and their files of checksums."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from townlet_core.errors import DatasetError, UsageError, suggestion
from townlet_core.replay.files import read_json
from townlet_core.replay.legacy.sample import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import JsonValue

CATALOGUE_NAME = "versions.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KNOWN = ("manifest", "checksums", "captures_dir", "created", "tags", "samples", "notes", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """A sample's files and what they have to contain.

    Attributes:
        sample: path of the archive.
        meta: path of the JSON file; None for that of the same stem.
        sha256: over the bytes of the one followed by those of the other.
    """

    sample: str
    meta: str | None
    sha256: str

    def to_json(self) -> dict[str, JsonValue]:
        """Return it as it is written."""
        meta: dict[str, JsonValue] = {} if self.meta is None else {"meta": self.meta}
        return {"sample": self.sample, **meta, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A data set of a catalogue.

    Attributes:
        manifest: path of its manifest.
        checksums: path of its checksums; None if it has no such file.
        captures_dir: directory of its samples.
        created: when, in words.
        tags: free words.
        samples: name -> checksum, as the catalogue itself repeats them.
        notes: in words.
        status: `active` or `deprecated`.
        others: keys that nobody knows.
    """

    manifest: str
    checksums: str | None = None
    captures_dir: str | None = None
    created: str | None = None
    tags: tuple[str, ...] = ()
    samples: Mapping[str, Checksum] = field(default_factory=dict)
    notes: JsonValue = None
    status: str = "active"
    others: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, JsonValue]:
        """Return it as it is written."""
        values: dict[str, Any] = {
            "manifest": self.manifest,
            "checksums": self.checksums,
            "captures_dir": self.captures_dir,
            "created": self.created,
            "tags": list(self.tags),
            "samples": {name: checksum.to_json() for name, checksum in self.samples.items()},
            "notes": self.notes,
            "status": self.status,
            **self.others,
        }
        return {name: value for name, value in values.items() if value is not None}


def is_catalogue(document: Any) -> bool:
    """Return whether a document looks like a catalogue: an object of objects that name manifests."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(isinstance(entry, dict) and isinstance(entry.get("manifest"), str) for entry in document.values())
    )


def read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    """Return the data sets of a catalogue by name.

    Raises:
        DatasetError: it is missing, damaged, or none.
    """
    document = read_json(path)
    if not is_catalogue(document):
        raise DatasetError(f"{path} is no catalogue: an object of data sets, each with a 'manifest', is expected")
    return {name: _entry(entry, f"{path}: '{name}'") for name, entry in document.items()}


def read_checksums(path: Path) -> dict[str, Checksum]:
    """Return the checksums of a file by name of the sample; raises `DatasetError`."""
    return _checksums(read_json(path), str(path))


def choose(catalogue: Mapping[str, CatalogueEntry], name: str | None, path: Path) -> str:
    """Return the name of the data set that is meant: the given one, or the only one, or the only active one.

    Raises:
        UsageError: that leaves several, or there is none of that name.
    """
    if name is not None:
        if name not in catalogue:
            raise UsageError(f"{path} has no data set '{name}'{suggestion(name, catalogue)}; it has {_list(catalogue)}")
        return name
    active = [key for key, entry in catalogue.items() if entry.status != "deprecated"]
    for names in (list(catalogue), active):
        if len(names) == 1:
            return names[0]
    raise UsageError(f"{path} has several data sets, choose one (--dataset NAME): {_list(catalogue)}")


def catalogue_bytes(catalogue: Mapping[str, CatalogueEntry]) -> bytes:
    """Return the JSON file of a catalogue."""
    return json_bytes({name: entry.to_json() for name, entry in catalogue.items()})


def checksums_bytes(checksums: Mapping[str, Checksum]) -> bytes:
    """Return the JSON file of checksums."""
    return json_bytes({name: checksum.to_json() for name, checksum in checksums.items()})


def _list(catalogue: Mapping[str, CatalogueEntry]) -> str:
    shown = [name + " (deprecated)" * (entry.status == "deprecated") for name, entry in list(catalogue.items())[:20]]
    return ", ".join(shown) + ", ..." * (len(catalogue) > len(shown))


def _checksums(document: Any, where: str) -> dict[str, Checksum]:
    if not isinstance(document, dict):
        raise DatasetError(f"{where} is no list of checksums: an object of samples is expected")
    checksums = {}
    for name, entry in document.items():
        sample, meta, sha256 = (
            (entry.get(key) for key in ("sample", "meta", "sha256")) if isinstance(entry, dict) else (None,) * 3
        )
        if not isinstance(sample, str) or not isinstance(meta, str | None) or not isinstance(sha256, str):
            raise DatasetError(f"{where}: '{name}' must be an object with 'sample', 'meta' and 'sha256', all text")
        if _DIGEST.fullmatch(sha256.lower()) is None:
            raise DatasetError(f"{where}: '{name}': {sha256[:80]!r} is no SHA-256 of 64 hexadecimal digits")
        checksums[name] = Checksum(sample=sample, meta=meta, sha256=sha256.lower())
    return checksums


def _entry(entry: dict[str, Any], where: str) -> CatalogueEntry:
    for name in ("checksums", "captures_dir", "created", "status"):
        if not isinstance(entry.get(name), str | None):
            raise DatasetError(f"{where}: '{name}' is {str(entry[name])[:100]!r}; expected text")
    tags = entry.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DatasetError(f"{where}: 'tags' must be a list of words")
    status = entry.get("status") or "active"
    if status not in ("active", "deprecated"):
        raise DatasetError(f"{where}: 'status' is {status!r}; expected 'active' or 'deprecated'")
    return CatalogueEntry(
        manifest=entry["manifest"],
        checksums=entry.get("checksums"),
        captures_dir=entry.get("captures_dir"),
        created=entry.get("created"),
        tags=tuple(tags),
        samples=_checksums({} if entry.get("samples") is None else entry["samples"], f"{where}, 'samples'"),
        notes=entry.get("notes"),
        status=status,
        others={name: value for name, value in entry.items() if name not in _KNOWN},
    )
