"""One PPO update: passes over minibatches, gradients summed over shards, clipped, and a step of Adam.

Legend: S shards, M minibatch steps made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from townlet_core.errors import DataError
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
class UpdateMetrics:
    """What the minibatches reported.

    Attributes:
        columns: name in `METRICS` -> (M,) float64.
        num_epochs: passes made.
        last_epoch: where the last pass begins in the columns.
        stop_reason: why the passes ended.
    """

    columns: dict[str, Array]
    num_epochs: int
    last_epoch: int
    stop_reason: Literal["epochs", "target_kl"]

    def mean(self, name: str, first: int = 0) -> float:
        """Return the mean of a column from minibatch `first` on, weighted by the minibatches' sizes."""
        return float(np.average(self.columns[name][first:], weights=self.columns["count"][first:]))


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is reported by name, when the update is over
def update(
    differentiate: Gradient,
    optimizer: Adam | NumpyAdam,
    batch: RolloutBatch,
    settings: PPOSettings,
    *,
    learning_rate: float,
    clip_range: float,
    epoch_keys: randomness.Keys,
) -> UpdateMetrics:
    """Change the parameters of a network in place.

    Args:
        differentiate: its gradient.
        optimizer: its Adam.
        batch: the rollout.
        settings: the settings of PPO.
        learning_rate: of this update.
        clip_range: of this update.
        epoch_keys: (num_epochs, S) keys of the permutations.

    Raises:
        DataError: the loss or the gradient is not finite.
    """
    coefficients = LossCoefficients(clip_range, settings.value_clip_range, settings.entropy_coef, settings.value_coef)
    is_host = isinstance(optimizer, NumpyAdam)
    clip: Callable[[Any, float | None], Any] = clip_norm if is_host else clip_global_norm
    rows: list[Any] = []
    norms: list[Any] = []
    first, epoch = 0, 0
    stop_reason: Literal["epochs", "target_kl"] = "epochs"
    for epoch in range(settings.num_epochs):
        first = len(rows)
        for minibatch in batch.minibatches(epoch_keys[epoch], settings.num_minibatches):
            gradient, row = differentiate(batch, minibatch, coefficients)
            norms.append(clip(gradient, settings.max_grad_norm))
            rows.append(row)
            optimizer.step(gradient, learning_rate=learning_rate)
        is_last = epoch + 1 == settings.num_epochs
        if settings.target_kl is not None and not is_last and _kl(rows[first:]) > settings.target_kl:
            stop_reason = "target_kl"
            break
    table = np.column_stack([_fetched(rows), _fetched(norms)]).astype(np.float64)
    if not np.isfinite(table).all():
        raise DataError(_describe_divergence(table))
    columns = dict(zip(METRICS, table.T, strict=True))
    return UpdateMetrics(columns, epoch + 1, first, stop_reason)


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
