"""The forward pass, written once: NumPy acts with it, torch learns with it.

Legend: S shards, B rows of a shard, K outputs of the actor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.operations import Operations
    from townlet_core.policy.spec import PolicySpec


@dataclass(frozen=True, slots=True)
class Layers:
    """A policy's weights in the order in which the forward pass uses them; arrays or tensors, nothing is copied.

    Attributes:
        encoder: the encoder's own weights by its own names.
        shared: (weight, bias) of the layers below actor and critic.
        actor: (weight, bias) of the actor's layers, the last one without activation.
        critic: the same for the critic.
        log_std: log standard deviations of a Gaussian, else None.
    """

    encoder: Mapping[str, Any]
    shared: tuple[tuple[Any, Any], ...]
    actor: tuple[tuple[Any, Any], ...]
    critic: tuple[tuple[Any, Any], ...]
    log_std: Any

    @classmethod
    def of(cls, spec: PolicySpec, weights: Mapping[str, Any]) -> Self:
        """Return the layers of `weights`, named as `policy.weights` names them."""

        def stack(prefix: str, depth: int) -> tuple[tuple[Any, Any], ...]:
            return tuple(
                (weights[f"{prefix}.{index}.weight"], weights[f"{prefix}.{index}.bias"]) for index in range(depth)
            )

        return cls(
            {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")},
            stack("shared", len(spec.shared_hidden)),
            stack("actor", len(spec.actor_hidden) + 1),
            stack("critic", len(spec.critic_hidden) + 1),
            weights.get("log_std"),
        )


def encoded(
    operations: Operations, spec: PolicySpec, encoder: Encoder, layers: Layers, inputs: Mapping[str, Any]
) -> Any:
    """Return the features (S, B, F) that actor and critic share, the shared layers included."""
    features = encoder.encode(operations, layers.encoder, inputs, spec.encoder.options)
    return hidden(operations, spec, layers.shared, features)


def actor_outputs(operations: Operations, spec: PolicySpec, layers: Layers, features: Any) -> Any:
    """Return logits or means (S, B, K)."""
    return operations.linear(hidden(operations, spec, layers.actor[:-1], features), *layers.actor[-1])


def critic_outputs(operations: Operations, spec: PolicySpec, layers: Layers, features: Any) -> Any:
    """Return values (S, B)."""
    return operations.linear(hidden(operations, spec, layers.critic[:-1], features), *layers.critic[-1])[..., 0]


def hidden(operations: Operations, spec: PolicySpec, layers: tuple[tuple[Any, Any], ...], inputs: Any) -> Any:
    """Return what layers with activation make of inputs (S, B, F)."""
    activation = operations.tanh if spec.activation == "tanh" else operations.relu
    for weight, bias in layers:
        inputs = activation(operations.linear(inputs, weight, bias))
    return inputs
