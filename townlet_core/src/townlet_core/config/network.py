"""The settings of a policy's network, which all strategies that train one share.

What one of them trains, another goes on with; so the defaults are one as well, and a cloned policy fits PPO's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from townlet_core.config.base import Settings

Width = Annotated[int, Field(ge=1, le=16_384)]


class NetworkSettings(Settings):
    """What a strategy's settings say about its network, besides what they say about learning."""

    hidden: tuple[Width, ...] = Field(
        default=(64, 64), max_length=16, description="Hidden layers of actor and of critic. [units]"
    )
    shared_hidden: tuple[Width, ...] = Field(
        default=(), max_length=16, description="Layers below, shared by both. [units]"
    )
    activation: Literal["tanh", "relu"] = Field(default="tanh", description="Activation of hidden layers.")
    initial_log_std: float = Field(
        default=0.0,
        ge=-20,
        le=5,
        description="First log standard deviation of a Gaussian policy. [log of action units]",
    )
    encoder: str = Field(
        default="flatten", max_length=200, description="Built-in or plugin encoder of the observations."
    )
    encoder_options: dict[str, JsonValue] = Field(default_factory=dict, description="Options of the encoder.")
    normalize_observations: bool = Field(
        default=False, description="Whether running moments, kept in the artefact, normalise Box observations."
    )
