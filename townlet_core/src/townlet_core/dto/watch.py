"""What `townlet watch` found in a telemetry file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase


class Exceedance(ResultBase):
    """A limit that was left, the first time and the worst time."""

    name: str = Field(description="The field or measure.")
    bound: Literal["max", "min", "finite"] = Field(description="`finite` is the limit that every number has.")
    limit: float | None = Field(description="The limit; None for `finite`.")
    value: float | None = Field(description="Value where it was left first; None if that is not finite.")
    epoch: int | None = Field(description="Epoch of that record; None if it has none.")
    line: int = Field(ge=1, description="Its line in the file.")
    count: int = Field(ge=1, description="Records in which it was left.")
    worst_value: float | None = Field(description="Value that lies furthest outside; None if that is not finite.")
    worst_epoch: int | None = Field(description="Epoch of that record.")
    worst_line: int = Field(ge=1, description="Its line in the file.")


class FieldStatistics(ResultBase):
    """The finite values of one field over the whole log."""

    count: int = Field(ge=0, description="Records that have one.")
    first: float = Field(description="The first.")
    last: float = Field(description="The last.")
    min: float = Field(description="The smallest.")
    max: float = Field(description="The largest.")
    mean: float = Field(description="Their mean.")
    trend: tuple[float, ...] = Field(description="Means of stretches of equal length, in order.")


class Extreme(ResultBase):
    """A value that stands out, and where."""

    value: float = Field(description="The value.")
    epoch: int | None = Field(description="Epoch of the record; None if it has none.")
    line: int = Field(ge=1, description="Its line in the file.")


class WatchReport(ResultBase):
    """A telemetry file, whole."""

    path: str = Field(description="The file.")
    run_status: str = Field(default="", description="What `run.json` beside it says; empty without one.")
    kinds: dict[str, int] = Field(description="Records by algorithm and version, such as `ppo 1.2`.")
    updates: int = Field(ge=0, description="Records.")
    best_return: Extreme | None = Field(description="Largest mean return of an update.")
    largest_kl: Extreme | None = Field(description="Largest KL divergence, of a minibatch where the version has that.")
    zero_std_batches: int = Field(description="Minibatches whose advantages did not vary.")
    non_finite_values: int = Field(ge=0, description="Numbers that are not finite.")
    first_non_finite: str = Field(description="Field and line of the first of them; empty without any.")
    epochs_repeated: int = Field(ge=0, description="How often the epoch did not rise: runs that were taken up again.")
    unfinished_line: bool = Field(description="Whether the file ends in half a line.")
    fields: dict[str, FieldStatistics] = Field(description="Numeric fields and flags by name, of maps as `map.name`.")
    fields_left_out: int = Field(ge=0, description="Values of further fields, beyond the number that is kept.")
    exceeded: tuple[Exceedance, ...] = Field(description="Limits that were left.")
    stale_sec: float | None = Field(default=None, description="Seconds without a new line, if that was too long.")
    unmeasured: tuple[str, ...] = Field(description="Limits that no judged record has a value for.")
    judged: int = Field(ge=0, description="Records that were held against the limits.")
    verdict: Literal["within", "unknown", "exceeded"] = Field(
        description="`unknown` if no record was judged, or a limit could not be."
    )
