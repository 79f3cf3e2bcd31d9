"""Rollouts made by hand, in float64, and the pieces that learn from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from townlet_core import randomness
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import Layout, initial_weights, layout
from townlet_core.services.buffer import RolloutBuffer
from townlet_core.spaces import action_count
from townlet_core.torch.heads import log_prob_and_entropy
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo.advantages import generalized_advantages
from townlet_strategies_ppo.batch import RolloutBatch
from townlet_strategies_ppo.update import Rates, UpdateMetrics, make_gradient, make_optimizer, update

if TYPE_CHECKING:
    from townlet_strategies_ppo.settings import PPOSettings

CPU = torch.device("cpu")
SEEN = {"observation": spaces.Box(-10.0, 10.0, (3,), np.float64)}
DISCRETE = spaces.Discrete(4)


@dataclass
class Case:
    """A rollout and what learns from it."""

    spec: PolicySpec
    shape: Layout
    start: np.ndarray
    buffer: RolloutBuffer
    advantages: np.ndarray
    gamma: float = 0.9
    gae_lambda: float = 0.8
    normalize_advantages: bool = True
    reference: tuple[np.ndarray, np.ndarray | None] | None = None

    def in_float32(self) -> Case:
        """Return the same as a run has it."""
        fields = {field.name: _single(getattr(self.buffer, field.name)) for field in dataclasses.fields(self.buffer)}
        buffer = RolloutBuffer(**fields)
        return dataclasses.replace(self, start=_single(self.start), buffer=buffer, advantages=_single(self.advantages))

    def network(self) -> TorchNetwork:
        return TorchNetwork(self.spec, built_in_encoder("flatten"), self.start.copy(), device=CPU)

    def batch(self, worlds_per_shard: int) -> RolloutBatch:
        return RolloutBatch(
            self.buffer,
            self.advantages,
            SEEN,
            {},
            worlds_per_shard=worlds_per_shard,
            normalize_advantages=self.normalize_advantages,
            reference=self.reference,
        )

    def learn(self, settings: PPOSettings, *, worlds_per_shard: int, seed: int = 0) -> tuple[np.ndarray, UpdateMetrics]:
        """Make one whole update and return the new parameters and the metrics."""
        network = self.network()
        self.normalize_advantages = settings.normalize_advantages
        metrics = update(
            make_gradient(network),
            make_optimizer(network, epsilon=settings.adam_epsilon),
            self.batch(worlds_per_shard),
            settings,
            Rates(settings.learning_rate, settings.clip_range),
            epoch_keys=epoch_keys(seed, settings.num_epochs, self.buffer.rewards.shape[1] // worlds_per_shard),
        )
        return network.parameters.numpy(), metrics


def _single(array: Any) -> Any:
    if isinstance(array, dict):
        return {name: _single(values) for name, values in array.items()}
    return array.astype(np.float32) if isinstance(array, np.ndarray) and array.dtype == np.float64 else array


def epoch_keys(seed: int, num_epochs: int, num_shards: int) -> randomness.Keys:
    return randomness.key(seed, "minibatches", np.arange(num_epochs)[:, None], np.arange(num_shards))


def make_case(
    action_space: spaces.Space[Any] = DISCRETE,
    *,
    masked: bool = False,
    steps: int = 6,
    worlds: int = 4,
    agents: int = 2,
    absent: float = 0.25,
    drift: float = 0.3,
    seed: int = 0,
    **spec_fields: Any,
) -> Case:
    """Return a random rollout in float64; the policy that acted is `drift` away from the one that learns."""
    rng = np.random.default_rng(seed)
    spec = PolicySpec.for_spaces(
        SEEN, action_space, **{"actor_hidden": (5, 4), "critic_hidden": (6,), "shared_hidden": ()} | spec_fields
    )
    encoder = built_in_encoder("flatten")
    weights = layout(spec, encoder)
    start = weights.flatten(initial_weights(spec, encoder, seed=seed), np.float64)
    start += rng.normal(size=start.shape) * 0.3
    count = action_count(action_space)
    shape = (steps, worlds, agents)
    mask = None
    if masked:
        mask = rng.random((*shape, count)) < 0.6
        mask[..., _picked(action_space, rng, shape)[1]] = True
    buffer = RolloutBuffer(
        observations={"observation": rng.normal(size=(*shape, 3))},
        actions=np.zeros(shape),
        action_mask=mask,
        agent_mask=rng.random(shape) >= absent,
        log_probs=np.zeros(shape),
        values=rng.normal(size=shape),
        bootstrap_values=rng.normal(size=shape),
        rewards=rng.normal(size=shape),
        terminations=rng.random(shape) < 0.1,
        truncations=rng.random(shape) < 0.1,
        last_values=rng.normal(size=shape[1:]),
    )
    buffer.actions = _legal_actions(action_space, mask, rng, shape)
    old = TorchNetwork(spec, encoder, start + drift * rng.normal(size=start.shape), device=CPU)
    outputs = old(
        old.shard_weights(1), {"observation": torch.from_numpy(buffer.observations["observation"].reshape(1, -1, 3))}
    )
    log_probs, _ = log_prob_and_entropy(
        spec.head,
        outputs,
        torch.from_numpy(buffer.actions.reshape(1, -1, *buffer.actions.shape[3:])),
        None if mask is None else torch.from_numpy(mask.reshape(1, -1, count)),
    )
    buffer.log_probs = log_probs.detach().numpy().reshape(shape)
    buffer.values = outputs.values.detach().numpy().reshape(shape)
    advantages = generalized_advantages(
        buffer.rewards,
        buffer.values,
        terminations=buffer.terminations,
        truncations=buffer.truncations,
        bootstrap_values=buffer.bootstrap_values,
        last_values=buffer.last_values,
        agent_mask=buffer.agent_mask,
        gamma=0.9,
        gae_lambda=0.8,
    )
    return Case(spec, weights, start, buffer, advantages)


def _picked(action_space: spaces.Space[Any], rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, list[int]]:
    """Return the parts of a discrete space as (first, size) and one index of each that is always legal."""
    counts = [int(action_space.n)] if isinstance(action_space, spaces.Discrete) else action_space.nvec.tolist()
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
    return list(zip(firsts, counts, strict=True)), [
        first + size - 1 for first, size in zip(firsts, counts, strict=True)
    ]


def _legal_actions(
    action_space: spaces.Space[Any], mask: np.ndarray | None, rng: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray:
    if isinstance(action_space, spaces.Box):
        return rng.normal(size=(*shape, *action_space.shape))
    parts = []
    for first, size in _picked(action_space, rng, shape)[0]:
        chances = rng.random((*shape, size))
        if mask is not None:
            chances = np.where(mask[..., first : first + size], chances, -1.0)
        parts.append(chances.argmax(axis=-1))
    return parts[0] if isinstance(action_space, spaces.Discrete) else np.stack(parts, axis=-1)
