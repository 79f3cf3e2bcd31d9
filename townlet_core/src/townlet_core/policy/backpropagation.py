"""The gradient of a multi-layer policy in closed form, in NumPy.

For small networks an autograd engine's bookkeeping is two thirds of a learning step; the chain rule of dense layers is
a page. It covers policies of the encoder `flatten`, which has no weights; the tests hold it against autograd.

Legend: S shards, B rows of a shard, F features, K outputs of the actor, P parameters.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.arrays import aligned_empty
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
        critic: False leaves the critic out: values are zeros, and its gradient too.
        reuse: take the same memory for every pass. It begins at multiples of 64 bytes, so that products have the same
            last bits in every process; what `forward` and `backward` return holds until the next call of either.
    """

    def __init__(
        self,
        spec: PolicySpec,
        encoder: Encoder,
        flat: Array,
        *,
        num_shards: int,
        critic: bool = True,
        reuse: bool = False,
    ) -> None:
        shape = layout(spec, encoder)
        self.layers = Layers.of(spec, shape.views(flat))
        self._tanh = spec.activation == "tanh"
        self._has_critic, self._reuse = critic, reuse
        self._memory: dict[tuple[str, int], Array] = {}
        self._views: dict[tuple[str, int, tuple[int, ...]], Array] = {}
        memory = aligned_empty if reuse else np.empty
        self._by_shard = memory(num_shards * shape.size, dtype=flat.dtype).reshape(num_shards, shape.size)
        self._by_shard.fill(0)
        self._gradients = Layers.of(spec, shape.views(self._by_shard))
        self._shared: Trace = []
        self._actor: Trace = []
        self._critic: Trace = []

    def forward(self, features: Array) -> tuple[Array, Array]:
        """Return actor outputs (S, B, K) and values (S, B) of features (S, B, F); what `backward` needs is kept."""
        self._shared = self._hidden("shared", self.layers.shared, features)
        self._actor = self._hidden("actor", self.layers.actor, self._shared[-1])
        if not self._has_critic:
            return self._actor.pop(), np.zeros(features.shape[:2], features.dtype)
        self._critic = self._hidden("critic", self.layers.critic, self._shared[-1])
        return self._actor.pop(), self._critic.pop()[..., 0]

    def backward(self, actor: Array, values: Array, log_std: Array | None = None) -> Array:
        """Return d loss / d parameters (P,), the shards' gradients summed in shard order.

        Args:
            actor: (S, B, K) d loss / d actor outputs.
            values: (S, B) d loss / d values.
            log_std: (S, K) d loss / d log_std by shard, for a Gaussian.
        """
        has_shared = bool(self.layers.shared)
        below = self._descend("actor", self.layers.actor, self._gradients.actor, self._actor, actor, go_on=has_shared)
        if self._has_critic:
            other = self._descend(
                "critic", self.layers.critic, self._gradients.critic, self._critic, values[..., None], go_on=has_shared
            )
            if has_shared:
                below += other
        if has_shared:
            below *= self._slope("shared", len(self.layers.shared), self._shared[-1])
            self._descend("shared", self.layers.shared, self._gradients.shared, self._shared[:-1], below, go_on=False)
        if log_std is not None:
            self._gradients.log_std[:] = log_std
        if self._reuse and len(self._by_shard) == 1:
            first: Array = self._by_shard[0]
            return first
        total: Array = self._by_shard[0].copy()
        for shard in self._by_shard[1:]:
            total += shard
        return total

    def _hidden(self, stack: str, layers: tuple[tuple[Array, Array], ...], inputs: Array) -> Trace:
        """Return the inputs and what each layer makes of them; the last one of actor and critic is not activated."""
        trace = [inputs]
        is_bare = stack != "shared"
        for index, (weight, bias) in enumerate(layers):
            hidden = self._array(stack, index, (*inputs.shape[:2], weight.shape[1]), inputs.dtype)
            np.matmul(trace[-1], weight, out=hidden)
            hidden += bias
            if is_bare and index + 1 == len(layers):
                trace.append(hidden)
            else:
                trace.append(np.tanh(hidden, out=hidden) if self._tanh else np.maximum(hidden, 0, out=hidden))
        return trace

    def _descend(
        self,
        stack: str,
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
            np.matmul(self._ones(outputs), outputs, out=bias[:, None])
            if index > 0 or go_on:
                below = self._array(f"{stack} below", index, inputs.shape, inputs.dtype)
                outputs = np.matmul(outputs, layers[index][0].T, out=below)
            if index > 0:
                outputs *= self._slope(stack, index, inputs)
        return outputs

    def _ones(self, outputs: Array) -> Array:
        """Return (1, 1, B) ones: a product with them adds rows up several times faster than a reduction does."""
        count = outputs.shape[1]
        ones = self._views.get(("ones", 0, (count,)))
        if ones is None:
            ones = aligned_empty(count, outputs.dtype).reshape(1, 1, count)
            ones.fill(1)
            self._views["ones", 0, (count,)] = ones
        return ones

    def _slope(self, stack: str, index: int, activated: Array) -> Array:
        """Return the activation's derivative where it gave `activated`."""
        if self._tanh:
            slope = self._array(f"{stack} slope", index, activated.shape, activated.dtype)
            np.multiply(activated, activated, out=slope)
            return np.subtract(1, slope, out=slope)
        return np.asarray(activated > 0, dtype=activated.dtype)

    def _array(self, name: str, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an uninitialised array, by name and place the same memory for every shape where memory is reused."""
        if not self._reuse:
            return np.empty(shape, dtype)
        view = self._views.get((name, index, shape))
        if view is None:
            memory = self._memory.get((name, index))
            if memory is None or memory.size < prod(shape):
                memory = self._memory[name, index] = aligned_empty(prod(shape), dtype)
            view = self._views[name, index, shape] = memory[: prod(shape)].reshape(shape)
        return view
