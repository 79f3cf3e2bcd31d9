"""The gradient of a minibatch by torch's autograd: for every network and every device.

The rollout is sent to the device as it is, once per update, and rows are gathered and prepared there. It is let go of
with the update's batch, before the next rollout is made.

Legend: S shards, B rows of a shard, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from townlet_core.torch.device import products_in
from townlet_core.torch.heads import divergence, log_prob_and_entropy
from townlet_core.torch.inputs import prepare_tensor
from townlet_strategies_ppo.loss import LossCoefficients, LossSums, ppo_terms

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.torch.device import Precision
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch, RolloutBatch

GROUP_ROWS = {"cpu": 4096}
OTHER_GROUP_ROWS = 1 << 20
"""Rows that are differentiated at once: on the CPU what fits into its cache, elsewhere what fits into memory."""


class AutogradGradient:
    """Differentiates minibatches; see `update.Gradient`."""

    def __init__(self, network: TorchNetwork, precision: Precision = "float32") -> None:
        """Take up the network, and the arithmetic of its products."""
        self._network, self._precision = network, precision
        self._device, self._dtype = network.parameters.device, network.parameters.dtype
        self._group_rows = GROUP_ROWS.get(self._device.type, OTHER_GROUP_ROWS)
        self._rows: WeakKeyDictionary[RolloutBatch, _DeviceRows] = WeakKeyDictionary()

    def __call__(
        self, batch: RolloutBatch, minibatch: Minibatch, coefficients: LossCoefficients
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return d loss / d parameters (P,), and the numbers that `update.REPORTED` names, both on the device."""
        rows = self._rows.get(batch)
        if rows is None:
            rows = self._rows[batch] = _DeviceRows(batch, self._device)
        total, sums = torch.zeros_like(self._network.parameters), []
        for group in minibatch.groups(self._group_rows):
            weights = self._network.shard_weights(group.stop - group.start)
            terms = self._terms(rows, minibatch, group, weights, coefficients)
            for gradient in self._network.shard_gradients(terms.loss(minibatch, coefficients), weights):
                total += gradient
            sums.append(torch.stack([term.detach() for term in terms]))
        reported = LossSums(*torch.stack(sums).sum(dim=0)).reported(minibatch, coefficients)
        return total, torch.stack(
            [torch.as_tensor(value, device=self._device, dtype=self._dtype) for value in reported]
        )

    def _terms(
        self,
        rows: _DeviceRows,
        minibatch: Minibatch,
        group: slice,
        weights: dict[str, torch.Tensor],
        coefficients: LossCoefficients,
    ) -> LossSums:
        def sent(column: Array) -> torch.Tensor:
            return torch.from_numpy(column[group]).to(self._device)

        chosen = sent(minibatch.rows)
        mask = None if rows.action_mask is None else _taken(rows.action_mask, chosen)
        with products_in(self._precision, self._device):
            outputs = self._network(weights, rows.inputs(chosen, self._dtype))
        log_probs, entropies = log_prob_and_entropy(
            self._network.spec.head,
            outputs,
            _taken(rows.actions, chosen),
            mask,
        )
        divergences = torch.zeros_like(outputs.values)
        if rows.reference is not None:
            stays = _taken(rows.reference[0], chosen), rows.reference[1]
            divergences = divergence(self._network.spec.head, outputs, stays, mask)
        return ppo_terms(
            log_probs,
            entropies,
            outputs.values,
            divergences,
            old_log_probs=sent(minibatch.old_log_probs),
            old_values=sent(minibatch.old_values),
            advantages=sent(minibatch.advantages),
            returns=sent(minibatch.returns),
            weights=sent(minibatch.weights),
            scripted=None if minibatch.scripted is None else sent(minibatch.scripted),
            coefficients=coefficients,
        )

    def close(self) -> None:
        """Let go of the rollout."""
        self._rows.clear()


class _DeviceRows:
    """The rows of a rollout on a device; on the CPU they share its memory."""

    def __init__(self, batch: RolloutBatch, device: torch.device) -> None:
        self.spaces = {name: leaf.space for name, leaf in batch.leaves.items()}
        self.leaves = {name: torch.from_numpy(leaf.rows).to(device) for name, leaf in batch.leaves.items()}
        self.actions = torch.from_numpy(batch.actions).to(device)
        self.action_mask = None if batch.action_mask is None else torch.from_numpy(batch.action_mask).to(device)
        self.reference: tuple[torch.Tensor, torch.Tensor | None] | None = None
        if batch.reference is not None:
            outputs, log_std = batch.reference
            spread = None if log_std is None else torch.from_numpy(log_std).to(device)
            self.reference = torch.from_numpy(outputs).to(device), spread

    def inputs(self, chosen: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return prepared observations (S, B, *shape) of the rows `chosen` (S, B)."""
        return {
            name: prepare_tensor(self.spaces[name], _taken(source, chosen), dtype)
            for name, source in self.leaves.items()
        }


def _taken(source: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return source.index_select(0, chosen.reshape(-1)).reshape(*chosen.shape, *source.shape[1:])
