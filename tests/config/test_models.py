"""Every settings model: described, bounded, with units, frozen and closed."""

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, ValidationError

from townlet_core.config.base import leaf_types
from townlet_core.config.describe import knobs, section_model
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.scenario import AgentConfig, ForcedPerturbation, ObjectConfig, ScenarioConfig, TieConfig
from townlet_core.config.town import StageChange
from townlet_strategies_ppo.settings import PPOSettings


def models_within(model):
    yield model
    for field in model.model_fields.values():
        section = section_model(field.annotation)
        if section is not None:
            yield from models_within(section)


MODELS = [*models_within(SimulationConfig), PPOSettings]
ITEMS = [ScenarioConfig, ObjectConfig, AgentConfig, TieConfig, ForcedPerturbation, StageChange]
"""Models of files and of entries of lists: their fields may be required."""


def fields(models):
    return [pytest.param(model, name, id=f"{model.__name__}.{name}") for model in models for name in model.model_fields]


FIELDS = fields(MODELS)


def numeric_schemas(schema):
    """Yield every integer or number schema within the JSON Schema of a field."""
    if schema.get("type") in {"integer", "number"}:
        yield schema
    for part in [*schema.get("anyOf", []), *schema.get("prefixItems", [])]:
        yield from numeric_schemas(part)
    if isinstance(schema.get("items"), dict):
        yield from numeric_schemas(schema["items"])


@pytest.mark.parametrize(("model", "name"), [*FIELDS, *fields(ITEMS)])
def test_every_field_is_described_and_every_number_has_bounds_and_a_unit(model, name):
    field = model.model_fields[name]
    assert field.description
    assert field.description[0].isupper()
    assert field.description.endswith((".", "]"))
    schemas = list(numeric_schemas(model.model_json_schema()["properties"][name]))
    for schema in schemas:
        assert {"minimum", "exclusiveMinimum"} & set(schema), "no lower bound"
        assert {"maximum", "exclusiveMaximum"} & set(schema), "no upper bound"
    if schemas:
        assert field.description.rstrip(".").endswith("]"), "no unit in brackets at the end of the description"
    assert bool(schemas) == bool({int, float} & set(leaf_types(field.annotation)))


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_a_value_beyond_a_bound_is_refused(model, name):
    bounds = [item for item in model.model_fields[name].metadata if isinstance(item, Ge | Gt | Le | Lt | MaxLen)]
    for bound in bounds:
        beyond = {
            Ge: lambda b: b.ge - 1, Gt: lambda b: b.gt, Le: lambda b: b.le + 1, Lt: lambda b: b.lt,
            MaxLen: lambda b: [1] * (b.max_length + 1) if tuple in leaf_types(model.model_fields[name].annotation) else "x" * (b.max_length + 1),  # noqa: E501  (a table)
        }[type(bound)](bound)  # fmt: skip
        with pytest.raises(ValidationError):
            model(**{name: beyond})
    for wrong in [float("nan"), float("inf"), object()]:
        with pytest.raises(ValidationError):
            model(**{name: wrong})


@pytest.mark.parametrize("model", MODELS)
def test_settings_are_frozen_and_closed(model):
    settings = model()
    name = next(iter(model.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))
    with pytest.raises(ValidationError, match="Extra inputs"):
        model(no_such_field=1)
    assert issubclass(model, BaseModel)


def test_what_is_allowed_is_said_in_words():
    words = {knob.path: knob.allowed for knob in knobs(SimulationConfig)}
    assert words["environment.num_worlds"] == "an integer from 1 to 65536"
    assert words["environment.worlds_per_shard"] == "an integer from 1 to 65536, or null"
    assert words["environment.step_timeout_sec"] == "a number above 0 and up to 86400"
    assert words["environment.vectorization"] == "one of sync, workers, entry_point"
    assert words["training.runs_dir"] == "a path"
    assert words["tracking.trackers"] == "a mapping of names to a mapping of names to any value"


@pytest.mark.parametrize(
    ("num_worlds", "shard"), [(1, 1), (4, 4), (8, 8), (64, 8), (10, 5), (12, 6), (13, 1), (22, 2), (65536, 8), (21, 7)]
)
def test_the_default_shard_is_the_largest_divisor_up_to_8(num_worlds, shard):
    assert EnvironmentConfig(num_worlds=num_worlds).shard_worlds == shard


def test_a_chosen_shard_is_kept_and_must_divide():
    assert EnvironmentConfig(num_worlds=64, worlds_per_shard=32).shard_worlds == 32
    with pytest.raises(ValidationError, match="does not divide num_worlds = 64; 32 does"):
        EnvironmentConfig(num_worlds=64, worlds_per_shard=48)


@pytest.mark.parametrize("name", ["gymnasium:Cart\tPole", "gymnasium:CartPole-v1\n", "\x1b[2J", "a\x00b", "\u202egym"])
def test_the_name_of_an_environment_and_of_a_scenario_is_printable(name):
    with pytest.raises(ValidationError, match="holds a character that cannot be printed"):
        EnvironmentConfig(name=name)
    with pytest.raises(ValidationError, match="holds a character that cannot be printed"):
        EnvironmentConfig(scenario=name)
    assert EnvironmentConfig(name="python:pakke.øy:make world").name == "python:pakke.øy:make world"
