"""Minari out: each trajectory becomes an episode, written by Minari itself.

Legend: R steps of an episode, E episodes, K actions.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.checkpoint.atomic import delete_tree
from townlet_core.checkpoint.filesystem import DISK, storage_guard
from townlet_core.errors import DatasetError, UsageError
from townlet_core.replay.minari.description import missing_extra
from townlet_core.replay.minari.origin import Origin
from townlet_core.replay.schema import FINAL_PREFIX
from townlet_core.spaces import OBSERVATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.schema import EpisodeEntry
    from townlet_core.replay.trajectory import Trajectory

MASK, BOOTSTRAP = "action_mask", "bootstrap_values"
_ENDS = ("terminations", "truncations")
_BATCH_BYTES = 32 << 20
_BATCH_EPISODES = 1000
_ID = re.compile(r"(?:[-_\w]+/)*[-_\w]+-v\d+")


def export_minari(
    dataset: Dataset,
    out: Path,
    *,
    dataset_id: str | None = None,
    description: str = "",
    on_progress: Callable[[int, int], None] | None = None,
    on_verify: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a dataset as a Minari dataset that `minari.MinariDataset` reads, and `import_minari` takes back as it was.

    Several observations become a Dict space keyed by what stands behind `observation.`; `action_mask`, `log_probs` and
    `values` go into `infos` with a last row for the final observation (all allowed, or 0). What Minari has no place
    for lies in the attribute `townlet` of the episode.

    Args:
        dataset: what is written; every episode needs its final observation.
        out: the new directory; the files lie in `out/data`, as in Minari's own storage.
        dataset_id: `(namespace/)name-vN`; None makes one from the name of `out`.
        description: for people.
        on_progress: called with (episodes done, E).
        on_verify: called with (bytes verified, bytes in all) before that.

    Returns:
        `out/data`.

    Raises:
        DatasetError: the dataset is damaged, has no final observations or no rewards, or names that HDF5 cannot have.
        UnavailableError: the extra `minari` is not installed.
        UsageError: something else is in `out`, or the id is none.
        StorageError: the system refused; there is no `out` then.
    """
    dataset_id = _checked_id(out, dataset_id)
    observation = _observation_space(dataset)
    if out.exists() and (not out.is_dir() or next(out.iterdir(), None) is not None):
        raise UsageError(f"{out} is not empty: choose another directory for the dataset")
    dataset.require_intact(on_verify)  # what is damaged must not come back with new digests
    # Minari looks for the files of a relative path below that path.
    temporary = out.resolve().with_name(f".{out.name}.{os.getpid()}.tmp")
    with storage_guard("write", out):
        try:
            temporary.mkdir(parents=True)
            _write(dataset, temporary / "data", observation, dataset_id, description, on_progress)
            for path in (*(temporary / "data").iterdir(), temporary / "data", temporary):
                _sync(path)
            DISK.rename(temporary, out)
            DISK.sync_directory(temporary.parent)
        except BaseException:
            if temporary.exists():
                delete_tree(temporary)
            raise
    return out / "data"


def _checked_id(out: Path, dataset_id: str | None) -> str:
    if dataset_id is None:
        name = re.sub(r"[^-_\w]+", "-", out.resolve().name)
        dataset_id = name if _ID.fullmatch(name) else f"{name}-v0"
    if not _ID.fullmatch(dataset_id):
        raise UsageError(f"'{dataset_id}' is not the id of a Minari dataset: expected (namespace/)name-v0")
    return dataset_id


def _observation_space(dataset: Dataset) -> spaces.Space[Any]:
    finals, leaves = dataset.manifest.along("episode"), dataset.manifest.observation_spaces
    for name in leaves:
        if FINAL_PREFIX + name not in finals:
            raise DatasetError(
                f"{dataset.path} has no column '{FINAL_PREFIX}{name}': Minari keeps what was seen after the last step, "
                "and this dataset was recorded without it"
            )
    steps = dataset.manifest.along("step")
    if "rewards" not in steps:
        raise DatasetError(f"{dataset.path} has no rewards, and Minari cannot be without them")
    if list(leaves) == [OBSERVATION]:
        return leaves[OBSERVATION]
    for name in (*map(_key, leaves), *_info_columns(steps)):
        if "/" in name or name in (".", ""):
            raise DatasetError(f"{dataset.path}: '{name}' cannot be a name in an HDF5 file")
    return spaces.Dict([(_key(name), leaf) for name, leaf in leaves.items()])


def _key(name: str) -> str:
    return name.removeprefix(f"{OBSERVATION}.")


