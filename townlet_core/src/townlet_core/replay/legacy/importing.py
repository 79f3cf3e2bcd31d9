"""From the earlier format to a native dataset: an episode from each done of a sample to the next.

The files are read twice, one at a time: once for what they have in common, and once to be written.

Legend: T steps of a sample, F features, C, H, W map channels and window.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import DatasetError, TownletWarning
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.files import dataset_guard
from townlet_core.replay.legacy.opening import open_legacy
from townlet_core.replay.legacy.origin import Origin, bootstrap_text
from townlet_core.replay.legacy.plan import agent_of, capture_of, plan_import, seed_of
from townlet_core.replay.legacy.sample import ROW_AXES
from townlet_core.replay.legacy.vocabulary import file_actions, renumbered
from townlet_core.replay.schema import Source
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DEFAULT_SHARD_BYTES, DatasetWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.replay.legacy.opening import LegacyDataset
    from townlet_core.replay.legacy.plan import Features, ImportPlan
    from townlet_core.replay.legacy.sample import LegacySample

FEATURES, MAP = "observation.features", "observation.map"
START_STEP = "start_step"
_DIGEST = re.compile(r"[0-9a-f]{64}")
LEGACY_FORMAT = "legacy"


def import_legacy(
    path: Path,
    out: Path,
    *,
    features: Features = "shared",
    roots: Sequence[Path] = (),
    dataset: str | None = None,
    working_dir: Path = Path(),
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Write samples of the earlier format as a native dataset.

    A sample gives an episode for each stretch that ends in a done; samples of the same seed, scenario, configuration
    and policy are of one world-episode, those of one agent in it one after the other. What cannot be kept in columns is
    kept in the episodes' metadata. What the user should know, such as ids that no table names, is a `TownletWarning`.

    Args:
        path: as for `open_legacy`, like `roots`, `dataset` and `working_dir`.
        out: directory of the dataset: new, or empty.
        features: the features that all samples share, or names that all have to have.
        roots: further directories that files may lie in.
        dataset: name of the data set in a catalogue.
        working_dir: where relative names are looked for last.
        shard_bytes: as for `DatasetWriter`.
        on_progress: called with (files read, files to read); every file is read twice.

    Raises:
        MissingInputError: there is nothing at `path`.
        DatasetError: a file is damaged or missing, or the files do not fit together.
        UsageError: `out` is not empty, or the data set has to be named.
        StorageError: the system refused a write.
    """
    legacy = open_legacy(path, roots=roots, dataset=dataset, working_dir=working_dir)
    plan = plan_import(legacy, features=features, on_progress=on_progress)
    for note in (*legacy.notes, *plan.notes):
        warnings.warn(note, TownletWarning, stacklevel=2)
    names = plan.vocabulary.names
    observations = {FEATURES: spaces.Box(-np.inf, np.inf, (len(plan.feature_names),), np.float32)}
    if plan.map_shape:
        observations[MAP] = spaces.Box(-np.inf, np.inf, plan.map_shape, np.float32)
    with DatasetWriter(
        out,
        observation_spaces=observations,
        action_space=spaces.Discrete(len(names)),
        action_names=names,
        feature_names={FEATURES: plan.feature_names},
        shard_bytes=shard_bytes,
    ) as writer:
        converter = _Converter(legacy, plan, writer)
        for index in range(len(legacy)):
            with dataset_guard(legacy.files[index].path):
                writer.extend(converter.trajectories(index))
            if on_progress is not None:
                on_progress(len(legacy) + index + 1, 2 * len(legacy))
    return Dataset(out)


