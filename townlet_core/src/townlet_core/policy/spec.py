"""A network as data: what a policy sees, how wide it is, and what it decides."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from townlet_core.errors import ArtefactError
from townlet_core.policy.heads import ActionHead
from townlet_core.spaces import describe_space, space_from_json, space_to_json, spaces_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gymnasium import spaces

Width = Annotated[int, Field(ge=1, le=16_384)]
_HYBRID_CHANNELS = 4


class EncoderSpec(BaseModel):
    """Which encoder turns observations into features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="flatten", max_length=200, description="Name of a built-in or plugin encoder.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Options of the encoder.")

    @field_validator("options")
    @classmethod
    def _can_be_written(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(options, allow_nan=False)
        return options


class PolicySpec(BaseModel):
    """Everything that the weights of a policy mean; two policies of one spec differ only in their numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    observations: dict[str, dict[str, JsonValue]] = Field(
        min_length=1, description="Flattened name -> leaf space, as JSON."
    )
    action: dict[str, JsonValue] = Field(description="Action space of one agent, as JSON.")
    encoder: EncoderSpec = EncoderSpec()
    shared_hidden: tuple[Width, ...] = Field(
        default=(), max_length=16, description="Layers shared by actor and critic."
    )
    actor_hidden: tuple[Width, ...] = Field(default=(64, 64), max_length=16, description="Hidden layers of the actor.")
    critic_hidden: tuple[Width, ...] = Field(
        default=(64, 64), max_length=16, description="Hidden layers of the critic."
    )
    activation: Literal["tanh", "relu"] = "tanh"
    normalize_observations: bool = Field(
        default=False, description="Whether running moments normalise Box observations."
    )

    @classmethod
    def for_spaces(
        cls, observation_spaces: Mapping[str, spaces.Space[Any]], action_space: spaces.Space[Any], **fields: Any
    ) -> PolicySpec:
        """Return the spec for an environment's spaces; `fields` are the other fields of the spec."""
        observations = {name: space_to_json(space) for name, space in observation_spaces.items()}
        return cls(observations=observations, action=space_to_json(action_space), **fields)

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Flattened name -> leaf space."""
        return spaces_from_json(self.observations)

    @cached_property
    def action_space(self) -> spaces.Space[Any]:
        """Action space of one agent."""
        return space_from_json(self.action)

    @cached_property
    def head(self) -> ActionHead:
        """The distribution over actions."""
        return ActionHead.for_space(self.action_space)

    def require_fit(self, shown: PolicySpec, *, subject: str, environment: str) -> None:
        """Check that a policy of this spec sees and decides what an environment shows and takes.

        Args:
            shown: the spec of the environment's spaces.
            subject: what the message calls the policy.
            environment: what it calls the environment.

        Raises:
            ArtefactError: it does not; the text lists what differs, and what helps.
        """
        if self.observations == shown.observations and self.action == shown.action:
            return
        lines, mine, theirs = [], self.observation_spaces, shown.observation_spaces
        for name in sorted(mine.keys() | theirs.keys()):
            sees, shows = (describe_space(leaves[name]) if name in leaves else "nothing" for leaves in (mine, theirs))
            if self.observations.get(name) != shown.observations.get(name):
                lines.append(f"\n  {name}: the policy sees {sees}, and is shown {shows}")
        if self.action != shown.action:
            decides, takes = describe_space(self.action_space), describe_space(shown.action_space)
            lines.append(f"\n  actions: the policy decides {decides}, and what is taken is {takes}")
        is_town = "observation.features" in mine and "observation.features" in theirs
        hint = f", such as --set environment.town.variant={_variant(mine)}" if is_town else ""
        raise ArtefactError(
            f"{subject} does not fit {environment}:{''.join(lines)}\n"
            f"  name the environment that it was made in with --env, and --set what was set there{hint}"
        )


def _variant(leaves: Mapping[str, spaces.Space[Any]]) -> str:
    """Return the variant of the town's observations that has these leaves."""
    shape = leaves["observation.map"].shape if "observation.map" in leaves else None
    return "compact" if shape is None else "full" if shape[0] > _HYBRID_CHANNELS else "hybrid"
