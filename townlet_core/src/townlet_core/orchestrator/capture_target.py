"""What a capture writes to: the dataset, what it says of where its episodes are from, and which seeds are free."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

from townlet_core import randomness
from townlet_core.errors import UsageError
from townlet_core.orchestrator.experiment import scenario_digest
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.schema import Source
from townlet_core.replay.writer import DEFAULT_SHARD_BYTES, DatasetWriter
from townlet_core.spaces import space_to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.config.root import SimulationConfig
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.artefact import PolicyArtefact

_DIGEST = re.compile(r"[0-9a-f]{64}")


def capture_seeds(seed: int, used: Collection[int] = ()) -> Iterator[int]:
    """Yield seeds drawn from `seed` without end: none twice, and none of `used`."""
    seen = set(used)
    for index in count():
        (drawn,) = randomness.integer_seed(randomness.key(seed, "capture", index))
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def capture_source(
    config: SimulationConfig, *, policy: str, artefact: PolicyArtefact | None, deterministic: bool
) -> Source:
    """Return what the dataset says of where its episodes are from.

    Args:
        config: of one world; see `Source.environment_config`.
        policy: who acts, in words.
        artefact: what acts, unless it is a script.
        deterministic: whether the most likely action is taken.
    """
    said = "" if artefact is None else artefact.document.provenance.config_digest
    return Source(
        kind="capture",
        **environment_of(config.environment),
        scenario_digest=scenario_digest(config),
        policy=policy,
        policy_digest="" if artefact is None else artefact.digest,
        config_digest=said if _DIGEST.fullmatch(said) else "",
        deterministic=deterministic,
    )


def environment_of(config: EnvironmentConfig) -> dict[str, Any]:
    """Return the fields of a `Source` that say what environment it is."""
    return {
        "environment": config.name or "",
        "environment_config": config.model_dump(mode="json"),
        "scenario": config.scenario if config.name == "town" else "",
    }


def recorded_seeds(path: Path) -> tuple[set[int], int]:
    """Return the seeds of a dataset's episodes, and the number of the first world-episode that is free."""
    seeds, free = set(), 0
    for shard in Dataset(path).shards:
        for entry in shard.entries():
            free = max(free, entry.group + 1)
            if entry.seed is not None:
                seeds.add(entry.seed)
    return seeds, free


def open_writer(
    path: Path,
    environment: VectorEnvironment,
    *,
    event_kinds: tuple[str, ...],
    append: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> DatasetWriter:
    """Return a writer for what is recorded in `environment`.

    Raises:
        MissingInputError: there is no dataset to go on with.
        UsageError: something else is there, or a dataset of other spaces.
    """
    if not append:
        return DatasetWriter(
            path,
            observation_spaces=environment.observation_spaces,
            action_space=environment.action_space,
            action_names=environment.action_names,
            feature_names=environment.feature_names,
            event_kinds=event_kinds,
            shard_bytes=shard_bytes,
        )
    manifest = Dataset(path).manifest
    spaces = {name: space_to_json(space) for name, space in environment.observation_spaces.items()}
    for what, there, here in (
        ("observations", manifest.observations, spaces),
        ("actions", manifest.action, space_to_json(environment.action_space)),
        ("action names", manifest.action_names, environment.action_names),
        ("feature names", manifest.feature_names, dict(environment.feature_names)),
        ("kinds of events", manifest.event_kinds, event_kinds),
    ):
        if there != here:
            raise UsageError(
                f"{path} was recorded with other {what} than environment '{environment.name}' has: {there} there, and "
                f"{here} here; record into a new directory"
            )
    return DatasetWriter.append(path, shard_bytes=shard_bytes)
