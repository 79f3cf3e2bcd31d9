"""Runs a policy with NumPy alone: the same network as in training, without torch.

Legend: N worlds, A agents per world, K outputs of the actor, S shards of W worlds each, B = W * A rows of a shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import EnvironmentFault
from townlet_core.policy import heads, network
from townlet_core.policy.base import PolicyStep
from townlet_core.policy.inputs import Normalizer, prepare
from townlet_core.policy.operations import NumpyOperations
from townlet_core.policy.paired_layers import paired_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.arrays import Array, Observations
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec


_ROWS_AT_ONCE = 2048
"""Rows of one shard that are multiplied at once, about: enough for few calls, few enough for a processor's cache."""


class NumpyPolicy:
    """A network that acts.

    Products are made per shard of `worlds_per_shard` worlds, so that what a world decides depends on its place in its
    shard and on nothing outside of it. The weights are used as given and may be views of what a learner writes.
    """

    def __init__(
        self,
        spec: PolicySpec,
        encoder: Encoder,
        weights: Mapping[str, Array],
        normalizer: Normalizer,
        *,
        worlds_per_shard: int = 1,
    ) -> None:
        self.spec = spec
        self.noise_size = spec.head.noise_size
        self.normalizer = normalizer
        self._encoder = encoder
        self._layers = network.Layers.of(spec, weights)
        self._paired = paired_layers(self._layers.actor, self._layers.critic)
        self._worlds_per_shard = worlds_per_shard
        self._operations = NumpyOperations()
        self._is_tanh = spec.activation == "tanh"
        self._plain = _plain_observation(spec, normalizer)

    def act(
        self,
        observations: Observations,
        action_mask: Array | None,
        agent_mask: Array,
        noise: Array | None,
        state: object | None = None,
    ) -> PolicyStep:
        """Choose actions; see `Policy.act`."""
        del state
        outputs, values = self._outputs(self._features(observations))
        outputs = outputs.reshape(*agent_mask.shape, -1)
        actions = self._sample(outputs, action_mask, agent_mask, noise)
        log_probs = heads.log_prob(self.spec.head, outputs, self.log_std, action_mask, actions)
        return PolicyStep(actions, log_probs, values.reshape(agent_mask.shape))

    def choose(
        self, observations: Observations, action_mask: Array | None, agent_mask: Array, noise: Array | None
    ) -> tuple[Array, Array]:
        """Return the actions of `act`, bit for bit, and the outputs that they were drawn from, (N, A, K)."""
        layers = self._layers.actor
        hidden = self._activated(layers[:-1], self._features(observations))
        outputs = self._operations.linear(hidden, *layers[-1]).reshape(*agent_mask.shape, -1)
        return self._sample(outputs, action_mask, agent_mask, noise), outputs

    @property
    def log_std(self) -> Array | None:
        """Log standard deviations (D,) of a Gaussian, else None."""
        log_std: Array | None = self._layers.log_std
        return log_std

    def outputs(self, observations: Observations) -> Array:
        """Return logits or means for `observations`, (N, A, K)."""
        leading = next(iter(observations.values())).shape[:2]
        features = self._features(observations)
        outputs = network.actor_outputs(self._operations, self.spec, self._layers, features)
        return np.asarray(outputs.reshape(*leading, -1))

    def values(self, observations: Observations) -> Array:
        """Return the value estimates of `observations`, (N, A)."""
        leading = next(iter(observations.values())).shape[:2]
        features = self._features(observations)
        return self._critic(features).reshape(leading)

    def values_of_steps(self, observations: Observations) -> Array:
        """Return the value estimates of many steps, (T, N, A), for observations (T, N, A, ...).

        A product is of many steps of one shard: a third of the time of one for each step where a step has few rows.
        """
        num_steps, num_worlds, num_agents = next(iter(observations.values())).shape[:3]
        values = np.empty((num_steps, num_worlds, num_agents), np.float32)
        steps_at_once = max(1, _ROWS_AT_ONCE // (self._worlds_per_shard * num_agents))
        for world in range(0, num_worlds, self._worlds_per_shard):
            for step in range(0, num_steps, steps_at_once):
                place = np.s_[step : step + steps_at_once, world : world + self._worlds_per_shard]
                seen = {name: leaf[place].reshape(1, -1, *leaf.shape[3:]) for name, leaf in observations.items()}
                features = self._encoded(prepare(self.spec.observation_spaces, seen, self.normalizer))
                out = values[place]
                out[...] = self._critic(features).reshape(out.shape)
        return values

    def log_probs_of_steps(self, outputs: Sequence[Array], action_mask: Array | None, actions: Array) -> Array:
        """Return the log-probabilities (T, N, A) that `act` would have given with many decisions of `choose`.

        Args:
            outputs: T of (N, A, K), which `choose` gave.
            action_mask: (T, N, A, K), or None.
            actions: (T, N, A, ...), which it chose.
        """
        num_steps, shape = len(outputs), outputs[0].shape
        log_probs = np.empty((num_steps, *shape[:2]), outputs[0].dtype)
        steps_at_once = max(1, _ROWS_AT_ONCE // (shape[0] * shape[1]))
        for step in range(0, num_steps, steps_at_once):
            place = slice(step, step + steps_at_once)
            said = np.concatenate(outputs[place]).reshape(-1, *shape)
            mask = None if action_mask is None else action_mask[place]
            log_probs[place] = heads.log_prob(self.spec.head, said, self.log_std, mask, actions[place])
        return log_probs

    def _outputs(self, features: Array) -> tuple[Array, Array]:
        """Return the actor's outputs (S, B, K) and values (S, B) of features (S, B, F)."""
        operations, layers = self._operations, self._layers
        if not self._paired:
            return network.actor_outputs(operations, self.spec, layers, features), self._critic(features)
        hidden = self._activated(self._paired, features)
        return operations.linear(hidden[0], *layers.actor[-1]), operations.linear(hidden[1], *layers.critic[-1])[..., 0]

    def _activated(self, layers: tuple[tuple[Array, Array], ...], hidden: Array) -> Array:
        """Return what hidden layers make of their inputs; `network.hidden` in the fewest calls, for few worlds."""
        for weight, bias in layers:
            hidden = np.matmul(hidden, weight)
            hidden += bias
            hidden = np.tanh(hidden, out=hidden) if self._is_tanh else np.maximum(hidden, 0, out=hidden)
        return hidden

    def _critic(self, features: Array) -> Array:
        """Return values (S, B) of features (S, B, F)."""
        values: Array = network.critic_outputs(self._operations, self.spec, self._layers, features)
        return values

    def _sample(self, outputs: Array, action_mask: Array | None, agent_mask: Array, noise: Array | None) -> Array:
        if action_mask is not None and self.spec.head.counts:
            self._require_choice(action_mask, agent_mask)
        return heads.sample(self.spec.head, outputs, self._layers.log_std, action_mask, noise)

    def _features(self, observations: Observations) -> Any:
        if self._plain is not None:
            return self._stacked(observations[self._plain])
        prepared = prepare(self.spec.observation_spaces, observations, self.normalizer)
        return self._encoded({name: self._stacked(values) for name, values in prepared.items()})

    def _encoded(self, inputs: Observations) -> Any:
        """Return features (S, B, F) of prepared observations (S, B, ...)."""
        return network.encoded(self._operations, self.spec, self._encoder, self._layers, inputs)

    def _stacked(self, values: Array) -> Array:
        worlds, agents = values.shape[:2]
        rows = self._worlds_per_shard * agents
        return values.reshape(worlds * agents // rows, rows, *values.shape[2:])

    def _require_choice(self, action_mask: Array, agent_mask: Array) -> None:
        for segment in self.spec.head.segments:
            stuck = agent_mask & ~action_mask[..., segment].any(axis=-1)
            if stuck.any():
                world, agent = (int(index) for index in np.argwhere(stuck)[0])
                raise EnvironmentFault(
                    f"world {world}, agent {agent}: the action mask allows nothing; "
                    "every present agent needs at least one action"
                )


def _plain_observation(spec: PolicySpec, normalizer: Normalizer) -> str | None:
    """Return the name of the only observation where it is fed as it is, else None; worth it for few worlds only."""
    name, space = next(iter(spec.observation_spaces.items()))
    is_bare = spec.encoder.name == "flatten" and not spec.shared_hidden and not normalizer
    is_row = isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1
    return name if is_bare and is_row and len(spec.observation_spaces) == 1 else None
