"""How a policy that can do something is taken over without losing it.

A cloned policy comes with a critic that knows nothing. Learned from at once, its wrong advantages, and through shared
layers its gradient, undo the clone within a few updates. So first the critic learns alone, on what the clone does;
then the actor's learning rate rises slowly, and a divergence holds the policy near the one that the run began from.
Each of these is a setting, off by default. As in PIRLNav (Ramrakhya et al. 2023) and VPT (Baker et al. 2022).

Legend: T steps, N worlds, A agents per world, K outputs of the actor, P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from townlet_core.errors import CheckpointError, ConfigError
from townlet_core.policy.learner_arrays import moment_arrays, moments_of
from townlet_core.policy.numpy_policy import NumpyPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.context import PPOState
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.policy.inputs import Moments
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.settings import PPOSettings

REFERENCE_FILE = "reference.safetensors"
ENOUGH_PASSES = 2


def is_warming(settings: PPOSettings, state: PPOState) -> bool:
    """Return whether the critic is to learn alone in the next update."""
    return state.warmup_updates < settings.critic_warmup_updates and state.warmup_passes < ENOUGH_PASSES


def count_warmup(settings: PPOSettings, state: PPOState, explained_variance: float | None) -> bool:
    """Count an update in which the critic learned alone; return whether it was the last one.

    Args:
        settings: of the run.
        state: its counters.
        explained_variance: of the rollout, before the critic learned from it; None where returns were constant.
    """
    state.warmup_updates += 1
    is_good = explained_variance is None or explained_variance >= settings.critic_warmup_variance
    state.warmup_passes = state.warmup_passes + 1 if is_good else 0
    return not is_warming(settings, state)


def actor_share(settings: PPOSettings, state: PPOState) -> float:
    """Return by what the learning rate of everything but the critic is multiplied in the next update, 0 to 1."""
    if is_warming(settings, state):
        return 0.0
    made = state.update - state.warmup_updates
    return min(1.0, (made + 1) / (settings.actor_ramp_updates + 1))


class Reference:
    """The policy that a run began from, and stays near.

    Args:
        network: of the run, which says how the weights are used.
        flat: (P,) weights.
        normalizer: moments of the observations; they stay.
        worlds_per_shard: worlds whose rows are multiplied together.
    """

    def __init__(
        self, network: TorchNetwork, flat: Array, normalizer: Mapping[str, Moments], *, worlds_per_shard: int
    ) -> None:
        self._flat, self._normalizer = flat, dict(normalizer)
        views = network.layout.views(flat)
        self._policy = NumpyPolicy(
            network.spec, network.encoder, views, self._normalizer, worlds_per_shard=worlds_per_shard
        )
        self._num_outputs = network.spec.head.num_outputs

    def outputs(self, buffer: RolloutBuffer) -> tuple[Array, Array | None]:
        """Return what it says to the rollout, (T, N, A, K), and its log_std (K,) for a Gaussian."""
        outputs = np.empty((*buffer.rewards.shape, self._num_outputs), np.float32)
        for step in range(len(outputs)):
            seen = {name: column[step] for name, column in buffer.observations.items()}
            outputs[step] = self._policy.outputs(seen)
        return outputs, self._policy.log_std

    def files(self) -> dict[str, bytes]:
        """Return the file of a checkpoint."""
        arrays = {"parameters": self._flat}
        for name, moments in self._normalizer.items():
            arrays |= moment_arrays(f"normalizer.{name}", moments)
        return {REFERENCE_FILE: safetensors.numpy.save(arrays)}


def make_reference(
    network: TorchNetwork,
    settings: PPOSettings,
    *,
    files: Mapping[str, bytes],
    initial: PolicyArtefact | None,
    where: str,
    worlds_per_shard: int,
) -> Reference | None:
    """Return the reference of a run: the one of its checkpoint or of the stage before, else what it begins from.

    Args:
        network: of the run.
        settings: of the run.
        files: of the checkpoint or of the stage before; empty for none.
        initial: the policy that the run begins from.
        where: what has the files.
        worlds_per_shard: worlds whose rows are multiplied together.

    Returns:
        None where there is none and none is needed.

    Raises:
        ConfigError: one is needed, and there is none.
        CheckpointError: the file is of another network.
    """
    if REFERENCE_FILE in files:
        try:
            arrays = safetensors.numpy.load(files[REFERENCE_FILE])
            names = {name.split(".", 1)[1].rsplit(".", 1)[0] for name in arrays if name.startswith("normalizer.")}
            flat, normalizer = arrays["parameters"], {name: moments_of(arrays, f"normalizer.{name}") for name in names}
            if flat.shape != (network.layout.size,) or flat.dtype != np.float32:
                raise ValueError(f"its {flat.size} numbers are not the {network.layout.size} of this network")
            flat = network.layout.flatten(network.layout.views(flat))  # in memory that begins where it should
        except Exception as error:
            raise CheckpointError(f"{where}: {REFERENCE_FILE} does not belong to this run: {error}") from error
    elif settings.reference_kl_coef == 0:
        return None
    elif initial is None:
        raise ConfigError(
            f"strategies.ppo.reference_kl_coef is {settings.reference_kl_coef:g}, and there is no policy to stay near: "
            "begin from one with --from, or set it to 0"
        )
    else:
        flat, normalizer = network.layout.flatten(initial.weights), dict(initial.normalizer)
    return Reference(network, flat, normalizer, worlds_per_shard=worlds_per_shard)
