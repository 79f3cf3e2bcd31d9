"""The table of `townlet watch`: one row for each update or stage, columns by algorithm, 80 letters wide."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from townlet_core.cli.tables import clipped, printable, short_count, short_number
from townlet_core.tracking.measures import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from townlet_core.tracking.telemetry_record import TelemetryRecord

_WIDTH = 80
_NUMBER = 7


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, the fields of which it shows the first that is there, how, and whether it may go."""

    title: str
    fields: tuple[str, ...]
    width: int = _NUMBER
    form: Callable[[float | None], str] = short_number
    optional: bool = False

    def cell(self, record: TelemetryRecord) -> str:
        """Return the text for a record."""
        values = (measure(record, name) for name in self.fields)
        return self.form(next((value for value in values if value is not None), None)).rjust(self.width)


@dataclass(frozen=True, slots=True)
class Words:
    """A column of text."""

    title: str
    field: str
    width: int
    optional: bool = False

    def cell(self, record: TelemetryRecord) -> str:
        """Return the text for a record."""
        text = record.values.get(self.field)
        return clipped(printable(text if isinstance(text, str) else "-"), self.width).rjust(self.width)


def _five(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _yes(value: float | None) -> str:
    return "*" if value else ""


_EPOCH = Column("EPOCH", ("epoch",), 5)
_GRAD = Column("GRAD", ("grad_norm",))
_EVENTS = Column("CONFL", ("queue_conflict_events",), 5, short_count, optional=True)
_PPO = (
    _EPOCH,
    Column("STEPS", ("agent_steps", "transitions"), 5, short_count),
    Column("RETURN", ("episode_return_mean",)),
    Column("LOSS", ("loss_total",)),
    Column("POLICY", ("loss_policy",)),
    Column("VALUE", ("loss_value",)),
    Column("KL", ("kl_divergence",)),
    Column("CLIP", ("clip_fraction",), 5, _five),
    Column("ENTROPY", ("entropy",)),
    _GRAD,
    _EVENTS,
)
_BC = (
    _EPOCH,
    Column("ROWS", ("agent_steps",), 5, short_count),
    Column("LOSS", ("loss",)),
    Column("VALUE", ("loss_value",), optional=True),
    Column("TRAIN", ("train_accuracy",), 5, _five, optional=True),
    Column("HELD", ("accuracy",), 5, _five, optional=True),
    Column("NLL", ("nll",), optional=True),
    Column("ECE", ("ece",), 5, _five, optional=True),
    Column("MAE", ("mean_absolute_error",), optional=True),
    _GRAD,
    Column("LR", ("lr",), optional=True),
    Column("BEST", ("is_best",), 4, _yes, optional=True),
)
_ANNEAL = (
    Column("STAGE", ("number",), 5),
    Words("MODE", "mode", 10),
    Column("CYCLE", ("cycle",), 5),
    Column("WEIGHT", ("bc_weight",), 6),
    Column("TRY", ("tries",), 3),
    Column("SCORE", ("common_score_mean", "score_mean")),
    Column("FROM", ("common_score_low", "score_low")),
    Column("TO", ("common_score_high", "score_high")),
    Column("SEEDS", ("common_score_num_episodes", "score_num_episodes"), 5),
    Words("VERDICT", "verdict", 7),
    Column("BEST", ("is_best",), 4, _yes),
)
_BY_ALGORITHM: dict[str, tuple[Column | Words, ...]] = {"ppo": _PPO, "bc": _BC, "anneal": _ANNEAL}


class WatchTable:
    """Turns records into lines, a new head above them whenever another kind of record begins."""

    def __init__(self) -> None:
        self._columns: tuple[Column | Words, ...] = ()
        self._title = ""

    def lines(self, records: Sequence[TelemetryRecord]) -> Iterator[str]:
        """Yield the rows of some records, with the heads that they need."""
        for record in records:
            if record.model.title != self._title:
                again = bool(self._title)
                self._title = record.model.title
                self._columns = _columns(record, [other for other in records if other.model.title == self._title])
                if again:
                    yield ""
                yield self._title
                yield " ".join(column.title.rjust(column.width) for column in self._columns)
            yield " ".join(column.cell(record) for column in self._columns).rstrip()
            if record.model.algorithm == "anneal" and record.values["verdict"] != "PASS":
                reason = printable(str(record.values["reason"]))
                yield from textwrap.wrap(reason, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _columns(record: TelemetryRecord, alike: Sequence[TelemetryRecord]) -> tuple[Column | Words, ...]:
    """Return the columns for a kind of record; some only if any of the records at hand has a value for them."""
    if record.model.algorithm == "other":
        return _columns_of_other(record)
    return tuple(
        column
        for column in _BY_ALGORITHM[record.model.algorithm]
        if not column.optional or any(column.cell(other).strip() not in ("-", "") for other in alike)
    )


def _columns_of_other(record: TelemetryRecord) -> tuple[Column, ...]:
    """Return the epoch and the first numeric fields that fit."""
    columns, left = [], _WIDTH
    names = [name for name, _ in record.numbers()]
    for name in sorted(names, key=lambda name: name != "epoch"):
        title = clipped(printable(name), 20)
        column = Column(title, (name,), max(len(title), _NUMBER))
        if column.width > left:
            break
        columns.append(column)
        left -= column.width + 1
    return tuple(columns)
