"""The gradient of a batch by torch's autograd: for every network and every device.

Legend: B rows, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from townlet_strategies_bc.loss import LossTerms, action_loss

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_bc.batch import Batch


class AutogradGradient:
    """Differentiates batches; see `update.Gradient`."""

    def __init__(self, network: TorchNetwork, terms: LossTerms) -> None:
        self._network, self._terms = network, terms
        self._weights = network.shard_weights(1)
        self._device = network.parameters.device

    def __call__(self, batch: Batch) -> tuple[Any, Any]:
        """Return d loss / d parameters (P,), and the sums that `optimizer.SUMS` names; tensors unless on the CPU."""
        network, terms = self._network, self._terms
        outputs = network(self._weights, self._inputs(batch))
        mask = None if batch.action_mask is None else self._on_device(batch.action_mask)
        rows, right = action_loss(network.spec.head, outputs, self._on_device(batch.actions), mask, terms)
        loss, value_loss = rows.sum(), torch.zeros((), dtype=rows.dtype, device=rows.device)
        if batch.returns is not None:
            errors = outputs.values - self._on_device(batch.returns)
            value_loss = 0.5 * (errors * errors).sum()
        total = loss + terms.value_coef * value_loss
        sums = [total.detach(), value_loss.detach(), right.sum(), torch.full_like(loss, batch.count)]
        gradient = network.gradient(total / batch.count, self._weights)
        report = torch.stack([number.to(torch.float64) for number in sums])
        return (gradient.numpy(), report.numpy()) if self._device.type == "cpu" else (gradient, report)

    def outputs(self, batch: Batch) -> tuple[Array, Array]:
        """Return logits or means (B, K) and values (B,)."""
        with torch.no_grad():
            outputs = self._network(self._weights, self._inputs(batch))
        return outputs.actor[0].cpu().numpy(), outputs.values[0].cpu().numpy()

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {name: self._on_device(values) for name, values in batch.inputs.items()}

    def _on_device(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
