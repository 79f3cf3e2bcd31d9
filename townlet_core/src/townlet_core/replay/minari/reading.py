"""Minari in: each episode of the file becomes a trajectory, one after the other.

Legend: R steps of an episode, E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import ConfigError, DatasetError, UsageError
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.minari.description import (
    DATA_NAME,
    METADATA_NAME,
    Metadata,
    data_directory,
    digest_of,
    parse_space,
    read_metadata,
)
from townlet_core.replay.minari.hdf5 import is_picture, leaf_nodes, open_episode, opened, told
from townlet_core.replay.minari.origin import Origin
from townlet_core.replay.minari.values import (
    MAX_INFO_MEMBERS,
    MAX_INFO_VALUES,
    counted,
    plain_attributes,
    plain_infos,
    typed,
)
from townlet_core.replay.schema import FINAL_PREFIX, Source
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DEFAULT_SHARD_BYTES, DatasetWriter
from townlet_core.spaces import action_count, flatten_action_space, flatten_space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pydantic import JsonValue

    from townlet_core.arrays import Array
    from townlet_core.replay.minari.hdf5 import Node
    from townlet_core.replay.trajectory import Ending

MASK = "action_mask"
_BOOL, _FLOAT = np.dtype(np.bool_), np.dtype(np.float32)
_MAX_SEED = 2**64 - 1


def import_minari(
    source: Path | str,
    out: Path,
    *,
    action_names: Sequence[str] = (),
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Write a Minari dataset as a native one; what is trusted of it is said in the package's docstring.

    Observations and actions become what policies see (floats float32, numbers counted from 0), rewards float32. An
    `action_mask` that every episode has in its `infos` becomes that column. The other `infos` and the attributes of an
    episode are kept in its `metadata["minari"]` where JSON can hold them and they are short; what is not kept is
    listed there.

    Args:
        source: the dataset's directory, or the id of one in Minari's local storage.
        out: the new directory.
        action_names: what the numbers of a Discrete action mean; Minari does not say.
        shard_bytes: as `DatasetWriter`.
        on_progress: called with (episodes done, E).

    Raises:
        MissingInputError: there is no such dataset.
        DatasetError: it is damaged, hostile, or of spaces that no policy can have; what was read before stays in `out`.
        UsageError: something else is in `out`, or there are not as many `action_names` as actions.
        StorageError: the system refused.
    """
    directory = data_directory(source)
    metadata = read_metadata(directory)
    spaces_ = _Spaces.of(directory / METADATA_NAME, metadata)
    _check_action_names(action_names, spaces_.action)
    origin = Source(
        kind="import",
        format="minari",
        path=str(source),
        sha256=digest_of(directory),
        environment=metadata.environment,
        policy=(metadata.algorithm_name or "")[:4096],
    )
    with opened(directory / DATA_NAME) as file:
        reader = _Reader(file, directory / DATA_NAME, spaces_, jpeg_encoding=metadata.jpeg_encoding)
        count = metadata.total_episodes
        has_masks = count > 0 and all(reader.has_mask(number) for number in range(count))
        with DatasetWriter(
            out,
            observation_spaces=spaces_.leaves,
            action_space=spaces_.action,
            action_names=action_names,
            sources=[origin],
            shard_bytes=shard_bytes,
        ) as writer:
            for number in range(count):
                writer.add(reader.trajectory(number, has_masks=has_masks))
                if on_progress is not None:
                    on_progress(number + 1, count)
    return Dataset(out)


def _check_action_names(names: Sequence[str], action: spaces.Space[Any]) -> None:
    wanted = int(action.n) if isinstance(action, spaces.Discrete) else 0
    if names and len(names) != wanted:
        what = f"{wanted} actions" if wanted else f"the actions {action}, which have no names"
        raise UsageError(f"--action-names (action_names=[...] in Python) gives {len(names)} names for {what}")


@dataclass(frozen=True, slots=True)
class _Spaces:
    """The spaces of a dataset: as the environment had them, and as policies see them."""

    observation: spaces.Space[Any]
    original_action: spaces.Space[Any]
    leaves: dict[str, spaces.Space[Any]]
    action: spaces.Space[Any]

    @classmethod
    def of(cls, path: Path, metadata: Metadata) -> _Spaces:
        observation = parse_space(metadata.observation_space, path, "observation_space")
        action = parse_space(metadata.action_space, path, "action_space")
        try:
            return cls(observation, action, flatten_space(observation), flatten_action_space(action))
        except ConfigError as error:
            raise DatasetError(f"{path}: {error}") from error


