"""Which fields a line of telemetry has, by version and algorithm, and how a line says which it is.

Types and bounds are those of the DTOs, whose names keep the meaning that they had in versions 1.0 to 1.2. Those wrote
every number as a float.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin

from townlet_core.dto.anneal import AnnealStageResultDTO
from townlet_core.dto.anneal_fields import AnnealFields
from townlet_core.dto.bc import BCTelemetry
from townlet_core.dto.ppo import BaselineFields, PPOTelemetry, TownFields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

FieldType = Literal["number", "integer", "text", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryField:
    """What one field may hold.

    Attributes:
        type: an integer may be written as 3.0, a flag as 1.0 or 0.0.
        required: whether every line has it.
        nullable: whether null says that there is no such value; elsewhere null stands for a number that is not finite.
        least: smallest value.
        most: largest value.
    """

    type: FieldType
    required: bool
    nullable: bool
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordModel:
    """The fields of one kind of line; a line may have others.

    Attributes:
        algorithm: `ppo`, `bc`, `anneal`, or `other` for strategies that Townlet does not know the fields of.
        version: the telemetry version; empty where the line names none.
        fields: by name.
        required: names of the fields that every line has.
        title: such as `ppo 1.2`.
    """

    algorithm: Literal["ppo", "bc", "anneal", "other"]
    version: str
    fields: Mapping[str, TelemetryField] = field(default_factory=dict)
    required: frozenset[str] = field(init=False)
    title: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive what is asked for with every line."""
        required = frozenset(name for name, spec in self.fields.items() if spec.required)
        object.__setattr__(self, "required", required)
        object.__setattr__(self, "title", f"{self.algorithm} {self.version}".rstrip())

    def likeness(self, names: Iterable[str]) -> float:
        """Return the share of the required fields that are among `names`."""
        return len(self.required.intersection(names)) / len(self.required)


def _field(info: FieldInfo, *, required: bool, bounded: bool) -> TelemetryField:
    """Return what a field of a DTO means in a file."""
    annotation = info.annotation
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kind = next(option for option in options if option is not type(None))
    names: dict[Any, FieldType] = {float: "number", int: "integer", bool: "flag"}
    bounds = info.metadata if bounded else []
    return TelemetryField(
        type=names.get(kind, "text"),
        required=required,
        nullable=not required or len(options) > 1,
        least=next((bound.ge for bound in bounds if hasattr(bound, "ge")), None),
        most=next((bound.le for bound in bounds if hasattr(bound, "le")), None),
    )


def _fields_of(model: type[BaseModel], maps: Iterable[str]) -> dict[str, TelemetryField]:
    """Return the fields of a line of version 2.0: those of its DTO, whose maps are written field by field."""
    return {
        name: _field(info, required=info.is_required(), bounded=True)
        for name, info in model.model_fields.items()
        if name not in {"telemetry_version", *maps}
    }


_REQUIRED_1_0 = (
    *("epoch", "updates", "transitions", "loss_policy", "loss_value", "loss_entropy", "loss_total", "clip_fraction"),
    *("adv_mean", "adv_std", "grad_norm", "kl_divergence", "lr", "steps", "adv_zero_std_batches", "adv_min_std"),
    *("clip_triggered_minibatches", "clip_fraction_max"),
)
_REQUIRED_1_1 = (
    *_REQUIRED_1_0,
    *("epoch_duration_sec", "data_mode", "cycle_id", "batch_entropy_mean", "batch_entropy_std", "grad_norm_max"),
    *("kl_divergence_max", "reward_advantage_corr", "rollout_ticks", "log_stream_offset"),
)


def _older(version: str, required: Iterable[str], optional: Iterable[str]) -> RecordModel:
    """Return the model of an older version. Its bounds were never checked when it was written, and are not now."""
    known = PPOTelemetry.model_fields
    fields = {name: _field(known[name], required=True, bounded=False) for name in required}
    fields |= {name: _field(known[name], required=False, bounded=False) for name in optional}
    return RecordModel(algorithm="ppo", version=version, fields=fields)


PPO_1_0: Final = _older("1.0", _REQUIRED_1_0, BaselineFields.model_fields)
PPO_1_1: Final = _older("1.1", _REQUIRED_1_1, (*BaselineFields.model_fields, *TownFields.model_fields))
PPO_1_2: Final = _older(
    "1.2",
    _REQUIRED_1_1,
    (*BaselineFields.model_fields, *TownFields.model_fields, *AnnealFields.model_fields),
)
PPO_2_0: Final = RecordModel(
    algorithm="ppo", version="2.0", fields=_fields_of(PPOTelemetry, ("conflict", "environment"))
)
BC_2_0: Final = RecordModel(algorithm="bc", version="2.0", fields=_fields_of(BCTelemetry, ("actions",)))
ANNEAL_2_0: Final = RecordModel(
    algorithm="anneal",
    version="2.0",
    fields=_fields_of(  # see `flatten_stage_record`
        AnnealStageResultDTO, ("checks", "common_score", "metrics", "score", "seeds")
    ),
)
RECORD_MODELS: Final = (PPO_1_0, PPO_1_1, PPO_1_2, PPO_2_0, BC_2_0, ANNEAL_2_0)

KNOWN_VERSIONS: Final = tuple(dict.fromkeys(model.version for model in RECORD_MODELS))
NUMERIC_FIELDS: Final = frozenset(
    name for model in RECORD_MODELS for name, spec in model.fields.items() if spec.type != "text"
)
"""Fields of any version that a limit can be set for."""

_ALIKE = 0.5


def model_of(values: Mapping[str, Any]) -> RecordModel | None:
    """Return the model of a line, or None if its version is unknown.

    A line without a version is one of 1.0 if it has at least half of the fields of that. A line that resembles no model
    of its version comes from a strategy of somebody else's, and may hold anything.

    Args:
        values: what the line holds.
    """
    version = _version(values.get("telemetry_version", ""))
    if version not in ("", *KNOWN_VERSIONS):
        return None
    models = [model for model in RECORD_MODELS if model.version == (version or "1.0")]
    best = max(models, key=lambda model: model.likeness(values))
    if best.likeness(values) >= _ALIKE or best.version == version != "2.0":
        return best
    return RecordModel(algorithm="other", version=version)


def _version(value: object) -> str:
    """Return a version as text; the earlier writer put numbers, so 1.1 and "1.1" are the same."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{float(value):.6g}" if value % 1 else f"{float(value):.1f}"
    return value if isinstance(value, str) and value else repr(value) if value != "" else ""