class _Converter:
    """Samples in, episodes out."""

    def __init__(self, legacy: LegacyDataset, plan: ImportPlan, writer: DatasetWriter) -> None:
        self._legacy, self._plan, self._writer = legacy, plan, writer
        self._place = {name: place for place, name in enumerate(plan.vocabulary.names)}
        self._agents = {name: number for number, name in enumerate(plan.agents)}
        self._lives: dict[tuple[int, int], int] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._sources: dict[tuple[str, str], int] = {}

    def trajectories(self, index: int) -> Iterator[Trajectory]:
        """Yield the episodes of one sample.

        Raises:
            DatasetError: the file is not the one any more that the plan was made from.
        """
        sample, entry = self._legacy.load(index), self._legacy.manifest.samples[index]
        if sample.sha256 != self._plan.sample_digests[index]:
            raise DatasetError(f"{sample.path} has changed while it was read: import it again")
        steps, bootstrap = self._columns(sample)
        common: dict[str, Any] = {
            "group": self._plan.groups[index],
            "agent": self._agents[agent_of(sample, entry)],
            "seed": seed_of(sample.metadata),
            "source": self._source(sample.metadata),
            "accepted": entry.accepted is not False,
            "tags": _tags(sample.metadata),
        }
        whole = Origin(
            sample=sample.name,
            num_steps=sample.num_steps,
            flat=[name for name, axes in ROW_AXES.items() if len(sample.shapes[name]) == axes],
            map_shape=[] if sample.map_shape else list(sample.shapes["map"][-3:]),
            bootstrap=None if bootstrap is None else bootstrap_text(bootstrap),
            metadata=dict(sample.metadata),
            entry=entry.values(),
        )
        agent = (common["group"], common["agent"])
        start = max(self._ends.get(agent, 0), _start_step(sample.metadata))
        self._ends[agent] = start + sample.num_steps
        for begin, end in _stretches(steps["terminations"]):
            life = self._lives[agent] = self._lives.get(agent, -1) + 1
            is_over = bool(steps["terminations"][end - 1])
            value = np.float32(0.0 if is_over or bootstrap is None else bootstrap)
            yield Trajectory(
                steps={name: column[begin:end] for name, column in steps.items()},
                final={"bootstrap_values": np.asarray(value)} if self._plan.has_bootstrap else {},
                ending="terminated" if is_over else "cut",
                life=life,
                start_step=start + begin,
                metadata=whole.piece(begin).to_metadata(),
                **common,
            )

    def _columns(self, sample: LegacySample) -> tuple[dict[str, Array], float | None]:
        """Return the columns of a sample, (T, ...), and the value after its end; None if that is unknown."""
        arrays, num_steps = sample.steps, sample.num_steps
        actions = file_actions(
            sample.metadata.get("action_lookup"), arrays["actions"], name=sample.name, path=sample.path
        )
        column = {name: place for place, name in enumerate(sample.feature_names)}
        wanted = [column[name] for name in self._plan.feature_names]
        steps = {
            FEATURES: arrays["features"][:, wanted],
            "actions": renumbered(arrays["actions"], actions.names, self._place),
            "rewards": arrays["rewards"],
            "terminations": arrays["dones"],
            "truncations": np.zeros(num_steps, np.bool_),
            "log_probs": arrays["old_log_probs"],
            "values": arrays["value_preds"][:num_steps],
        }
        if self._plan.map_shape:
            steps[MAP] = arrays["map"]
        return steps, float(arrays["value_preds"][-1]) if len(arrays["value_preds"]) > num_steps else None

    def _source(self, metadata: Mapping[str, Any]) -> int:
        capture = capture_of(metadata)
        scenario = _text(capture.get("scenario_name")) or _text(metadata.get("scenario"))
        policy = _text(capture.get("policy_hash"))
        if (scenario, policy) not in self._sources:
            is_digest = _DIGEST.fullmatch(policy) is not None
            self._sources[scenario, policy] = self._writer.add_source(
                Source(
                    kind="import",
                    format=LEGACY_FORMAT,
                    scenario=scenario,
                    path=_text(str(self._legacy.path)),
                    sha256=self._plan.sha256,
                    policy="" if is_digest else policy,
                    policy_digest=policy if is_digest else "",
                )
            )
        return self._sources[scenario, policy]


def _stretches(dones: Array) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each episode; the last may end without a done."""
    begin = 0
    for end in (*(np.flatnonzero(dones) + 1).tolist(), len(dones)):
        if end > begin:
            yield begin, end
        begin = end


def _start_step(metadata: Mapping[str, Any]) -> int:
    """Return the step of the world-episode that a sample begins with, which samples of a native dataset say."""
    start = metadata.get(START_STEP)
    return start if type(start) is int and 0 <= start < 2**40 else 0


def _text(value: Any) -> str:
    """Return a text that is no longer than those of a dataset; an empty one for anything else."""
    return value if isinstance(value, str) and len(value) <= 4096 else ""


def _tags(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags that are words; whatever else stands there is kept in the metadata only."""
    tags = metadata.get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str) and len(tag) <= 256) if isinstance(tags, list) else ()
