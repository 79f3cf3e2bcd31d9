"""The fields of settings models as data: path, what is allowed, default, description."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPE_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One field of a settings model.

    Attributes:
        path: dotted path, such as ``environment.num_worlds``.
        default: its default as JSON data.
        allowed: what it may be, in words.
        description: what it does, with its unit in brackets.
    """

    path: str
    default: Any
    allowed: str
    description: str


def knobs(model: type[BaseModel], prefix: str = "") -> Iterator[Knob]:
    """Yield every leaf field of `model` and of the sections within it, in the order of declaration."""
    defaults = _defaults(model)
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        section = section_model(field.annotation)
        if section is not None:
            yield from knobs(section, path)
        else:
            yield Knob(
                path=path, default=defaults[name], allowed=allowed(model, name), description=field.description or ""
            )


def section_model(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model that a field holds as a section, or None for a field that is a value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def entry_model(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model of the entries of a list of sections, or None for anything else."""
    if get_origin(annotation) is tuple:
        return section_model(get_args(annotation)[0])
    return next((model for part in get_args(annotation) if (model := entry_model(part)) is not None), None)


def field_model(model: type[BaseModel], path: str) -> tuple[type[BaseModel], str] | None:
    """Return the model and the field that a dotted path leads to (or passes through, for values within a field)."""
    head, _, rest = path.partition(".")
    if head not in model.model_fields:
        return None
    section = section_model(model.model_fields[head].annotation)
    return field_model(section, rest) if section is not None and rest else (model, head)


def allowed(model: type[BaseModel], name: str) -> str:
    """Return what the field may be, in words: ``an integer from 1 to 256, or null``."""
    schema = _schema(model)
    return _in_words(schema["properties"][name], schema.get("$defs", {}))


def _in_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    if "enum" in schema or "const" in schema:
        choices = [str(choice) for choice in schema.get("enum", [schema.get("const")])]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(_in_words(choice, definitions) for choice in schema["anyOf"]))
    kind = schema.get("type")
    if kind is None:
        return "any value"
    words = _TYPE_NAMES[kind]
    if kind == "array":
        items = schema.get("items") or next(iter(schema.get("prefixItems", [])), None)
        words += _span(schema, "minItems", "maxItems", unit=" entries") + (
            f", each {_in_words(items, definitions)}" if items else ""
        )
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        words += f" of names to {_in_words(schema['additionalProperties'], definitions)}"
    elif kind == "string":
        if schema.get("format") == "path":
            words = "a path"
        words += (
            f" that matches {schema['pattern']}"
            if "pattern" in schema
            else _span(schema, "minLength", "maxLength", unit=" characters")
        )
    else:
        words += _span(schema, "minimum", "maximum")
    return words


def _span(schema: dict[str, Any], lowest: str, highest: str, *, unit: str = "") -> str:
    """Return the bounds in words, exclusive ones included."""
    low, high = schema.get(lowest), schema.get(highest)
    if low is not None and low == high:
        return f" of {low}{unit}"
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lower = f"from {low}" if low is not None else f"above {above}" if above is not None else ""
    upper = f"up to {high}" if high is not None else f"below {below}" if below is not None else ""
    if low is not None and high is not None:
        upper = f"to {high}"
    words = f"{lower} and {upper}" if above is not None and upper else f"{lower} {upper}".strip()
    return f" {words}{unit}" if words else ""


@lru_cache(maxsize=256)
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


@lru_cache(maxsize=256)
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults as JSON data; a field without one is None."""
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    if required:
        raise TypeError(
            f"{model.__name__}: every field of a settings model needs a default; {', '.join(required)} has none"
        )
    return model().model_dump(mode="json")
