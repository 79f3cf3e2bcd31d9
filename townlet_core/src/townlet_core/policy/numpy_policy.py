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
    from collections.abc import Mapping

    from townlet_core.arrays import Array, Observations
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec


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
        logits, values = outputs.reshape(*agent_mask.shape, -1), values.reshape(agent_mask.shape)
        if self.spec.head.kind == "gaussian":
            actions, log_probs = heads.act_gaussian(logits, self._layers.log_std, noise)
        else:
            if action_mask is not None:
                self._require_choice(action_mask, agent_mask)
            actions, log_probs = heads.act_categorical(self.spec.head, logits, action_mask, noise)
        return PolicyStep(actions, log_probs, values)

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
        return np.asarray(network.critic_outputs(self._operations, self.spec, self._layers, features).reshape(leading))

    def _outputs(self, features: Array) -> tuple[Array, Array]:
        """Return the actor's outputs (S, B, K) and values (S, B) of features (S, B, F)."""
        operations, spec, layers = self._operations, self.spec, self._layers
        if not self._paired:
            return (
                network.actor_outputs(operations, spec, layers, features),
                network.critic_outputs(operations, spec, layers, features),
            )
        hidden = features
        for weight, bias in self._paired:
            hidden = np.matmul(hidden, weight)
            hidden += bias
            hidden = np.tanh(hidden, out=hidden) if self._is_tanh else np.maximum(hidden, 0, out=hidden)
        return operations.linear(hidden[0], *layers.actor[-1]), operations.linear(hidden[1], *layers.critic[-1])[..., 0]

    def _features(self, observations: Observations) -> Any:
        if self._plain is not None:
            return self._stacked(observations[self._plain])
        prepared = prepare(self.spec.observation_spaces, observations, self.normalizer)
        inputs = {name: self._stacked(values) for name, values in prepared.items()}
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