def _info_columns(steps: Mapping[str, Any]) -> tuple[str, ...]:
    known = {"actions", "rewards", *_ENDS}
    return tuple(name for name in steps if name not in known and name.partition(".")[0] != OBSERVATION)


def _write(
    dataset: Dataset,
    path: Path,
    observation: spaces.Space[Any],
    dataset_id: str,
    description: str,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    try:
        import minari
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise missing_extra(error) from error
    # JPEG would lose bits; with both spaces given, no environment is asked.
    storage = MinariStorage.new(path, observation, dataset.manifest.action_space, jpeg_encoding=False)
    source = dataset.manifest.sources[0] if dataset.manifest.sources else None
    about: dict[str, Any] = {"dataset_id": dataset_id, "minari_version": minari.__version__}
    if source is not None and source.policy:
        about["algorithm_name"] = source.policy
    if description:
        about["description"] = description
    storage.update_metadata(about)
    done = 0
    for batch in _batches(dataset, is_plain=not isinstance(observation, spaces.Dict)):
        storage.update_episodes([buffer for buffer, _ in batch])
        storage.update_episode_metadata([attributes for _, attributes in batch], range(done, done + len(batch)))
        done += len(batch)
        if on_progress is not None:
            on_progress(done, dataset.num_episodes)


def _batches(dataset: Dataset, *, is_plain: bool) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Yield episodes, some at a time: Minari opens its file anew for each call."""
    batch, num_bytes = [], 0
    for number, (entry, trajectory) in enumerate(dataset.trajectories()):
        try:
            batch.append(_episode(entry, trajectory, number, is_plain=is_plain))
        except (AttributeError, TypeError, ValueError) as error:
            raise DatasetError(f"{dataset.path}: episode {number}: metadata 'minari' is damaged: {error}") from error
        num_bytes += sum(column.nbytes for column in trajectory.steps.values())
        if num_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_EPISODES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _episode(entry: EpisodeEntry, trajectory: Trajectory, number: int, *, is_plain: bool) -> tuple[Any, dict[str, Any]]:
    """Return Minari's buffer of an episode, and the attributes that go with it."""
    from minari.data_collector import EpisodeBuffer

    observations = {
        _key(name): np.concatenate([array, np.asarray(trajectory.final[FINAL_PREFIX + name])[None]])
        for name, array in trajectory.steps.items()
        if name.partition(".")[0] == OBSERVATION
    }
    came_with: Any = entry.metadata.get("minari", {})
    columns = _info_columns(trajectory.steps)
    infos = _arrays(came_with.get("infos", {}))
    infos |= {name: _with_last_row(name, trajectory.steps[name], came_with) for name in columns}
    bootstrap = trajectory.final.get(BOOTSTRAP)
    origin = Origin.of(entry, columns=columns, bootstrap_value=None if bootstrap is None else float(bootstrap))
    attributes = dict(came_with.get("attributes", {}))
    buffer = EpisodeBuffer(
        id=number,
        seed=entry.seed,
        observations=observations[OBSERVATION] if is_plain else observations,
        actions=trajectory.steps["actions"],
        rewards=trajectory.steps["rewards"],
        infos=infos,
        **dict(zip(_ENDS, _ends(trajectory), strict=True)),
    )
    return buffer, {**attributes, **origin.attributes()}


def _ends(trajectory: Trajectory) -> tuple[Array, Array]:
    """Return terminations and truncations, (R,) each, from the ending where they were not recorded."""
    made = []
    for name, ending in zip(_ENDS, ("terminated", "truncated"), strict=True):
        flags = np.zeros(trajectory.num_steps, np.bool_)
        flags[-1] = trajectory.ending == ending
        made.append(trajectory.steps.get(name, flags))
    return made[0], made[1]


def _with_last_row(name: str, column: Array, came_with: Mapping[str, Any]) -> Array:
    last = np.full((1, *column.shape[1:]), name == MASK, column.dtype)
    if name == MASK and came_with.get("final_action_mask"):
        last = np.asarray(came_with["final_action_mask"], column.dtype).reshape(last.shape)
    return np.concatenate([column, last])


def _arrays(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return `infos` as Minari wants them: nested dicts of arrays, and of lists of text."""
    made: dict[str, Any] = {}
    for name, value in infos.items():
        is_text = isinstance(value, list) and all(isinstance(item, str) for item in value)
        made[name] = _arrays(value) if isinstance(value, dict) else value if is_text else np.asarray(value)
    return made


def _sync(path: Path) -> None:
    if path.is_dir():
        DISK.sync_directory(path)
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        DISK.sync(descriptor)
    finally:
        os.close(descriptor)
