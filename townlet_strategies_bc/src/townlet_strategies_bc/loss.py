"""The loss of behaviour cloning, differentiable: cross-entropy under the recorded masks, or Gaussian likelihood.

A row's loss is the cross-entropy between the policy and the label. With label smoothing e, the label is 1 - e on the
action that was taken and e spread evenly over the actions that were legal (Szegedy et al. 2016, section 7), so nothing
is ever put on an illegal one. Several choices add up. A class weight multiplies the whole row (of several choices, each
with its own), and the sum is divided by the number of rows: balanced weights have mean 1 over the training rows, so a
batch's gradient is an unbiased one of the whole weighted loss.

Legend: S shards (always 1 here), B rows, K outputs of the actor, D action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from townlet_core.torch.heads import log_prob_and_entropy, masked_log_softmax

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_core.torch.network import NetworkOutputs


@dataclass(frozen=True, slots=True)
class LossTerms:
    """What the loss is made of.

    Attributes:
        label_smoothing: e.
        class_weights: (K,) float32 weight of a row by the action that it takes; None for 1.
        value_coef: weight of the value loss; 0 for none.
    """

    label_smoothing: float = 0.0
    class_weights: Array | None = None
    value_coef: float = 0.0


def action_loss(
    head: ActionHead,
    outputs: NetworkOutputs,
    actions: torch.Tensor,
    action_mask: torch.Tensor | None,
    terms: LossTerms,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each row's loss (S, B), and whether its most likely action is the one that was taken (S, B) bool.

    For a Gaussian the second is False throughout: there is no such thing.

    Args:
        head: which distribution.
        outputs: what the network said.
        actions: (S, B) int64, (S, B, parts) int64, or (S, B, D) float32.
        action_mask: (S, B, K) bool, or None.
        terms: smoothing and weights.
    """
    if head.kind == "gaussian":
        log_probs, _ = log_prob_and_entropy(head, outputs, actions, None)
        return -log_probs, torch.zeros_like(log_probs, dtype=torch.bool)
    weights = None if terms.class_weights is None else torch.as_tensor(terms.class_weights).to(outputs.actor)
    loss = torch.zeros_like(outputs.values)
    right = torch.ones_like(outputs.values, dtype=torch.bool)
    chosen = actions.unsqueeze(-1) if head.kind == "categorical" else actions
    for part, segment in enumerate(head.segments):
        mask = None if action_mask is None else action_mask[..., segment]
        log_probs = masked_log_softmax(outputs.actor[..., segment], mask)
        taken = chosen[..., part]
        row = -log_probs.gather(-1, taken.unsqueeze(-1)).squeeze(-1)
        if terms.label_smoothing > 0:
            row = (1.0 - terms.label_smoothing) * row - terms.label_smoothing * _mean_of_legal(log_probs, mask)
        if weights is not None:
            row = row * weights[segment][taken]
        loss = loss + row
        right = right & (log_probs.argmax(dim=-1) == taken)
    return loss, right


def _mean_of_legal(log_probs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return log_probs.mean(dim=-1)
    legal = torch.where(mask, log_probs, torch.zeros_like(log_probs))
    return legal.sum(dim=-1) / mask.sum(dim=-1).to(log_probs.dtype)
