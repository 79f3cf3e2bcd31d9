"""One PPO update: passes over minibatches, gradients summed over shards, clipped, and a step of Adam.

Legend: S shards, M minibatch steps made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from townlet_core.errors import DivergenceError
from townlet_core.policy.adam import NumpyAdam, clip_norm
from townlet_core.policy.backpropagation import has_closed_form
from townlet_core.torch.adam import Adam, clip_global_norm
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.closed_form import ClosedFormGradient
from townlet_strategies_ppo.loss import LossCoefficients

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core import randomness
    from townlet_core.arrays import Array
    from townlet_core.torch.device import Precision
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch, RolloutBatch
    from townlet_strategies_ppo.settings import PPOSettings

REPORTED = (
    *("total", "policy", "value", "entropy", "clip_fraction", "kl", "kl_k3", "reference_kl"),
    *("advantage_std", "count"),
)
METRICS = (*REPORTED, "grad_norm")


class Gradient(Protocol):
    """Differentiates the loss of minibatches."""

    def __call__(self, batch: RolloutBatch, minibatch: Minibatch, coefficients: LossCoefficients) -> tuple[Any, Any]:
        """Return d loss / d parameters (P,), and the numbers that `REPORTED` names, (10,).

        Both are of the library whose Adam makes the steps: NumPy's on the CPU in closed form, else torch's.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """What changes from update to update.

    Attributes:
        learning_rate: of the critic.
        clip_range: of the ratio.
        reference_kl_coef: weight of the divergence from the reference.
        demonstration_coef: weight of the demonstrations' loss.
        actor_share: what the learning rate of all but the critic is multiplied by; with 0 the critic learns alone.
    """

    learning_rate: float
    clip_range: float
    reference_kl_coef: float = 0.0
    demonstration_coef: float = 0.0
    actor_share: float = 1.0


@dataclass(frozen=True, slots=True)
class UpdateMetrics:
    """What the minibatches reported.

    Attributes:
        columns: name in `METRICS` -> (M,) float64.
        num_epochs: passes made.
        last_epoch: where the last pass begins in the columns.
        stop_reason: why the passes ended.
        demonstration_loss: mean of the demonstrations' loss; None without any.
    """

    columns: dict[str, Array]
    num_epochs: int
    last_epoch: int
    stop_reason: Literal["epochs", "target_kl"]
    demonstration_loss: float | None = None

    def mean(self, name: str, first: int = 0) -> float:
        """Return the mean of a column from minibatch `first` on, weighted by the rows that the actor learned from."""
        sizes = self.columns["count"][first:]
        return float((self.columns[name][first:] * sizes).sum() / sizes.sum())


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is reported by name, when the update is over
def update(
    differentiate: Gradient,
    optimizer: Adam | NumpyAdam,
    batch: RolloutBatch,
    settings: PPOSettings,
    rates: Rates,
    *,
    epoch_keys: randomness.Keys,
    critic: slice = slice(0, 0),
    demonstrations: Callable[[int], tuple[Any, float]] | None = None,
) -> UpdateMetrics:
    """Change the parameters of a network in place.

    Args:
        differentiate: its gradient.
        optimizer: its Adam.
        batch: the rollout.
        settings: the settings of PPO.
        rates: of this update.
        epoch_keys: (num_epochs, S) keys of the permutations.
        critic: which of the parameters are the critic's own.
        demonstrations: gradient and loss of the demonstrations beside the minibatch of that number.

    Raises:
        DivergenceError: the loss or the gradient is not finite.
    """
    coefficients = LossCoefficients(
        rates.clip_range,
        settings.value_clip_range,
        settings.entropy_coef,
        settings.value_coef,
        rates.reference_kl_coef,
    )
    scale = _scale(optimizer, critic, rates.actor_share) if rates.actor_share < 1 else None
    is_host = isinstance(optimizer, NumpyAdam)
    clip: Callable[[Any, float | None], Any] = clip_norm if is_host else clip_global_norm
    rows: list[Any] = []
    norms: list[Any] = []
    losses: list[float] = []
    first, epoch = 0, 0
    stop_reason: Literal["epochs", "target_kl"] = "epochs"
    for epoch in range(settings.num_epochs):
        first = len(rows)
        for minibatch in batch.minibatches(epoch_keys[epoch], settings.num_minibatches):
            gradient, row = differentiate(batch, minibatch, coefficients)
            if rates.actor_share == 0:
                gradient[: critic.start] = 0
                gradient[critic.stop :] = 0
            elif demonstrations is not None and rates.demonstration_coef > 0:
                pull, loss = demonstrations(len(rows))
                gradient += rates.demonstration_coef * pull
                losses.append(loss)
            norms.append(clip(gradient, settings.max_grad_norm))
            rows.append(row)
            optimizer.step(gradient, learning_rate=rates.learning_rate, scale=scale)
        is_last = epoch + 1 == settings.num_epochs
        if settings.target_kl is not None and not is_last and _kl(rows[first:]) > settings.target_kl:
            stop_reason = "target_kl"
            break
    table = np.column_stack([_fetched(rows), _fetched(norms)]).astype(np.float64)
    if not np.isfinite(table).all():
        raise DivergenceError(_describe_divergence(table))
    columns = dict(zip(METRICS, table.T, strict=True))
    return UpdateMetrics(columns, epoch + 1, first, stop_reason, float(np.mean(losses)) if losses else None)


def is_closed_form(network: TorchNetwork) -> bool:
    """Return whether this network is differentiated in closed form: the spec decides, and that it is on the CPU."""
    return network.parameters.device.type == "cpu" and has_closed_form(network.spec)


def make_gradient(network: TorchNetwork, *, num_threads: int = 1, precision: Precision = "float32") -> Gradient:
    """Return what differentiates this network; the number of threads is for the closed form, precision for autograd."""
    if is_closed_form(network):
        return ClosedFormGradient(network, num_threads)
    return AutogradGradient(network, precision)


def make_optimizer(network: TorchNetwork, *, epsilon: float) -> Adam | NumpyAdam:
    """Return the Adam that takes the network's kind of gradients."""
    if is_closed_form(network):
        return NumpyAdam(network.parameters.numpy(), epsilon=epsilon)
    return Adam(network.parameters, epsilon=epsilon)


def _scale(optimizer: Adam | NumpyAdam, critic: slice, share: float) -> Any:
    """Return (P,) what the learning rate is multiplied by: 1 for the critic, `share` for everything else."""
    first: Any = optimizer.first
    scale = np.full_like(first, share) if isinstance(optimizer, NumpyAdam) else torch.full_like(first, share)
    scale[critic] = 1.0
    return scale


def _fetched(parts: list[Any]) -> Array:
    """Return numbers, or tensors on a device, as one array."""
    return torch.stack(parts).cpu().numpy() if isinstance(parts[0], torch.Tensor) else np.array(parts)


def _kl(rows: list[Any]) -> float:
    table = _fetched(rows)
    counts = table[:, REPORTED.index("count")]
    return float((table[:, REPORTED.index("kl_k3")] * counts).sum() / counts.sum())


def _describe_divergence(table: Array) -> str:
    step, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
    return (
        f"{METRICS[column]} became {table[step, column]} at minibatch {step + 1} of the update; "
        "the weights were not kept. A smaller strategies.ppo.learning_rate, or normalize_rewards, usually helps"
    )
