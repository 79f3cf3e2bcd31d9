"""The forward pass, written once: NumPy acts with it, torch learns with it.

Legend: S shards, B rows of a shard, K outputs of the actor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.operations import Operations
    from townlet_core.policy.spec import PolicySpec


def encoded(
    operations: Operations, spec: PolicySpec, encoder: Encoder, weights: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Any:
    """Return the features (S, B, F) that actor and critic share, the shared layers included."""
    own = {name.removeprefix("encoder."): weight for name, weight in weights.items() if name.startswith("encoder.")}
    features = encoder.encode(operations, own, inputs, spec.encoder.options)
    return _layers(operations, spec, weights, "shared", len(spec.shared_hidden), features)


def actor_outputs(operations: Operations, spec: PolicySpec, weights: Mapping[str, Any], features: Any) -> Any:
    """Return logits or means (S, B, K)."""
    depth = len(spec.actor_hidden)
    hidden = _layers(operations, spec, weights, "actor", depth, features)
    return operations.linear(hidden, weights[f"actor.{depth}.weight"], weights[f"actor.{depth}.bias"])


def critic_outputs(operations: Operations, spec: PolicySpec, weights: Mapping[str, Any], features: Any) -> Any:
    """Return values (S, B)."""
    depth = len(spec.critic_hidden)
    hidden = _layers(operations, spec, weights, "critic", depth, features)
    return operations.linear(hidden, weights[f"critic.{depth}.weight"], weights[f"critic.{depth}.bias"])[..., 0]


def _layers(
    operations: Operations, spec: PolicySpec, weights: Mapping[str, Any], prefix: str, depth: int, hidden: Any
) -> Any:
    activation = operations.tanh if spec.activation == "tanh" else operations.relu
    for index in range(depth):
        hidden = activation(
            operations.linear(hidden, weights[f"{prefix}.{index}.weight"], weights[f"{prefix}.{index}.bias"])
        )
    return hidden
