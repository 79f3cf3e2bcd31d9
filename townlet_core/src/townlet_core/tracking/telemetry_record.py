"""One line of telemetry, read and checked: what is not what its version says is an error that names file and line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from townlet_core.errors import DataError
from townlet_core.tracking.telemetry_versions import KNOWN_VERSIONS, RecordModel, model_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from townlet_core.tracking.telemetry_versions import TelemetryField

Value = float | str | bool | None
MAX_DEPTH = 8
_ROUNDING = 1e-6
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryRecord:
    """One line.

    Attributes:
        line: its number in the file, from 1.
        model: which fields it has to have.
        values: fields by name, those of maps as `map.name`. Numbers are floats, and NaN where they are not finite or
            where a field that has to hold one holds null; None says that there is no such value.
    """

    line: int
    model: RecordModel
    values: Mapping[str, Value]

    @property
    def epoch(self) -> int | None:
        """Number of the update; None if the line has none, as may be with strategies of others."""
        value = self.number("epoch")
        return int(value) if value is not None and math.isfinite(value) else None

    def number(self, *names: str) -> float | None:
        """Return the first of these fields that is there: a number, flags as 0 and 1; None without any."""
        for name in names:
            value = self.values.get(name)
            if value is not None and not isinstance(value, str):
                return float(value)
        return None

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Yield every field that holds a number or a flag."""
        for name, value in self.values.items():
            if value is not None and not isinstance(value, str):
                yield name, float(value)


def parse_record(data: bytes, *, source: str, line: int) -> TelemetryRecord:
    """Return the record that a line holds.

    Args:
        data: the bytes of the line, with or without the newline.
        source: name of the file, for errors.
        line: number of the line, from 1.

    Raises:
        DataError: the line is no JSON object, its version is unknown, or a field is missing or not what it has to be;
            the text names file, line and field.
    """
    try:
        raw = json.loads(data.decode("utf-8-sig" if line == 1 else "utf-8"), object_pairs_hook=_unique)
        if not isinstance(raw, dict):
            raise ValueError(f"it holds {_kind(raw)}, and an object is expected")  # noqa: TRY004  (bad data, not a bug)
        values = dict(_flat(raw, depth=0))
        model = model_of(raw)
        if model is None:
            raise ValueError(
                f"telemetry_version {raw['telemetry_version']!r} is unknown (known: {', '.join(KNOWN_VERSIONS)}); "
                "a newer townlet may read it"
            )
        _check(values, model)
    except RecursionError as error:
        raise DataError(f"{source}:{line}: the line is damaged: it is nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{source}:{line}: the line is damaged: {_reason(error)}") from error
    return TelemetryRecord(line=line, model=model, values=values)


def _check(values: dict[str, Any], model: RecordModel) -> None:
    """Check the fields of a model, and write numbers, flags and what is missing as they are meant."""
    missing = sorted(model.required - values.keys())
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ValueError(f"telemetry of {model.title} has to have {', '.join(missing[:_SHOWN])}{more}")
    for name, spec in model.fields.items():
        if name in values:
            values[name] = _checked(name, values[name], spec)


def _checked(name: str, value: Value, spec: TelemetryField) -> Value:
    if value is None:
        if spec.nullable:
            return None
        if spec.type == "number":
            return math.nan  # JSON has no NaN, so `TelemetryLog` writes null
        raise ValueError(f"{name} is null, and {_EXPECTED[spec.type]} is expected")
    if spec.type == "text":
        fits = isinstance(value, str)
    elif spec.type == "flag":
        fits = isinstance(value, bool) or value in (0.0, 1.0)
        value = bool(value) if fits else value
    else:
        is_number = isinstance(value, float)
        fits = is_number if spec.type == "number" else isinstance(value, float) and value.is_integer()
    if not fits:
        raise ValueError(f"{name} is {_kind(value)}, and {_EXPECTED[spec.type]} is expected")
    if isinstance(value, float):
        if spec.least is not None and value < spec.least - _ROUNDING:
            raise ValueError(f"{name} is {value:g}, and cannot be below {spec.least:g}")
        if spec.most is not None and value > spec.most + _ROUNDING:
            raise ValueError(f"{name} is {value:g}, and cannot be above {spec.most:g}")
    return value


_EXPECTED = {"number": "a number", "integer": "a whole number", "text": "a text", "flag": "true or false"}


def _flat(values: Mapping[str, Any], *, depth: int) -> Iterator[tuple[str, Value]]:
    """Yield fields, those of maps as `map.name`; lists, which no field of ours holds, are left out."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", item) for inner, item in _flat(value, depth=depth + 1))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, float(value)
        elif not isinstance(value, list):
            yield name, value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field '{next(name for name in names if names.count(name) > 1)}' stands twice")
    return values


def _kind(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else f"the number {value}"


def _reason(error: ValueError | OverflowError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON: {error.msg} at character {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: {error.reason} at byte {error.start}"
    return str(error)
