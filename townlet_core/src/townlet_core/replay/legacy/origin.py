"""What an imported episode remembers of the sample that it is from, so that the sample can be written again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue, ValidationError

from townlet_core.errors import DatasetError
from townlet_core.replay.schema import Count, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

ORIGIN = "legacy"
"""Key of an episode's metadata."""


class Origin(Record):
    """The place of an episode in a sample of the earlier format.

    Attributes:
        sample: what its manifest called it.
        offset: step of the sample that the episode begins with.
        num_steps: of the sample.
        flat: arrays that were written without an axis of steps.
        map_shape: (C, H, W) of a map without cells, which is no observation.
        bootstrap: the entry of `value_preds` after the last step, `nan` and `inf` as text; None if there was none.
        metadata: the sample's metadata; with the episode that begins the sample only.
        entry: what the manifest said; likewise.
    """

    sample: Annotated[str, Field(min_length=1, max_length=4096)]
    offset: Count = 0
    num_steps: Annotated[int, Field(ge=1, le=2**40)]
    flat: list[str] = Field(default_factory=list, max_length=2)
    map_shape: list[Count] = Field(default_factory=list, max_length=3)
    bootstrap: float | Literal["nan", "inf", "-inf"] | None = None
    metadata: dict[str, JsonValue] | None = None
    entry: dict[str, JsonValue] | None = None

    def piece(self, offset: int) -> Origin:
        """Return what the episode remembers that begins with that step."""
        return self if offset == 0 else self.model_copy(update={"offset": offset, "metadata": None, "entry": None})

    def to_metadata(self) -> dict[str, JsonValue]:
        """Return it as the metadata of an episode."""
        return {ORIGIN: self.model_dump(mode="json", exclude_defaults=True)}


def origin_of(metadata: Mapping[str, JsonValue]) -> Origin | None:
    """Return where an episode is from; None if it was not imported from the earlier format.

    Raises:
        DatasetError: what it says about that is damaged.
    """
    if ORIGIN not in metadata:
        return None
    try:
        return Origin.model_validate(metadata[ORIGIN])
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, (ORIGIN, *problem["loc"])))
        raise DatasetError(f"an episode's metadata is damaged: {place}: {problem['msg']}") from error


def bootstrap_text(value: float) -> float | Literal["nan", "inf", "-inf"]:
    """Return a number that JSON has, or its name."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
