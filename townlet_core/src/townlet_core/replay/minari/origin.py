"""What a Townlet episode has that Minari has no place for, kept as text in an attribute of the episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue, ValidationError

from townlet_core.errors import DatasetError
from townlet_core.replay.schema import Count, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from townlet_core.replay.schema import EpisodeEntry

ATTRIBUTE = "townlet"
_PIECE = 32_000  # HDF5 keeps attributes of up to 64 KiB


class Origin(Record):
    """The fields of `EpisodeEntry` of the same names, and two more.

    Attributes:
        columns: names of the step columns that lie in `infos`.
        bootstrap_value: of the episode, where the dataset has them.
    """

    group: Count
    agent: Count
    life: Count
    start_step: Count
    ending: Literal["terminated", "truncated", "cut"]
    split: Annotated[str, Field(max_length=64)]
    accepted: bool
    tags: tuple[Annotated[str, Field(max_length=256)], ...]
    metadata: dict[str, JsonValue]
    columns: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...]
    bootstrap_value: float | None

    @classmethod
    def of(cls, entry: EpisodeEntry, *, columns: tuple[str, ...], bootstrap_value: float | None) -> Origin:
        """Return the origin of an episode."""
        fields = {name: getattr(entry, name) for name in cls.model_fields if hasattr(entry, name)}
        return cls(**fields, columns=columns, bootstrap_value=bootstrap_value)

    def attributes(self) -> dict[str, str]:
        """Return it as attributes of an episode."""
        text = self.model_dump_json()
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        return {_name(number): piece for number, piece in enumerate(pieces)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], place: str) -> Origin | None:
        """Return the origin that `attributes` made, None where there is none; raises `DatasetError`."""
        pieces: list[str] = []
        while isinstance(piece := attributes.get(_name(len(pieces))), str):
            pieces.append(piece)
        text = "".join(pieces)
        if not text:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise DatasetError(f"{place}: attribute '{ATTRIBUTE}': {problem['msg']}") from error


def _name(number: int) -> str:
    return f"{ATTRIBUTE}.{number}" if number else ATTRIBUTE


def is_own(attribute: str) -> bool:
    """Return whether an attribute is one of `Origin`'s."""
    return attribute.partition(".")[0] == ATTRIBUTE
