"""The base of every settings model: frozen, closed, finite, and strict where a conversion would hide a mistake.

A field of a settings model has bounds where it is a number, and a description that ends with its unit in brackets where
it has one: ``"Worlds that are stepped together. [worlds]"``; a number without a unit says ``[1]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from townlet_core.config.problems import ConfigProblems, Problem, problems_of

MAX_DEPTH = 32
"""Sections within sections (or lists within lists) that a configuration may have. [levels]"""


class Settings(BaseModel):
    """Base of every settings model; see the module docstring for what a field must carry.

    A number is not taken from text or from a truth value, an absent section (`null`) is an empty one, and no value
    holds NaN, infinity or more than `MAX_DEPTH` levels.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, ser_json_inf_nan="strings"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: Any, info: Any) -> Any:
        annotation = cls.model_fields[info.field_name].annotation
        kinds = set(leaf_types(annotation))
        value = _filled(value, annotation)
        if any(map(_is_settings, kinds)):
            return value  # the section checks its own fields
        for inner, part in _parts(value):
            if isinstance(part, float) and not math.isfinite(part):
                raise _refusal(f"{part} is not a finite number", inner)
            if isinstance(part, bool) and not kinds & {bool, Any, JsonValue}:
                raise _refusal(f"{str(part).lower()} is a truth value", inner)
            if isinstance(part, str) and kinds & {int, float} and not kinds & {str, Path, Any, JsonValue}:
                raise _refusal(f"{part!r} is text", inner)
        return value


SettingsT = TypeVar("SettingsT", bound=Settings)


def settings_from(
    model: type[SettingsT], section: Mapping[str, Any] | None, options: Mapping[str, Any] | None = None, *, path: str
) -> SettingsT:
    """Return the settings of `section`, with `options` over it by field name.

    Args:
        model: what to validate with.
        section: raw values by field name; None is an empty section.
        options: overrides by field name.
        path: dotted path of the section, such as ``"strategies.ppo"``; errors start with it.

    Raises:
        ConfigError: a key is unknown, or a value is not allowed; all of them at once, one per line.
    """
    if section is not None and not isinstance(section, Mapping):
        raise ConfigProblems(
            [Problem(path, f"{section!r} given; must be a section, that is, a mapping of keys to values")]
        )
    try:
        return model.model_validate({**(section or {}), **(options or {})})
    except ValidationError as error:
        raise ConfigProblems(problems_of(error, model, path=path)) from error


def leaf_types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of: ``tuple[int, ...] | None`` gives tuple, int and NoneType."""
    origin = get_origin(annotation)
    if annotation is JsonValue or origin is None:
        yield annotation
    elif origin is Literal:
        yield from {type(choice) for choice in get_args(annotation)}
    elif origin in {Union, UnionType, Annotated}:
        arguments = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
        for argument in arguments:
            yield from leaf_types(argument)
    else:
        yield origin
        arguments = get_args(annotation)[1:] if issubclass(origin, Mapping) else get_args(annotation)
        for argument in arguments:
            if argument is not Ellipsis:
                yield from leaf_types(argument)


def _filled(value: Any, annotation: Any) -> Any:
    """Return `value` with an empty section in place of None, wherever the annotation wants a section."""
    if get_origin(annotation) is not dict:
        return {} if value is None and _is_settings(annotation) else value
    below = get_args(annotation)[1]
    if isinstance(value, dict):
        return {key: _filled(part, below) for key, part in value.items()}
    return {} if value is None else value


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _parts(value: Any, inner: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (path within the value, scalar) for every scalar of a tree of dicts and lists."""
    if depth > MAX_DEPTH:
        raise _refusal(f"it is nested more than {MAX_DEPTH} levels deep", "")
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                raise _refusal(f"the key {key!r} is not text", inner)
            yield from _parts(part, f"{inner}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _parts(part, f"{inner}[{index}]", depth + 1)
    else:
        yield inner, value


def _refusal(reason: str, inner: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "inner": inner})
