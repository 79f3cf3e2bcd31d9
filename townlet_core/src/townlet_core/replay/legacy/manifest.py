"""Manifests of the earlier format: a list, the same wrapped in metadata, or a curated list with verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.errors import DatasetError
from townlet_core.replay.legacy.sample import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import JsonValue

Form = Literal["list", "wrapped", "curated"]
MAX_SAMPLES = 200_000
_KNOWN = ("sample", "meta", "dto", "agent_id", "frame_count", "metrics", "accepted")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """What a manifest says about one sample; None and empty where it says nothing.

    Attributes:
        sample: path of the archive.
        meta: path of the JSON file; without it, that of the same stem.
        dto: path of the observation as the process that recorded it had it.
        agent_id: whose steps they are.
        frame_count: how many there are.
        metrics: what a curator has measured.
        accepted: what a curator has decided; False is not trained on.
        others: keys that nobody knows.
    """

    sample: str
    meta: str | None = None
    dto: str | None = None
    agent_id: str | None = None
    frame_count: int | None = None
    metrics: Mapping[str, JsonValue] | None = None
    accepted: bool | None = None
    others: Mapping[str, JsonValue] = field(default_factory=dict)

    def values(self) -> dict[str, JsonValue]:
        """Return it as an object of a manifest."""
        known = {name: getattr(self, name) for name in _KNOWN}
        return {name: value for name, value in known.items() if value is not None} | dict(self.others)

    def to_json(self) -> JsonValue:
        """Return it as a manifest has it: the bare path where that says it all."""
        values = self.values()
        return self.sample if len(values) == 1 else values


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyManifest:
    """A manifest.

    Attributes:
        samples: in the order of the file.
        metadata: of a wrapped one; None for a list.
    """

    samples: tuple[ManifestEntry, ...]
    metadata: Mapping[str, JsonValue] | None = None

    @property
    def form(self) -> Form:
        """Which of the three it is."""
        if self.metadata is not None:
            return "wrapped"
        return "curated" if any(entry.accepted is not None for entry in self.samples) else "list"

    def to_json(self) -> JsonValue:
        """Return it as it is written."""
        entries = [entry.to_json() for entry in self.samples]
        return entries if self.metadata is None else {"metadata": dict(self.metadata), "samples": entries}


def parse_legacy_manifest(document: Any, path: Path) -> LegacyManifest:
    """Return the manifest in a document; raises `DatasetError`, which names `path`."""
    metadata = None
    if isinstance(document, dict):
        metadata, entries = document.get("metadata", {}), document.get("samples")
        if not isinstance(metadata, dict) or not isinstance(entries, list) or document.keys() - {"metadata", "samples"}:
            raise DatasetError(
                f"{path} is no manifest: an object must have 'metadata', an object, and 'samples', a list"
            )
    elif isinstance(document, list):
        entries = document
    else:
        raise DatasetError(f"{path} is no manifest: it is neither a list of samples nor an object with 'samples'")
    if not 0 < len(entries) <= MAX_SAMPLES:
        raise DatasetError(f"{path} names {len(entries)} samples; 1 to {MAX_SAMPLES:,} are expected")
    return LegacyManifest(
        samples=tuple(_entry(entry, f"{path}: sample {index}") for index, entry in enumerate(entries)),
        metadata=metadata,
    )


def manifest_bytes(manifest: LegacyManifest) -> bytes:
    """Return the JSON file of a manifest."""
    return json_bytes(manifest.to_json())


def _entry(entry: Any, where: str) -> ManifestEntry:
    if isinstance(entry, str):
        return ManifestEntry(sample=entry)
    if not isinstance(entry, dict):
        raise DatasetError(f"{where} is a {type(entry).__name__}; expected a path or an object with 'sample'")
    expected: dict[str, tuple[type, str]] = {
        "sample": (str, "a path"),
        "meta": (str, "a path"),
        "dto": (str, "a path"),
        "agent_id": (str, "text"),
        "frame_count": (int, "a whole number"),
        "metrics": (dict, "an object"),
        "accepted": (bool, "true or false"),
    }
    fields: dict[str, Any] = {name: value for name, value in entry.items() if value is not None}
    if "sample" not in fields:
        raise DatasetError(f"{where} has no 'sample', the path of its archive")
    for name, (kind, words) in expected.items():
        if name in fields and (type(fields[name]) is not kind):
            raise DatasetError(f"{where}: '{name}' is {str(fields[name])[:100]!r}; expected {words}")
    others = {name: value for name, value in entry.items() if name not in _KNOWN}
    return ManifestEntry(**{name: fields[name] for name in _KNOWN if name in fields}, others=others)
