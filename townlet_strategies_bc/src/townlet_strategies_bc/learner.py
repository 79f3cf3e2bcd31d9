"""What a run of behaviour cloning learns and carries: weights, the best ones, optimiser, counters; their checkpoint.

Legend: P parameters.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from townlet_core.errors import CheckpointError
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument
from townlet_core.policy.inputs import Moments, empty_normalizer
from townlet_core.policy.learner_arrays import learner_files, moment_arrays, moments_of, read_learner_files
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_bc.update import Updater

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.arrays import Array
    from townlet_core.policy.artefact import Provenance
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec
    from townlet_strategies_bc.loss import LossTerms
    from townlet_strategies_bc.settings import BCSettings


@dataclass(slots=True)
class BCState:
    """How far a run has come; saved with every checkpoint.

    Attributes:
        epoch: passes finished.
        batch: batches made of the pass after them.
        optimizer_steps: batches made in all.
        samples: rows learned from in all.
        best_epoch: pass whose weights are kept as the best, from 1; 0 for none yet.
        telemetry_offset: bytes of telemetry that belong to these passes.
    """

    epoch: int = 0
    batch: int = 0
    optimizer_steps: int = 0
    samples: int = 0
    best_epoch: int = 0
    telemetry_offset: int = 0


class Learner:
    """The state of a run.

    Attributes:
        network: the network that learns.
        normalizer: name -> moments of the observations, which do not change any more; empty when not normalised.
        updater: its optimiser.
        state: counters.
    """

    def __init__(
        self,
        spec: PolicySpec,
        encoder: Encoder,
        settings: BCSettings,
        terms: LossTerms,
        *,
        seed: int,
        device: torch.device,
        initial: PolicyArtefact | None,
        moments: Callable[[], Mapping[str, Moments]] | None,
    ) -> None:
        """Start from `initial`, or from weights drawn by `seed`.

        Args:
            spec: the network.
            encoder: its encoder.
            settings: the settings.
            terms: what the loss is made of.
            seed: of the first weights.
            device: where it learns.
            initial: the policy to start from, with its moments of the observations.
            moments: returns those of the training rows; None where a checkpoint will say.
        """
        weights = (
            initial_weights(spec, encoder, seed=seed, log_std=settings.initial_log_std)
            if initial is None
            else initial.weights
        )
        self._flat = layout(spec, encoder).flatten(weights)
        self._best = self._flat.copy()
        self.state = BCState()
        self.normalizer: dict[str, Moments] = {}
        if spec.normalize_observations:
            self.normalizer = empty_normalizer(spec.observation_spaces)
            if initial is not None:
                self.normalizer |= initial.normalizer
            elif moments is not None:
                self.normalizer |= moments()
        self.network = TorchNetwork(spec, encoder, self._flat, device=device)
        self.updater = Updater(self.network, terms, settings)
        self._critic_learns = terms.value_coef > 0

    def publish(self) -> None:
        """Fetch the weights from the device; on the CPU it is one memory."""
        if self.network.parameters.device.type != "cpu":
            self._flat[:] = self.network.parameters.cpu().numpy()

    def keep_as_best(self) -> None:
        """Remember the weights as they are now."""
        self._best[:] = self._flat
        self.state.best_epoch = self.state.epoch

    @property
    def log_std(self) -> Array | None:
        """The log standard deviations of a Gaussian as they are now, (D,)."""
        return self.network.layout.views(self._flat).get("log_std")

    def weights_digest(self) -> str:
        """Return the SHA-256 of the weights' bytes."""
        return hashlib.sha256(self._flat.tobytes()).hexdigest()

    def artefact(self, provenance: Provenance, *, best: bool) -> PolicyArtefact:
        """Return a copy of the policy, with the best weights or the last ones."""
        views = self.network.layout.views(self._best if best else self._flat)
        document = PolicyDocument(
            spec=self.network.spec,
            critic_trained=self._critic_learns and self.state.optimizer_steps > 0,
            provenance=provenance,
        )
        return PolicyArtefact(
            document=document,
            weights={name: np.array(view) for name, view in views.items()},
            normalizer=dict(self.normalizer),
        )

    def checkpoint(self) -> dict[str, bytes]:
        """Return the files of a checkpoint.

        Raises:
            DivergenceError: a number is not finite; such a state is never kept.
        """
        return learner_files(
            self._arrays(), self.state, self.network.spec, when=f"{self.state.optimizer_steps:,} optimiser steps"
        )

    def _arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {"parameters": self._flat, "best": self._best, **self.updater.state()}
        for name, moments in self.normalizer.items():
            arrays |= moment_arrays(f"normalizer.{name}", moments)
        return arrays

    def restore(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Take up what `checkpoint` returned.

        Raises:
            CheckpointError: the files are not those of this network and these settings; `where` names them.
        """
        try:
            arrays, state = read_learner_files(files, self._arrays(), BCState)
            self.normalizer.update({name: moments_of(arrays, f"normalizer.{name}") for name in self.normalizer})
        except Exception as error:
            raise CheckpointError(f"{where} does not belong to this run: {error}") from error
        self.state = state
        self.network.parameters.copy_(torch.from_numpy(arrays["parameters"]))
        self._best[:] = arrays["best"]
        self.updater.load(arrays, self.state.optimizer_steps)
        self.publish()

    def begin_anew(self, initial: PolicyArtefact | None) -> None:
        """Go on as a new stage: weights and optimiser stay, passes are counted from 0, the best is forgotten.

        Args:
            initial: weights and moments to take instead, of the same spec.
        """
        if initial is not None:
            self.network.parameters.copy_(torch.from_numpy(self.network.layout.flatten(initial.weights)))
            self.normalizer.update(initial.normalizer)
            self.publish()
        self.state = BCState(optimizer_steps=self.state.optimizer_steps)
        self._best[:] = self._flat
        self.updater.begin_pass()