class _Reader:
    """Reads the episodes of an open file."""

    def __init__(self, file: Any, path: Path, spaces_: _Spaces, *, jpeg_encoding: bool) -> None:
        self._file, self._path, self._spaces, self._jpeg = file, path, spaces_, jpeg_encoding

    def has_mask(self, number: int) -> bool:
        """Return whether the episode has an action mask for each of its steps."""
        with told(f"{self._path}: episode {number}"):
            episode = open_episode(self._file, self._path, number)
            if "infos" not in episode or MASK not in episode.child("infos"):
                return False
            mask, (rows, *_) = episode.child("infos").child(MASK), (*episode.child("rewards").shape, 0)
            width = action_count(self._spaces.action)
            return mask.is_numeric and width > 0 and mask.shape in {(rows, width), (rows + 1, width)}

    def trajectory(self, number: int, *, has_masks: bool) -> Trajectory:
        """Return one episode; raises `DatasetError`."""
        with told(f"{self._path}: episode {number}"):
            episode = open_episode(self._file, self._path, number)
            steps, final = self._steps(episode)
            attributes = episode.attributes()
            seed = _seed(attributes.get("seed"))
            origin = Origin.from_attributes(attributes, episode.place)
            if origin is not None:
                return _as_it_was(episode, origin, seed, steps, final)
            kept: dict[str, JsonValue] = {}
            left_out: list[JsonValue] = []
            if "infos" in episode:
                infos = episode.child("infos")
                if has_masks:
                    mask = infos.child(MASK).read() != 0
                    steps[MASK] = mask[: len(steps["actions"])]
                    kept["final_action_mask"] = mask[len(steps["actions"]) :].tolist()
                kept["infos"] = plain_infos(
                    infos, [MAX_INFO_VALUES, MAX_INFO_MEMBERS], left_out, without=MASK if has_masks else None
                )
            kept["infos_left_out"] = left_out
            kept["attributes"] = plain_attributes(attributes, without_seed=seed is not None)
            return Trajectory(
                steps=steps,
                final=final,
                ending=_ending(steps),
                group=number,
                seed=seed,
                metadata={"minari": {name: value for name, value in kept.items() if value}},
            )

    def _steps(self, episode: Node) -> tuple[dict[str, Array], dict[str, Array]]:
        rewards = episode.child("rewards")
        if len(rewards.shape) != 1 or not rewards.shape[0]:
            raise DatasetError(f"{rewards.place} has the shape {rewards.shape}, and (steps,) is expected")
        rows = rewards.shape[0]
        steps = {"rewards": typed(rewards.read(), _FLOAT, (rows,), rewards.place)}
        for name in ("terminations", "truncations"):
            node = episode.child(name)
            steps[name] = typed(node.read(), _BOOL, (rows,), node.place)
        final = {}
        found = leaf_nodes(self._spaces.observation, episode.child("observations"))
        for (name, leaf), (space, node) in zip(self._spaces.leaves.items(), found, strict=True):
            packed = self._jpeg and is_picture(space)
            raw = node.read_pictures(space.shape or ()) if packed else node.read()
            values = counted(raw, space, leaf, rows + 1, node.place)
            steps[name], final[FINAL_PREFIX + name] = values[:-1], values[-1]
        node = episode.child("actions")
        steps["actions"] = counted(node.read(), self._spaces.original_action, self._spaces.action, rows, node.place)
        return steps, final


def _seed(value: Any) -> int | None:
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _MAX_SEED else None


def _ending(steps: dict[str, Array]) -> Ending:
    if steps["terminations"][-1]:
        return "terminated"
    return "truncated" if steps["truncations"][-1] else "cut"


def _as_it_was(
    episode: Node, origin: Origin, seed: int | None, steps: dict[str, Array], final: dict[str, Array]
) -> Trajectory:
    """Return an episode that Townlet wrote, with all that it wrote."""
    for name in origin.columns:
        column = episode.child("infos").child(name).read()
        if len(column) != len(steps["actions"]) + 1:
            raise DatasetError(
                f"{episode.place}/infos/{name} has {len(column)} rows, and one more than steps is expected"
            )
        steps[name] = column[:-1]
    if origin.bootstrap_value is not None:
        final["bootstrap_values"] = np.asarray(origin.bootstrap_value, _FLOAT)
    fields = {name: getattr(origin, name) for name in Origin.model_fields if name not in ("columns", "bootstrap_value")}
    return Trajectory(steps=steps, final=final, seed=seed, **fields)
