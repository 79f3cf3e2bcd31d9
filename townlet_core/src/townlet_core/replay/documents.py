"""`dataset.json` and `episodes.json` as bytes: written, and read with one short line about what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from townlet_core.errors import DatasetError, suggestion
from townlet_core.replay.columns import check_columns
from townlet_core.replay.schema import DatasetManifest, EpisodeEntry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ABOUT_FIELDS = {"extra_forbidden": "unknown field '{}'", "missing": "the field '{}' is missing"}
_ENTRIES = TypeAdapter(list[EpisodeEntry], config=ConfigDict(strict=True))


def manifest_bytes(manifest: DatasetManifest) -> bytes:
    """Return `dataset.json`; equal manifests give equal bytes."""
    return manifest.model_dump_json(indent=1).encode() + b"\n"


def entries_bytes(entries: list[EpisodeEntry]) -> bytes:
    """Return `episodes.json`, without what has its default."""
    return b"[" + b",\n".join(entry.model_dump_json(exclude_defaults=True).encode() for entry in entries) + b"]\n"


def parse_manifest(data: bytes, path: Path) -> DatasetManifest:
    """Return the manifest in `data`; `path` is where it lies.

    Raises:
        DatasetError: it is none, or its spaces and columns contradict each other.
    """
    try:
        manifest = DatasetManifest.model_validate_json(data)
        json.loads(data, object_pairs_hook=_without_repeats)
        check_columns(manifest)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_problem(error)}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DatasetError(f"{path}: {error}") from error
    return manifest


def parse_entries(data: bytes, path: Path) -> list[EpisodeEntry]:
    """Return the episodes in `data`; raises `DatasetError` like `parse_manifest`."""
    try:
        return _ENTRIES.validate_json(data)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_problem(error)}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DatasetError(f"{path}: {error}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its place, in one short line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    *above, last = problem["loc"] or ("",)
    if problem["type"] in _ABOUT_FIELDS:
        place, text = _place(above), _ABOUT_FIELDS[problem["type"]].format(str(last)[:300])
        if problem["type"] == "extra_forbidden" and not above and error.title == DatasetManifest.__name__:
            text += suggestion(str(last)[:300], DatasetManifest.model_fields)
    else:
        place, text = _place(problem["loc"]), problem["msg"][:500]
    return f"{place}: {text}" if place else text


def _place(path: Iterable[int | str]) -> str:
    return ".".join(map(str, path))[:300]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raises `ValueError` for a key that stands twice: readers differ on which of them counts."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key '{twice[:200]}' stands twice in one object")
    return values
