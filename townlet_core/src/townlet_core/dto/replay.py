"""What the replay service says of a dataset, a sample and a batch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase
from townlet_core.dto.dataset_summary import Spread


class ResolvedDataset(ResultBase):
    """What lies at a path; every file that it needs is there."""

    path: str = Field(description="What was named.")
    format: Literal["native", "legacy"] = Field(description="A dataset, or files of the earlier format.")
    form: Literal["dataset", "list", "wrapped", "curated", "capture", "catalogue", "sample"] = Field(
        description="Of the earlier format: a manifest of one of its three forms, the directory of a capture, a "
        "catalogue, or a single sample."
    )
    digest: str = Field(default="", description="Digest of a dataset; empty for the earlier format.")
    samples: int = Field(ge=1, description="Episodes of a dataset, samples of the earlier format.")
    accepted: int = Field(ge=0, description="Those of them that no curator has rejected.")
    notes: tuple[str, ...] = Field(default=(), description="What the user should know.")


class SampleSummary(ResultBase):
    """One episode of a dataset, or one sample of the earlier format."""

    name: str = Field(default="", description="What its manifest calls it.")
    agent_steps: int = Field(ge=0, description="Rows.")
    trainable: bool = Field(default=True, description="Whether it has more than observations.")
    shapes: dict[str, tuple[int, ...]] = Field(description="Shape of each column.")
    metrics: dict[str, float] = Field(description="Its metrics, by the names of the earlier format.")


class BatchSummary(ResultBase):
    """Rows of a dataset."""

    rows: int = Field(ge=0, description="Rows.")
    columns: dict[str, Spread] = Field(description="How the numbers of each column are distributed.")
    action_entropy: float | None = Field(description="Entropy of whole-number actions [nats]; None for others.")


class LegacyShape(ResultBase):
    """Samples that can stand in one batch."""

    samples: int = Field(ge=1, description="Samples.")
    features: int = Field(ge=0, description="Number of features, which are matched by name.")
    map_shape: tuple[int, ...] = Field(description="Channels, height and width of the map; empty without one.")


class LegacySummary(ResultBase):
    """What is in files of the earlier format."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    format: Literal["legacy"] = Field(default="legacy", description="What kind of files these are.")
    path: str = Field(description="What was named.")
    form: str = Field(description="As in `ResolvedDataset`.")
    samples: int = Field(ge=1, description="Samples.")
    rejected: int = Field(ge=0, description="Samples that a curator has rejected: in no metric below.")
    observation_only: int = Field(ge=0, description="Samples that can be inspected and not trained on.")
    agent_steps: int = Field(ge=0, description="Steps of all samples.")
    shapes: tuple[LegacyShape, ...] = Field(description="Samples by shape.")
    actions: dict[str, int] = Field(description="How often each action was taken, by its JSON.")
    unlisted: dict[str, tuple[int, ...]] = Field(description="Ids that a file uses and does not name, by file.")
    metrics: dict[str, float] = Field(description="Metrics of the samples that can be trained on, joined.")
    recorded_metrics: dict[str, float] = Field(
        description="The same from the capture's own metrics file; may be empty."
    )
    notes: tuple[str, ...] = Field(description="What the user should know.")
