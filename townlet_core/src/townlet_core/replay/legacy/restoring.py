"""What an imported episode's sample was called and said, so that it is written again as it was.

Legend: T steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from townlet_core.errors import DatasetError
from townlet_core.replay.legacy.manifest import ManifestEntry, parse_legacy_manifest
from townlet_core.replay.legacy.vocabulary import UNLISTED, read_lookup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.replay.legacy.origin import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What is known of the sample that is to be written.

    Attributes:
        entry: what the manifest is to say.
        feature_names: columns in their order.
        is_whole: whether it is all of a sample that was imported.
        metadata: of the sample; None if it has to be made up.
        ids: number of an action in the dataset -> id in the sample's own table; None if that has to be made up.
        flat: arrays without an axis of steps where T is 1.
        map_shape: (C, H, W) of a map without cells.
        is_end: whether the last step is that of the sample.
        bootstrap: then, the value after it; None if the sample has none.
    """

    entry: ManifestEntry
    feature_names: tuple[str, ...]
    is_whole: bool = False
    metadata: dict[str, JsonValue] | None = None
    ids: Mapping[int, int] | None = None
    flat: tuple[str, ...] = ()
    map_shape: tuple[int, ...] = ()
    is_end: bool = False
    bootstrap: float | None = None


def restore(
    origin: Origin | None,
    *,
    num_steps: int,
    feature_names: tuple[str, ...],
    action_names: Sequence[str],
    used: Sequence[int],
    accepted: bool,
    fallback: str,
) -> Restored:
    """Return what is known of a sample that begins with an episode.

    Args:
        origin: where that episode is from; None for one that was not imported.
        num_steps: T of what is to be written.
        feature_names: of the dataset.
        action_names: of the dataset.
        used: numbers of the actions that are used.
        accepted: verdict on the episodes.
        fallback: name of the archive where none is known.
    """
    if origin is None:
        entry = ManifestEntry(sample=fallback, accepted=None if accepted else False)
        return Restored(entry=entry, feature_names=feature_names)
    is_whole = origin.offset == 0 and num_steps == origin.num_steps
    is_end = origin.offset + num_steps == origin.num_steps
    common: dict[str, Any] = {
        "flat": tuple(name for name in origin.flat if name in ("map", "features")),
        "map_shape": tuple(origin.map_shape) if len(origin.map_shape) == 3 and 0 in origin.map_shape else (),
        "is_end": is_end,
        "bootstrap": None if origin.bootstrap is None else float(origin.bootstrap),
    }
    entry = _entry(origin, accepted=accepted)
    if not is_whole:
        path = PurePosixPath(origin.sample)
        name = str(path.with_name(f"{path.stem}_{origin.offset:06d}.npz")) if path.name else fallback
        entry = ManifestEntry(sample=name, agent_id=entry.agent_id, accepted=entry.accepted)
    if origin.metadata is None:
        return Restored(entry=entry, feature_names=feature_names, **common)
    names = _features(origin.metadata, feature_names)
    return Restored(
        entry=entry,
        feature_names=names,
        is_whole=is_whole,
        metadata=origin.metadata | {"feature_names": list[JsonValue](names)},
        ids=_ids(origin.metadata, origin.sample, action_names, used),
        **common,
    )


def _features(metadata: Mapping[str, Any], feature_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sample's names in their order, less those that the dataset has not."""
    original = metadata.get("feature_names")
    known = [name for name in original if name in feature_names] if isinstance(original, list) else []
    return tuple(known) if set(known) == set(feature_names) and len(known) == len(feature_names) else feature_names


def _entry(origin: Origin, *, accepted: bool) -> ManifestEntry:
    """Return what the manifest said, with today's verdict."""
    entry = ManifestEntry(sample=origin.sample)
    if origin.entry is not None:
        entry = parse_legacy_manifest([origin.entry], Path(origin.sample)).samples[0]
    verdict = entry.accepted if (entry.accepted is not False) == accepted else accepted
    return replace(entry, sample=origin.sample, dto=None, accepted=verdict)


def _ids(
    metadata: Mapping[str, Any], sample: str, action_names: Sequence[str], used: Sequence[int]
) -> dict[int, int] | None:
    """Return the sample's ids of the actions that are used; None where one of them is not the sample's."""
    try:
        table = {name: number for number, name in read_lookup(metadata.get("action_lookup"), Path(sample)).items()}
    except DatasetError:
        return None
    unlisted = f"{UNLISTED}{sample.removesuffix('.npz')}:"
    ids = {}
    for place in used:
        name = action_names[place] if 0 <= place < len(action_names) else ""
        own = name.removeprefix(unlisted) if name.startswith(unlisted) else ""
        number = table.get(name, int(own) if own.isascii() and own.isdigit() and len(own) < 19 else -1)
        if number < 0:
            return None
        ids[place] = number
    return ids
