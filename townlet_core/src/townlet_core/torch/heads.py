"""Log-probabilities and entropies of recorded actions, differentiable; the distributions of `policy.heads`.

Legend: S shards, B rows, K outputs of the actor, D action dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from townlet_core.policy.heads import LOG_SQRT_TWO_PI, MASK_FILL, ActionHead

if TYPE_CHECKING:
    from townlet_core.torch.network import NetworkOutputs


def masked_log_softmax(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return log-probabilities (..., K); where `mask` is False the probability and its gradient are exactly 0."""
    if mask is not None:
        logits = torch.where(mask, logits, MASK_FILL)
    return torch.log_softmax(logits, dim=-1)


def log_prob_and_entropy(
    head: ActionHead, outputs: NetworkOutputs, actions: torch.Tensor, action_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability (S, B) of `actions` and the entropy (S, B) over legal actions, in nats.

    Args:
        head: which distribution.
        outputs: what the network said.
        actions: (S, B) int64, (S, B, parts) int64, or (S, B, D) float.
        action_mask: (S, B, K) bool, or None.
    """
    if head.kind == "gaussian":
        assert outputs.log_std is not None
        return _gaussian(outputs.actor, outputs.log_std.unsqueeze(1), actions)
    if head.kind == "categorical":
        return _categorical(outputs.actor, action_mask, actions)
    log_prob, entropy = torch.zeros_like(outputs.values), torch.zeros_like(outputs.values)
    for part, segment in enumerate(head.segments):
        mask = None if action_mask is None else action_mask[..., segment]
        part_log_prob, part_entropy = _categorical(outputs.actor[..., segment], mask, actions[..., part])
        log_prob, entropy = log_prob + part_log_prob, entropy + part_entropy
    return log_prob, entropy


def divergence(
    head: ActionHead,
    outputs: NetworkOutputs,
    reference: tuple[torch.Tensor, torch.Tensor | None],
    action_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Return KL(reference || policy) (S, B) in nats.

    Args:
        head: which distribution.
        outputs: what the network said.
        reference: the outputs (S, B, K) of the policy that stays, and its log_std (D,) for a Gaussian.
        action_mask: (S, B, K) bool, or None.
    """
    stays, log_std = reference
    if head.kind == "gaussian":
        assert outputs.log_std is not None
        assert log_std is not None
        own = outputs.log_std.unsqueeze(1)
        quotients = (torch.exp(2.0 * log_std) + (stays - outputs.actor) ** 2) * torch.exp(-2.0 * own)
        return (own - log_std + 0.5 * (quotients - 1.0)).sum(dim=-1)
    total = torch.zeros_like(outputs.values)
    for segment in head.segments:
        mask = None if action_mask is None else action_mask[..., segment]
        log_probs = masked_log_softmax(outputs.actor[..., segment], mask)
        other = masked_log_softmax(stays[..., segment], mask)
        total = total + (other.exp() * (other - log_probs)).sum(dim=-1)
    return total


def _categorical(
    logits: torch.Tensor, mask: torch.Tensor | None, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    log_probs = masked_log_softmax(logits, mask)
    picked = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return picked, -(log_probs.exp() * log_probs).sum(dim=-1)


def _gaussian(mean: torch.Tensor, log_std: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    standard = (actions - mean) * torch.exp(-log_std)
    log_prob = (-0.5 * standard * standard - log_std - LOG_SQRT_TWO_PI).sum(dim=-1)
    entropy = (log_std + (0.5 + 0.5 * math.log(2.0 * math.pi))).sum(dim=-1)
    return log_prob, entropy.expand_as(log_prob)
