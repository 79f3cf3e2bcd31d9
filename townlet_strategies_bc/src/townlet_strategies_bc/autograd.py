"""The gradient of a batch by torch's autograd: for every network and every device.

Legend: B rows, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from townlet_strategies_bc.batch import ACTION_MASK, ACTIONS, RETURNS
from townlet_strategies_bc.loss import LossTerms, action_loss
from townlet_strategies_bc.staging import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_bc.batch import Batch


class AutogradGradient:
    """Differentiates batches; see `update.Gradient`."""

    def __init__(self, network: TorchNetwork, terms: LossTerms) -> None:
        self._network, self._terms = network, terms
        self._weights = network.shard_weights(1)
        self._device = network.parameters.device
        self._stage = None if self._device.type == "cpu" else Stage(self._device)

    def __call__(self, batch: Batch) -> tuple[Any, Any]:
        """Return d loss / d parameters (P,), and the sums that `optimizer.SUMS` names; tensors unless on the CPU."""
        network, terms = self._network, self._terms
        recorded = {ACTIONS: batch.actions, ACTION_MASK: batch.action_mask, RETURNS: batch.returns}
        inputs = self._on_device({**batch.inputs, **{name: a for name, a in recorded.items() if a is not None}})
        outputs = network(self._weights, {name: inputs[name] for name in batch.inputs})
        rows, right = action_loss(network.spec.head, outputs, inputs[ACTIONS], inputs.get(ACTION_MASK), terms)
        loss, value_loss = rows.sum(), torch.zeros((), dtype=rows.dtype, device=rows.device)
        if batch.returns is not None:
            errors = outputs.values - inputs[RETURNS]
            value_loss = 0.5 * (errors * errors).sum()
        total = loss + terms.value_coef * value_loss
        sums = [total.detach(), value_loss.detach(), right.sum(), torch.full_like(loss, batch.count)]
        gradient = network.shard_gradients(total / batch.count, self._weights)[0]
        report = torch.stack([number.to(torch.float64) for number in sums])
        return (gradient.numpy(), report.numpy()) if self._device.type == "cpu" else (gradient, report)

    def outputs(self, batch: Batch) -> tuple[Array, Array]:
        """Return logits or means (B, K) and values (B,)."""
        with torch.no_grad():
            outputs = self._network(self._weights, self._on_device(batch.inputs))
        return outputs.actor[0].cpu().numpy(), outputs.values[0].cpu().numpy()

    def _on_device(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        if self._stage is not None:
            return self._stage(arrays)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
