"""The core's fields and those of the installed strategies, seen as one tree: its fields, its paths, its JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from townlet_core.config.describe import Knob, knobs, section_model
from townlet_core.config.problems import all_paths
from townlet_core.config.root import SimulationConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from townlet_core.config.base import Settings


def every_knob(strategies: Mapping[str, type[Settings]]) -> Iterator[Knob]:
    """Yield every leaf field of the core and of `strategies` (settings model by name), in the order of declaration."""
    for knob in knobs(SimulationConfig):
        if knob.path != "strategies":
            yield knob
    for name, model in strategies.items():
        yield from knobs(model, f"strategies.{name}")


def every_path(strategies: Mapping[str, type[Settings]]) -> list[str]:
    """Return every dotted path that can be set, sections included."""
    paths = all_paths(SimulationConfig)
    for name, model in strategies.items():
        paths += [f"strategies.{name}", *all_paths(model, f"strategies.{name}")]
    return paths


def section_summaries(strategies: Mapping[str, type[Settings]]) -> dict[str, str]:
    """Return one line for each section, by dotted path."""
    summaries = _summaries(SimulationConfig, "")
    for name, model in strategies.items():
        summaries[f"strategies.{name}"] = (model.__doc__ or "").strip().partition("\n")[0]
    return summaries


def _summaries(model: type[BaseModel], above: str) -> dict[str, str]:
    """Return the descriptions of the fields of `model` and of the sections within it, by dotted path."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        found[above + name] = field.description or ""
        section = section_model(field.annotation)
        if section is not None:
            found |= _summaries(section, f"{above}{name}.")
    return found


def json_schema(strategies: Mapping[str, type[Settings]]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file, with the sections of `strategies`."""
    models: list[type[Settings]] = [SimulationConfig, *strategies.values()]
    references, definitions = models_json_schema([(model, "validation") for model in models])
    root: dict[str, Any] = definitions["$defs"].pop("SimulationConfig")
    root["properties"]["strategies"]["properties"] = {
        name: references[model, "validation"] for name, model in strategies.items()
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions["$defs"]}
