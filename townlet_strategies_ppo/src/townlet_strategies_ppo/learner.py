"""What a PPO run learns and carries: weights, optimiser, normalisers, counters; and their checkpoint.

Legend: N worlds, A agents per world, P parameters.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from townlet_core.context import PPOState
from townlet_core.errors import CheckpointError
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument, Provenance
from townlet_core.policy.inputs import Moments, empty_normalizer
from townlet_core.policy.learner_arrays import learner_files, moment_arrays, moments_of, read_learner_files
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo.rewards import RewardScale
from townlet_strategies_ppo.update import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_strategies_ppo.settings import PPOSettings


class Learner:
    """The state of a PPO run.

    Attributes:
        network: the network that learns.
        optimizer: its Adam.
        normalizer: name -> moments of the observations; empty when they are not normalised.
        rewards: reward statistics; None when rewards are not normalised.
        policy: the policy that acts, on the CPU, always with the newest weights.
        state: counters.
    """

    def __init__(
        self,
        spec: PolicySpec,
        encoder: Encoder,
        settings: PPOSettings,
        *,
        seed: int,
        shape: tuple[int, int],
        worlds_per_shard: int,
        device: torch.device,
        initial: PolicyArtefact | None = None,
    ) -> None:
        """Start from `initial`, or from weights drawn by `seed`; `shape` is (N, A)."""
        weights = (
            initial_weights(spec, encoder, seed=seed, log_std=settings.initial_log_std)
            if initial is None
            else initial.weights
        )
        self._flat = layout(spec, encoder).flatten(weights)
        self.state = PPOState()
        self.normalizer: dict[str, Moments] = {}
        if spec.normalize_observations:
            self.normalizer = (
                dict(initial.normalizer) if initial is not None else empty_normalizer(spec.observation_spaces)
            )
        self.rewards = RewardScale.new(*shape) if settings.normalize_rewards else None
        self.network = TorchNetwork(spec, encoder, self._flat, device=device)
        self.optimizer = make_optimizer(self.network, epsilon=settings.adam_epsilon)
        views = self.network.layout.views(self._flat)
        self.policy = NumpyPolicy(spec, encoder, views, self.normalizer, worlds_per_shard=worlds_per_shard)
        self._worlds_per_shard = worlds_per_shard

    def take_policy(self, artefact: PolicyArtefact) -> None:
        """Go on with the weights and observation moments of `artefact`, which has the same spec."""
        self.network.parameters.copy_(torch.from_numpy(self.network.layout.flatten(artefact.weights)))
        self.normalizer.update(artefact.normalizer)
        self.publish()

    def reset_optimizer(self) -> None:
        """Forget the gradients of the past."""
        self.optimizer.reset()
        self.state.adam_steps = 0

    def publish(self) -> None:
        """Give the acting policy the newest weights; on the CPU it reads the learner's own memory."""
        if self.network.parameters.device.type != "cpu":
            self._flat[:] = self.network.parameters.cpu().numpy()

    def see_observations(self, buffer: RolloutBuffer) -> None:
        """Merge a rollout's observations into the normaliser, shard by shard."""
        for name in self.normalizer:
            for first in range(0, buffer.agent_mask.shape[1], self._worlds_per_shard):
                shard = slice(first, first + self._worlds_per_shard)
                rows = buffer.observations[name][:, shard][buffer.agent_mask[:, shard]]
                self.normalizer[name] = self.normalizer[name].merged(rows)

    def weights_digest(self) -> str:
        """Return the SHA-256 of the weights' bytes."""
        return hashlib.sha256(self._flat.tobytes()).hexdigest()

    def artefact(
        self, *, strategy: str, environment: str, config_digest: str, dataset_digest: str = ""
    ) -> PolicyArtefact:
        """Return a copy of the policy as it is now."""
        provenance = Provenance(
            strategy=strategy,
            environment=environment,
            agent_steps=self.state.agent_steps,
            config_digest=config_digest,
            dataset_digest=dataset_digest,
        )
        return self._artefact(self._flat, self.normalizer, self.state, provenance)

    def earlier_artefact(self, files: Mapping[str, bytes], latest: PolicyArtefact, *, where: str) -> PolicyArtefact:
        """Return the policy that a checkpoint of this run holds.

        Args:
            files: of the checkpoint.
            latest: the policy as it is now.
            where: what a message calls the checkpoint.

        Raises:
            CheckpointError: the files are not those of this network and these settings.
        """
        arrays, state, normalizer = self._read(files, where=where)
        provenance = latest.document.provenance.model_copy(update={"agent_steps": state.agent_steps})
        return self._artefact(arrays["parameters"], normalizer, state, provenance)

    def _artefact(
        self, flat: Array, normalizer: Mapping[str, Moments], state: PPOState, provenance: Provenance
    ) -> PolicyArtefact:
        document = PolicyDocument(spec=self.network.spec, critic_trained=state.update > 0, provenance=provenance)
        weights = {name: np.array(view) for name, view in self.network.layout.views(flat).items()}
        return PolicyArtefact(document=document, weights=weights, normalizer=dict(normalizer))

    def checkpoint(self) -> dict[str, bytes]:
        """Return the files of a checkpoint: everything but the running episodes.

        Raises:
            DivergenceError: a number is not finite; such a state is never kept.
        """
        return learner_files(self._arrays(), self.state, self.network.spec, when=f"update {self.state.update}")

    def _arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {"parameters": self._flat, **self.optimizer.state()}
        for name, moments in self.normalizer.items():
            arrays |= moment_arrays(f"normalizer.{name}", moments)
        if self.rewards is not None:
            arrays |= moment_arrays("rewards", self.rewards.moments)
        return arrays

    def restore(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Take up what `checkpoint` returned.

        Raises:
            CheckpointError: the files are not those of this network and these settings; `where` names them.
        """
        arrays, self.state, normalizer = self._read(files, where=where)
        self.normalizer.update(normalizer)
        if self.rewards is not None:
            self.rewards.moments = moments_of(arrays, "rewards")
        self.network.parameters.copy_(torch.from_numpy(arrays["parameters"]))
        self.optimizer.load(arrays, self.state.adam_steps)
        self.publish()

    def _read(self, files: Mapping[str, bytes], *, where: str) -> tuple[dict[str, Array], PPOState, dict[str, Moments]]:
        """Return arrays, counters and observation moments of a checkpoint; raises `CheckpointError`."""
        try:
            arrays, state = read_learner_files(files, self._arrays(), PPOState)
            return arrays, state, {name: moments_of(arrays, f"normalizer.{name}") for name in self.normalizer}
        except Exception as error:
            raise CheckpointError(f"{where} does not belong to this run: {error}") from error
