"""The gradient of a multi-layer policy in closed form, in NumPy.

For small networks an autograd engine's bookkeeping is two thirds of a learning step; the chain rule of dense layers is
a page. It covers policies of the encoder `flatten`, which has no weights; the tests hold it against autograd.

Legend: S shards, B rows of a shard, F features, K outputs of the actor, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.arrays import aligned_empty
from townlet_core.policy.network import Layers
from townlet_core.policy.scratch import Scratch
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

    Its memory is used again for every pass: what `forward` and `backward` return holds until the next call of either.

    Args:
        spec: a network that `has_closed_form`.
        encoder: its encoder.
        flat: (P,) the parameters; read at every pass, never written.
        num_shards: S at most.
        critic: False leaves the critic out: values are zeros, and its gradient too.
    """

    def __init__(
        self, spec: PolicySpec, encoder: Encoder, flat: Array, *, num_shards: int, critic: bool = True
    ) -> None:
        shape = layout(spec, encoder)
        self.layers = Layers.of(spec, shape.views(flat))
        self.scratch = Scratch()
        self._tanh = spec.activation == "tanh"
        self._has_critic = critic
        self._by_shard = self.scratch.array("gradients", (num_shards, shape.size), flat.dtype)
        self._by_shard.fill(0)
        self._gradients = [Layers.of(spec, shape.views(self._by_shard[:count])) for count in range(1, num_shards + 1)]
        self._ones: dict[int, Array] = {}
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
        """Return d loss / d parameters of each shard, (S, P).

        Args:
            actor: (S, B, K) d loss / d actor outputs.
            values: (S, B) d loss / d values.
            log_std: (S, K) d loss / d log_std by shard, for a Gaussian.
        """
        has_shared, num_shards = bool(self.layers.shared), len(actor)
        gradients = self._gradients[num_shards - 1]
        below = self._descend("actor", self.layers.actor, gradients.actor, self._actor, actor, go_on=has_shared)
        if self._has_critic:
            other = self._descend(
                "critic", self.layers.critic, gradients.critic, self._critic, values[..., None], go_on=has_shared
            )
            if has_shared:
                below += other
        if has_shared:
            below *= self._slope(self._shared[-1])
            self._descend("shared", self.layers.shared, gradients.shared, self._shared[:-1], below, go_on=False)
        if log_std is not None:
            gradients.log_std[:] = log_std
        return self._by_shard[:num_shards]

    def _hidden(self, stack: str, layers: tuple[tuple[Array, Array], ...], inputs: Array) -> Trace:
        """Return the inputs and what each layer makes of them; the last one of actor and critic is not activated."""
        trace = [inputs]
        is_bare = stack != "shared"
        for index, (weight, bias) in enumerate(layers):
            hidden = self.scratch.array(f"{stack} {index}", (*inputs.shape[:2], weight.shape[1]), inputs.dtype)
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
            np.matmul(self._row_of_ones(outputs), outputs, out=bias[:, None])
            if index > 0 or go_on:
                below = self.scratch.array(f"{stack} below {index}", inputs.shape, inputs.dtype)
                upper, weight = outputs, layers[index][0].T
                if outputs.shape[-1] == 1:
                    upper, weight = self._in_pairs(outputs, weight)
                outputs = np.matmul(upper, weight, out=below)
            if index > 0:
                outputs *= self._slope(inputs)
        return outputs

    def _in_pairs(self, column: Array, row: Array) -> tuple[Array, Array]:
        """Return (S, B, 2) and (2, D) with the product of `column` (S, B, 1) and `row` (1, D), in half the time."""
        columns = self.scratch.array("columns", (*column.shape[:2], 2), column.dtype)
        rows = self.scratch.array("rows", (1, 2, row.shape[1]), row.dtype)[0]
        columns[..., :1], columns[..., 1], rows[:1], rows[1] = column, 0, row, 0
        return columns, rows

    def _row_of_ones(self, outputs: Array) -> Array:
        """Return (1, 1, B) ones: a product with them adds rows up several times faster than a reduction does."""
        count = outputs.shape[1]
        ones = self._ones.get(count)
        if ones is None:
            ones = self._ones[count] = aligned_empty(count, outputs.dtype).reshape(1, 1, count)
            ones.fill(1)
        return ones

    def _slope(self, activated: Array) -> Array:
        """Return the activation's derivative where it gave `activated`."""
        if self._tanh:
            slope = self.scratch.array("slope", activated.shape, activated.dtype)
            np.multiply(activated, activated, out=slope)
            return np.subtract(1, slope, out=slope)
        return np.asarray(activated > 0, dtype=activated.dtype)
