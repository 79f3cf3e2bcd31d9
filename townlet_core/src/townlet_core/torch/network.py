"""The network in torch: the forward pass of `policy.network` over one flat parameter vector.

For each minibatch every shard gets its own (stride-free) copy of the weights as leaves, so that autograd returns one
gradient per shard; they are added in shard order. Products are made per shard and never mix shards, so a shard's bytes
are the same in any stack of two and more, as long as its rows are a multiple of 4: the kernels' last bits depend on an
operand's address modulo 16. A stack of one takes other kernels (a product with one output differs), so a process that
holds one of several shards has to stack it with a second.

Legend: S shards, B rows of a shard, P parameters, K outputs of the actor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from townlet_core.policy import network
from townlet_core.policy.weights import Layout, layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec


class TorchOperations:
    """The operations of `policy.operations` on tensors; weights carry the shard axis: (S, F, D) and (S, D)."""

    def linear(self, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return ``inputs @ weight + bias``, one product per shard."""
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight)

    def tanh(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the hyperbolic tangent."""
        return torch.tanh(inputs)

    def relu(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return ``max(inputs, 0)``."""
        return torch.relu(inputs)

    def concatenate(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Join along the last axis; a single part is returned as it is."""
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """What the network says about a minibatch.

    Attributes:
        actor: (S, B, K) logits or means.
        values: (S, B).
        log_std: (S, K) for a Gaussian, else None.
    """

    actor: torch.Tensor
    values: torch.Tensor
    log_std: torch.Tensor | None


class TorchNetwork:
    """A policy's network over a flat parameter vector.

    Attributes:
        parameters: (P,) tensor on `device`. On the CPU it shares memory with the array it was made from.
    """

    def __init__(self, spec: PolicySpec, encoder: Encoder, flat: Array, *, device: torch.device) -> None:
        self.spec = spec
        self.layout: Layout = layout(spec, encoder)
        self.parameters = torch.from_numpy(flat).to(device)
        self.encoder = encoder
        self._operations = TorchOperations()

    def shard_weights(self, num_shards: int) -> dict[str, torch.Tensor]:
        """Return name -> leaf (S, *shape) that requires a gradient; no memory is copied."""
        views = self.layout.views(self.parameters)
        return {
            name: view.detach().unsqueeze(0).expand(num_shards, *view.shape).requires_grad_()
            for name, view in views.items()
        }

    def __call__(self, weights: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> NetworkOutputs:
        """Return the outputs for prepared inputs, name -> (S, B, *shape)."""
        layers = network.Layers.of(self.spec, weights)
        features = network.encoded(self._operations, self.spec, self.encoder, layers, inputs)
        dtype = self.parameters.dtype  # products may have been made in a shorter one
        return NetworkOutputs(
            network.actor_outputs(self._operations, self.spec, layers, features).to(dtype),
            network.critic_outputs(self._operations, self.spec, layers, features).to(dtype),
            layers.log_std,
        )

    def shard_gradients(self, loss: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return d loss / d parameters of each shard, (S, P); whoever adds them does it in the order of the shards."""
        gradients: Any = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        return torch.cat([gradient.reshape(gradient.shape[0], -1) for gradient in gradients], dim=1)
