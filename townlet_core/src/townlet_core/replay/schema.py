"""What a dataset says about itself: `dataset.json`, and `episodes.json` of every shard.

A dataset is a directory of shards. `dataset.json` names the shards with the SHA-256 of their manifests, and a shard's
manifest names its files with theirs, so that one digest, that of `dataset.json`, stands for every byte. Nothing in it
depends on the clock or on where it lies: equal recordings give equal bytes.

Legend: R rows (agent-steps), E episodes, V events.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator

from townlet_core.checkpoint.manifest import is_plain_name
from townlet_core.spaces import space_from_json, spaces_from_json

if TYPE_CHECKING:
    from gymnasium import spaces

DATASET_NAME, EPISODES_NAME = "dataset.json", "episodes.json"
MAX_DATASET_BYTES = 64 << 20
MAX_EPISODES_BYTES = 256 << 20
MAX_SHARD_BYTES = 4 << 30

OBSERVATION_PREFIX, FINAL_PREFIX = "observation", "final."
DType = Literal["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"]
DTYPES = get_args(DType)

Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Text = Annotated[str, Field(max_length=4096)]
Count = Annotated[int, Field(ge=0, le=2**53)]


def _finite(value: JsonValue) -> JsonValue:
    """Return a JSON value; raises `ValueError` for infinities and NaN, which parsers let pass and JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _finite(part)
    return value


Json = Annotated[JsonValue, AfterValidator(_finite)]


