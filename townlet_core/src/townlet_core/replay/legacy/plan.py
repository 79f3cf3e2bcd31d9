"""What samples of the earlier format have in common, found before any is converted: features, map, actions, agents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.errors import DatasetError, UsageError, suggestion
from townlet_core.replay.legacy.sample import REQUIRED
from townlet_core.replay.legacy.vocabulary import Vocabulary, file_actions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.replay.legacy.manifest import ManifestEntry
    from townlet_core.replay.legacy.opening import LegacyDataset
    from townlet_core.replay.legacy.sample import LegacySample

Features = Literal["shared"] | Sequence[str]
_MAX_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What the samples have in common.

    Attributes:
        feature_names: the columns that are kept, in their order.
        map_shape: (C, H, W) of every sample; () without maps.
        vocabulary: every action.
        agents: agent ids, in the order of their numbers.
        groups: number of the world-episode that each sample is from.
        sample_digests: SHA-256 of each sample's files.
        has_bootstrap: whether the value after the end is known wherever one is needed.
        notes: what the user should know, one line each.
    """

    feature_names: tuple[str, ...]
    map_shape: tuple[int, ...]
    vocabulary: Vocabulary
    agents: tuple[str, ...]
    groups: tuple[int, ...]
    sample_digests: tuple[str, ...]
    has_bootstrap: bool
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Stands for the bytes of all samples."""
        return hashlib.sha256("\n".join(self.sample_digests).encode()).hexdigest()


def plan_import(
    legacy: LegacyDataset,
    *,
    features: Features = "shared",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportPlan:
    """Read every sample once, and return what they have in common; arguments and errors as for `import_legacy`."""
    if features != "shared":
        _check_choice(features)
    vocabulary, agents, digests, worlds = Vocabulary(), set[str](), list[str](), list[tuple[object, ...]]()
    counts, surplus = Counter[str](), Counter[str]()
    first: LegacySample | None = None
    has_bootstrap = True
    for index, entry in enumerate(legacy.manifest.samples):
        sample = legacy.load(index, names=("actions", "dones"))
        _require_trainable(sample)
        first = first or sample
        _require_same_map(first, sample)
        if features != "shared":
            _require_features(sample, features)
        counts.update(sample.feature_names)
        surplus.update(name for name in sample.shapes if name not in REQUIRED)
        lookup = sample.metadata.get("action_lookup")
        actions = file_actions(lookup, sample.steps["actions"], name=sample.name, path=sample.path)
        vocabulary.add(actions, sample.name)
        agents.add(agent_of(sample, entry))
        worlds.append(_world(sample))
        digests.append(sample.sha256)
        is_over = bool(sample.steps["dones"][-1])
        has_bootstrap &= is_over or sample.shapes["value_preds"][0] > sample.num_steps
        if on_progress is not None:
            on_progress(index + 1, 2 * len(legacy))
    assert first is not None  # a manifest has at least one sample
    shared = tuple(name for name in first.feature_names if counts[name] == len(legacy))
    chosen = shared if features == "shared" else tuple(features)
    groups, about_groups = _groups(worlds, [sample.path for sample in legacy.files])
    left_out = sorted(counts.keys() - set(chosen)) if features == "shared" else []
    return ImportPlan(
        feature_names=chosen,
        map_shape=first.map_shape,
        vocabulary=vocabulary,
        agents=tuple(sorted(agents, key=_natural)),
        groups=groups,
        sample_digests=tuple(digests),
        has_bootstrap=has_bootstrap,
        notes=(
            *_about_features(left_out, chosen),
            *_about_actions(vocabulary),
            *_about_arrays(sorted(surplus)),
            *about_groups,
        ),
    )


def agent_of(sample: LegacySample, entry: ManifestEntry) -> str:
    """Return whose steps a sample has; an empty text where nothing says it."""
    agent = sample.metadata.get("agent_id")
    return agent if isinstance(agent, str) else entry.agent_id or ""


def capture_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the metadata of a sample says about the capture; empty where it says nothing."""
    capture = metadata.get("capture_metadata")
    return capture if isinstance(capture, dict) else {}


