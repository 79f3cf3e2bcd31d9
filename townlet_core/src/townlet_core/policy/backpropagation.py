"""The gradient of a multi-layer policy in closed form, in NumPy.

For small networks an autograd engine's bookkeeping is two thirds of a learning step; the chain rule of dense layers is
a page. It covers policies of the encoder `flatten`, which has no weights; the tests hold it against autograd.

Legend: S shards, B rows of a shard, F features, K outputs of the actor, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.network import Layers
from townlet_core.policy.weights import layout

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec

Trace = list["Array"]


def has_closed_form(spec: PolicySpec) -> bool:
    """Return whether the gradient of this network is known in closed form."""
    return spec.encoder.name == "flatten"


class ClosedFormNetwork:
    """Forward and backward pass over one flat parameter vector, one product per shard.

    Args:
        spec: a network that `has_closed_form`.
        encoder: its encoder.
        flat: (P,) the parameters; read at every pass, never written.
        num_shards: S.
    """

    def __init__(self, spec: PolicySpec, encoder: Encoder, flat: Array, *, num_shards: int) -> None:
        shape = layout(spec, encoder)
        self.layers = Layers.of(spec, shape.views(flat))
        self._tanh = spec.activation == "tanh"
        self._by_shard = np.zeros((num_shards, shape.size), dtype=flat.dtype)
        self._gradients = Layers.of(spec, shape.views(self._by_shard))
        self._shared: Trace = []
        self._actor: Trace = []
        self._critic: Trace = []

    def forward(self, features: Array) -> tuple[Array, Array]:
        """Return actor outputs (S, B, K) and values (S, B) of features (S, B, F); what `backward` needs is kept."""
        self._shared = self._hidden(self.layers.shared, features)
        self._actor = self._hidden(self.layers.actor[:-1], self._shared[-1])
        self._critic = self._hidden(self.layers.critic[:-1], self._shared[-1])
        return _linear(self._actor[-1], *self.layers.actor[-1]), _linear(self._critic[-1], *self.layers.critic[-1])[
            ..., 0
        ]

    def backward(self, actor: Array, values: Array, log_std: Array | None = None) -> Array:
        """Return d loss / d parameters (P,), the shards' gradients summed in shard order.

        Args:
            actor: (S, B, K) d loss / d actor outputs.
            values: (S, B) d loss / d values.
            log_std: (S, K) d loss / d log_std by shard, for a Gaussian.
        """
        has_shared = bool(self.layers.shared)
        below = self._descend(self.layers.actor, self._gradients.actor, self._actor, actor, go_on=has_shared)
        other = self._descend(
            self.layers.critic, self._gradients.critic, self._critic, values[..., None], go_on=has_shared
        )
        if has_shared:
            below += other
            below *= self._slope(self._shared[-1])
            self._descend(self.layers.shared, self._gradients.shared, self._shared[:-1], below, go_on=False)
        if log_std is not None:
            self._gradients.log_std[:] = log_std
        total: Array = self._by_shard[0].copy()
        for shard in self._by_shard[1:]:
            total += shard
        return total

    def _hidden(self, layers: tuple[tuple[Array, Array], ...], inputs: Array) -> Trace:
        """Return the inputs and what each layer makes of them."""
        trace = [inputs]
        for weight, bias in layers:
            hidden = _linear(trace[-1], weight, bias)
            trace.append(np.tanh(hidden, out=hidden) if self._tanh else np.maximum(hidden, 0, out=hidden))
        return trace

    def _descend(
        self,
        layers: tuple[tuple[Array, Array], ...],
        gradients: tuple[tuple[Array, Array], ...],
        trace: Trace,
        outputs: Array,
        *,
        go_on: bool,
    ) -> Array:
        """Fill the gradients of a stack whose last layer has the gradient `outputs`; return that of its inputs.

        Without `go_on` nobody needs that, and what is returned is the gradient of the first layer's outputs.
        """
        for index in range(len(layers) - 1, -1, -1):
            inputs, (weight, bias) = trace[index], gradients[index]
            np.matmul(inputs.transpose(0, 2, 1), outputs, out=weight)
            np.add.reduce(outputs, axis=1, out=bias)
            if index > 0 or go_on:
                outputs = np.matmul(outputs, layers[index][0].T)
            if index > 0:
                outputs *= self._slope(inputs)
        return outputs

    def _slope(self, activated: Array) -> Array:
        """Return the activation's derivative where it gave `activated`."""
        if self._tanh:
            slope: Array = activated * activated
            return np.subtract(1, slope, out=slope)
        return np.asarray(activated > 0, dtype=activated.dtype)


def _linear(inputs: Array, weight: Array, bias: Array) -> Array:
    outputs: Array = np.matmul(inputs, weight)
    outputs += bias
    return outputs
