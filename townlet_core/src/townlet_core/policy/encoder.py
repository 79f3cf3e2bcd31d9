"""From observations to features: the part of a network that a plugin may replace.

An encoder is written once against `Operations`, so that torch trains and NumPy runs the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from townlet_core.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from townlet_core.policy.operations import Operations

Shapes = Mapping[str, tuple[int, ...]]


class Encoder(Protocol):
    """Turns prepared observations into feature rows. Holds no weights and no state: both are passed in."""

    def weight_shapes(self, inputs: Shapes, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight; two-dimensional ones are initialised orthogonally, the others with zeros.

        Args:
            inputs: observation name -> shape of one prepared observation (float32, see `policy.inputs`).
            options: the `options` of the spec's encoder.
        """
        ...

    def num_features(self, inputs: Shapes, options: Mapping[str, Any]) -> int:
        """Return F, the length of a feature row."""
        ...

    def encode(
        self, operations: Operations, weights: Mapping[str, Any], inputs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Any:
        """Return features (S, B, F) of inputs (S, B, *shape)."""
        ...


EncoderResolver = Callable[[str], Encoder]


class FlattenEncoder:
    """Joins all observations to one row, in the order of their names; has no weights."""

    def weight_shapes(self, inputs: Shapes, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return no shapes; any option is an error."""
        if options:
            raise ConfigError(f"encoder 'flatten' takes no options, but was given {', '.join(sorted(options))}")
        del inputs
        return {}

    def num_features(self, inputs: Shapes, options: Mapping[str, Any]) -> int:
        """Return the sum of the flattened sizes."""
        del options
        return sum(prod(shape) for shape in inputs.values())

    def encode(
        self, operations: Operations, weights: Mapping[str, Any], inputs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Any:
        """Return (S, B, F), the inputs flattened and joined."""
        del weights, options
        parts = [inputs[name] for name in sorted(inputs)]
        return operations.concatenate([part if part.ndim == 3 else part.reshape(*part.shape[:2], -1) for part in parts])


BUILT_IN_ENCODERS = ("flatten",)


def built_in_encoder(name: str) -> Encoder:
    """Return the encoder that core offers under `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name == "flatten":
        return FlattenEncoder()
    offered = ", ".join(BUILT_IN_ENCODERS)
    raise ConfigError(f"there is no encoder '{name}'{suggestion(name, BUILT_IN_ENCODERS)}; core offers: {offered}")