def seed_of(metadata: Mapping[str, Any]) -> int | None:
    """Return the seed of a capture, if it is one that a dataset can have."""
    seed = capture_of(metadata).get("seed")
    return seed if type(seed) is int and 0 <= seed < 2**63 else None


def _natural(agent: str) -> tuple[str, int, str]:
    """Sort `agent_10` behind `agent_9`."""
    digits = agent[len(agent.rstrip("0123456789")) :]
    number = int(digits) if digits.isascii() and 0 < len(digits) < 19 else -1
    return agent[: len(agent) - len(digits)], number, agent


def _world(sample: LegacySample) -> tuple[object, ...]:
    """Return what tells the world-episode of a sample from others; without a seed, only the file does."""
    seed = seed_of(sample.metadata)
    if seed is None:
        return (sample.path,)
    capture = capture_of(sample.metadata)
    return (seed, *(str(capture.get(name)) for name in ("scenario_name", "config_id", "policy_hash")))


def _groups(worlds: Sequence[tuple[object, ...]], paths: Sequence[Path]) -> tuple[tuple[int, ...], list[str]]:
    """Return the number of each sample's world-episode, and what is to be said about that.

    Agents of one world are not independent, so that they belong into the same part of a split. Where that would leave
    one part only, each file counts as a world of its own.
    """
    notes = []
    if len(set(worlds)) == 1 and len(set(paths)) > 1:
        worlds = [(path,) for path in paths]
        notes.append(
            f"all {len(set(paths))} samples are from one world-episode: each counts as one of its own, so figures on "
            "held-out samples are better than on another day"
        )
    number: dict[tuple[object, ...], int] = {}
    return tuple(number.setdefault(world, len(number)) for world in worlds), notes


def _check_choice(features: Sequence[str]) -> None:
    if isinstance(features, str) or not features:
        raise UsageError(f"features must be 'shared' or a list of names, not {features!r}")
    if len(set(features)) < len(features):
        twice = next(name for name in features if list(features).count(name) > 1)
        raise UsageError(f"the feature '{twice}' is asked for twice")


def _require_trainable(sample: LegacySample) -> None:
    if not sample.is_trainable:
        raise DatasetError(
            f"{sample.path} has observations only: it can be inspected, not trained on; leave it out of the manifest"
        )


def _require_same_map(first: LegacySample, sample: LegacySample) -> None:
    if sample.map_shape == first.map_shape:
        return
    words = [
        f"no map in {it.name}" if not it.map_shape else f"a map of {it.map_shape} in {it.name}"
        for it in (first, sample)
    ]
    raise DatasetError(
        f"{sample.path}: samples of different maps cannot stand in one dataset: {' and '.join(words)}; import them "
        "from a manifest of their own"
    )


def _require_features(sample: LegacySample, features: Sequence[str]) -> None:
    for name in features:
        if name not in sample.feature_names:
            hint = suggestion(name, sample.feature_names)
            raise DatasetError(f"{sample.path} has no feature '{name}'{hint}; choose names that every sample has")


def _about_features(left_out: Sequence[str], chosen: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    return [f"{len(chosen)} features are kept; {len(left_out)} are left out: {_listed(left_out)}"]


def _about_actions(vocabulary: Vocabulary) -> list[str]:
    if not vocabulary.unlisted:
        return []
    places = [f"{name} ({', '.join(map(str, ids[:_MAX_LISTED]))})" for name, ids in vocabulary.unlisted.items()]
    count = sum(map(len, vocabulary.unlisted.values()))
    return [f"{count} action ids are named by no table, and kept as actions of their own: {_listed(places)}"]


def _about_arrays(surplus: Sequence[str]) -> list[str]:
    return [f"arrays that are no part of the format are left out: {_listed(surplus)}"] if surplus else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (f" and {len(names) - _MAX_LISTED} more" * (len(names) > _MAX_LISTED))
