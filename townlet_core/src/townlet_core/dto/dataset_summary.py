"""What `replay summary` finds in a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase


class Histogram(ResultBase):
    """Counts of numbers in bins of equal width."""

    low: float = Field(description="Left edge of the first bin.")
    high: float = Field(description="Right edge of the last bin, which belongs to it.")
    counts: tuple[int, ...] = Field(description="Numbers in each bin.")


class Spread(ResultBase):
    """How numbers are distributed; of no numbers, everything but `count` is None."""

    count: int = Field(ge=0, description="Finite numbers, which the others are of.")
    non_finite: int = Field(default=0, ge=0, description="Further numbers that are NaN or infinite.")
    mean: float | None = Field(default=None, description="Their mean.")
    std: float | None = Field(default=None, description="Their standard deviation (n in the denominator).")
    min: float | None = Field(default=None, description="The smallest.")
    max: float | None = Field(default=None, description="The largest.")
    histogram: Histogram | None = Field(default=None, description="Of all of them, or of a sample of rows.")


class Quartiles(Spread):
    """A spread that is known number by number."""

    q25: float | None = Field(default=None, description="A quarter lies below.")
    median: float | None = Field(default=None, description="Half lies below.")
    q75: float | None = Field(default=None, description="Three quarters lie below.")


class ColumnSpread(Spread):
    """One entry of a column, or a map as a whole."""

    column: str = Field(description="Name of the column.")
    index: int | None = Field(default=None, description="Place of the entry; None for all of them together.")
    name: str = Field(description="What it is called.")


class ActionShare(ResultBase):
    """One choice of a categorical action."""

    component: int = Field(ge=0, description="Which number of the action; 0 where it is only one.")
    action: int = Field(ge=0, description="The choice.")
    name: str = Field(description="What it means; its number if nobody knows.")
    count: int = Field(ge=0, description="Rows in which it was taken.")
    share: float = Field(ge=0, le=1, description="Share of the rows.")
    allowed: float | None = Field(
        default=None, description="Share of the rows whose mask allows it; None without masks."
    )


class PartCount(ResultBase):
    """How much of the dataset has something in common."""

    episodes: int = Field(ge=0, description="Episodes.")
    agent_steps: int = Field(ge=0, description="Their rows.")


class SourceCount(PartCount):
    """What came from one source."""

    kind: str = Field(description="capture, training or import.")
    environment: str = Field(description="Name of the environment; empty if unknown.")
    scenario: str = Field(description="Name of the scenario; empty if there is none.")
    variant: str = Field(description="What the town lets agents observe; empty elsewhere.")
    policy: str = Field(description="Who acted; empty if unknown.")
    policy_digest: str = Field(description="Digest of the artefact that acted; empty for a script.")
    deterministic: bool | None = Field(description="Whether the most likely action was always taken.")


class EventCount(ResultBase):
    """Events of one kind."""

    count: int = Field(ge=0, description="Recorded events.")
    value: float = Field(description="Sum of their values.")


class DatasetSummary(ResultBase):
    """What is in a native dataset."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    format: Literal["native"] = Field(default="native", description="What kind of files these are.")
    path: str = Field(description="Directory of the dataset.")
    digest: str = Field(description="SHA-256 of its manifest, which stands for every byte.")
    dataset_schema: int = Field(description="Schema version of the dataset.")
    complete: bool = Field(description="Whether its writer came to the end.")
    episodes: int = Field(ge=0, description="Episodes: one agent's, from its first step to its last.")
    groups: int = Field(ge=0, description="World-episodes that they are parts of.")
    agent_steps: int = Field(ge=0, description="Rows.")
    observations: dict[str, tuple[int, ...]] = Field(description="Shape of each observation; () for a number.")
    bytes: int = Field(ge=0, description="Size of all shards.")
    shards: int = Field(ge=1, description="Shards.")
    rejected: int = Field(ge=0, description="Episodes that a curator has rejected: kept, and not trained on.")
    sources: tuple[SourceCount, ...] = Field(description="Where the episodes are from.")
    splits: dict[str, PartCount] = Field(description="Parts that a split has made; the empty name for none.")
    tags: dict[str, PartCount] = Field(description="Episodes by tag.")
    endings: dict[str, int] = Field(description="Episodes by how they ended.")
    lengths: Quartiles = Field(description="Steps of the episodes.")
    returns: Quartiles = Field(description="Sums of rewards of the episodes.")
    rewards: Spread = Field(description="Rewards of the rows.")
    actions: tuple[ActionShare, ...] = Field(description="Choices of a categorical action; empty for a continuous one.")
    impossible_actions: int = Field(
        ge=0, description="Choices that are none of the action space, which `actions` leaves out."
    )
    action_entropy: float | None = Field(description="Entropy of the choices [nats], mean over components.")
    action_values: tuple[ColumnSpread, ...] = Field(description="Entries of a continuous action.")
    allowed_actions: float | None = Field(description="Choices that a mask allows, mean over rows; None without masks.")
    log_probs: Spread = Field(description="Log-probabilities of the actions under the policy that acted.")
    scripted_share: float | None = Field(description="Share of rows with log-probability 0, as a script's have.")
    values: Spread = Field(description="Values that the policy predicted.")
    features: tuple[ColumnSpread, ...] = Field(description="Entries of the observations; a map is one.")
    events: dict[str, EventCount] = Field(description="Events by kind.")
    sampled_rows: int = Field(ge=0, description="Rows that the histograms of columns are made of.")