class Record(BaseModel):
    """Base of everything that is read from a file: strict, frozen, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ColumnSpec(Record):
    """One file of every shard.

    Attributes:
        name: `observation`, `observation.<leaf>`, `actions`, `action_mask`, `rewards`, `terminations`, `truncations`,
            `log_probs`, `values`; `final.<observation>` and `bootstrap_values` for an episode; `event.*` for an event.
        axis: what one row of it is.
        dtype: little-endian, as NumPy writes it.
        shape: of one row.
        file: plain name of the file in the shard's directory.
    """

    name: Annotated[str, Field(min_length=1, max_length=1024)]
    axis: Literal["step", "episode", "event"]
    dtype: DType
    shape: tuple[Annotated[int, Field(ge=0, le=2**31)], ...] = Field(max_length=16)
    file: Annotated[str, Field(pattern=r"^.*\.npy$")]

    @field_validator("file")
    @classmethod
    def _file_is_plain(cls, file: str) -> str:
        if not is_plain_name(file):
            raise ValueError(f"{file!r} is not a plain file name")
        return file

    @property
    def kind(self) -> np.dtype[Any]:
        """The type as NumPy knows it."""
        return np.dtype(self.dtype)


class Source(Record):
    """Where episodes are from; every episode names one by its place in the list.

    Attributes:
        kind: recorded by a capture, recorded while training, or taken from files of another format.
        environment: name of the environment; empty if unknown.
        environment_config: the resolved section `environment`, enough to build it again.
        scenario: name of the town's scenario.
        scenario_digest: SHA-256 of what the scenario says.
        policy: who acted, in words: `scripted`, `random`, a run's name.
        policy_digest: digest of the artefact that acted; empty for a script.
        config_digest: SHA-256 of the resolved configuration of the run that was recorded; empty outside of runs.
        deterministic: whether the most likely action was always taken.
        format: of the files that were imported, such as `minari`.
        path: where they lay.
        sha256: over their bytes.
    """

    kind: Literal["capture", "training", "import"]
    environment: Text = ""
    environment_config: dict[str, Json] = Field(default_factory=dict)
    scenario: Text = ""
    scenario_digest: Digest = ""
    policy: Text = ""
    policy_digest: Digest = ""
    config_digest: Digest = ""
    deterministic: bool | None = None
    format: Text = ""
    path: Text = ""
    sha256: Digest = ""


class Parent(Record):
    """A dataset that this one was made from.

    Attributes:
        path: where it lay.
        digest: its digest then.
        operation: what was done, such as `curate`.
        options: how.
    """

    path: Text
    digest: Digest
    operation: Text
    options: dict[str, Json] = Field(default_factory=dict)


class ShardEntry(Record):
    """One directory of column files.

    Attributes:
        name: of the directory.
        num_rows: R in it.
        num_episodes: E in it.
        num_events: V in it.
        num_bytes: of all its files together.
        sha256: of its `manifest.json`.
    """

    name: Annotated[str, Field(pattern=r"^shard-[0-9]{6,9}$")]
    num_rows: Count
    num_episodes: Annotated[int, Field(ge=1, le=2**40)]
    num_events: Count = 0
    num_bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DatasetManifest(Record):
    """The contents of `dataset.json`.

    Attributes:
        schema_version: version of this format; every earlier one stays readable.
        observations: flattened name -> leaf space of one agent, as JSON.
        action: its action space, as JSON.
        action_names: what the numbers of a Discrete action mean; empty if nobody knows.
        feature_names: observation name -> what its entries are called.
        event_kinds: what `event.kind` counts.
        columns: the files of every shard.
        sources: where episodes are from.
        parents: the datasets that this one was made from.
        shards: in the order of their rows.
        complete: False while it is being written, and after a writer was killed.
    """

    schema_version: Literal[1] = 1
    observations: dict[str, dict[str, Json]] = Field(min_length=1)
    action: dict[str, Json]
    action_names: tuple[Text, ...] = ()
    feature_names: dict[str, tuple[Text, ...]] = Field(default_factory=dict)
    event_kinds: tuple[Text, ...] = ()
    columns: tuple[ColumnSpec, ...] = Field(min_length=1, max_length=4000)
    sources: tuple[Source, ...] = ()
    parents: tuple[Parent, ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    complete: bool = False

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: tuple[ColumnSpec, ...]) -> tuple[ColumnSpec, ...]:
        for what, values in (("name", [c.name for c in columns]), ("file", [c.file.lower() for c in columns])):
            if len(set(values)) < len(values):
                raise ValueError(f"two columns have the same {what}")
        return columns

    @field_validator("shards")
    @classmethod
    def _shards_differ(cls, shards: tuple[ShardEntry, ...]) -> tuple[ShardEntry, ...]:
        if len({shard.name for shard in shards}) < len(shards):
            raise ValueError("two shards have the same name")
        return shards

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Flattened name -> leaf space; raises `ConfigError` where one is none."""
        return spaces_from_json(self.observations)

    @cached_property
    def action_space(self) -> spaces.Space[Any]:
        """Action space of one agent; raises `ConfigError` where it is none."""
        return space_from_json(self.action)

    def along(self, axis: str) -> dict[str, ColumnSpec]:
        """Return the columns of one axis by name."""
        return {column.name: column for column in self.columns if column.axis == axis}


class EpisodeEntry(Record):
    """One agent's episode (in the town: its life): consecutive rows of one shard.

    Attributes:
        num_steps: rows.
        group: number of the world-episode that it is part of; agents of one world are not independent, so splits and
            intervals go by this.
        seed: what the world-episode was drawn from, as world 0, episode 0; None if unknown.
        agent: slot.
        life: number of the life in that slot and world-episode, from 0.
        start_step: step of the world-episode before which the first row was seen.
        ending: the process ended, a time limit cut it, or the recording stopped before it was over.
        episode_return: sum of rewards.
        content: SHA-256 over observations, actions and rewards.
        source: place in the manifest's `sources`.
        split: name of the part that a split has put it in; empty for none.
        accepted: False for what a curator has rejected: kept, and not trained on.
        tags: free words.
        metadata: whatever else came with it.
    """

    num_steps: Annotated[int, Field(ge=1, le=2**40)]
    group: Count = 0
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    agent: Count = 0
    life: Count = 0
    start_step: Count = 0
    ending: Literal["terminated", "truncated", "cut"]
    episode_return: float
    content: Digest = ""
    source: Count = 0
    split: Annotated[str, Field(max_length=64)] = ""
    accepted: bool = True
    tags: tuple[Annotated[str, Field(max_length=256)], ...] = ()
    metadata: dict[str, Json] = Field(default_factory=dict)
