"""The optimiser's side of a step: the norm is clipped, AdamW steps, and the sums of the pass grow.

On the CPU it is NumPy throughout; elsewhere torch, and nothing is fetched from the device within a pass.

Legend: P parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from townlet_core.policy.adam import NumpyAdam, clip_norm
from townlet_core.torch.adam import Adam, clip_global_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_bc.settings import BCSettings

SUMS = ("loss", "value_loss", "right", "rows")
"""What a gradient reports: sums over the rows of a batch, and their number."""
TOTALS = (*SUMS, "grad_norm", "updates", "grad_norm_max")


class Optimizer(Protocol):
    """Takes steps and sums up what they report."""

    def step(self, gradient: Any, sums: Any, *, learning_rate: float) -> None:
        """Change the parameters in place, given d mean loss / d parameters (P,) and what `SUMS` names."""
        ...

    def totals(self) -> Array:
        """Return what `TOTALS` names since the last `clear`, float64 on the CPU."""
        ...

    def clear(self) -> None:
        """Begin to sum anew."""
        ...

    def state(self) -> dict[str, Array]:
        """Return the moments as arrays on the CPU."""
        ...

    def load(self, moments: Mapping[str, Array], totals: Array, num_steps: int) -> None:
        """Take up moments and totals."""
        ...


def make_optimizer(network: TorchNetwork, settings: BCSettings) -> Optimizer:
    """Return the optimiser of the parameters that learn: all, but for the critic's without a value regression."""
    kind = HostOptimizer if network.parameters.device.type == "cpu" else DeviceOptimizer
    return kind(network, settings)


def trained_parts(network: TorchNetwork, *, with_critic: bool) -> dict[str, slice]:
    """Return name -> where the parameters that learn lie, each part in one piece.

    A Gaussian's deviations are a part of their own: weight decay would pull them to 1.
    """
    parts: dict[str, slice] = {}
    begin = 0
    for name, shape in network.layout.shapes.items():
        end = begin + math.prod(shape)
        part = "log_std" if name == "log_std" else "policy"
        if with_critic or not name.startswith("critic."):
            parts[part] = slice(parts[part].start if part in parts else begin, end)
        begin = end
    return parts


class HostOptimizer:
    """The optimiser in NumPy, over memory that torch shares."""

    def __init__(self, network: TorchNetwork, settings: BCSettings) -> None:
        self._parts = trained_parts(network, with_critic=settings.value_coef > 0)
        flat = network.parameters.numpy()
        self._adams = {
            name: NumpyAdam(
                flat[part],
                epsilon=settings.adam_epsilon,
                weight_decay=0.0 if name == "log_std" else settings.weight_decay,
            )
            for name, part in self._parts.items()
        }
        self._max_grad_norm = settings.max_grad_norm
        self._totals = np.zeros(len(TOTALS))

    def step(self, gradient: Any, sums: Any, *, learning_rate: float) -> None:
        """Take one step; see `Optimizer.step`."""
        trained = gradient[self._parts["policy"]] if len(self._parts) == 1 else gradient
        norm = clip_norm(trained, self._max_grad_norm)
        totals = self._totals
        totals[: len(SUMS)] += sums
        totals[-3] += norm
        totals[-2] += 1.0
        totals[-1] = norm if norm > totals[-1] or norm != norm else totals[-1]  # noqa: PLR0124  (NaN stays seen)
        for name, part in self._parts.items():
            self._adams[name].step(gradient[part], learning_rate=learning_rate)

    def totals(self) -> Array:
        """Return the sums."""
        return self._totals.copy()

    def clear(self) -> None:
        """Set the sums to 0."""
        self._totals.fill(0.0)

    def state(self) -> dict[str, Array]:
        """Return the moments."""
        return _named({name: adam.state() for name, adam in self._adams.items()})

    def load(self, moments: Mapping[str, Array], totals: Array, num_steps: int) -> None:
        """Take up moments and totals."""
        self._totals[:] = totals
        for name, adam in self._adams.items():
            adam.load({moment: moments[f"{moment}.{name}"] for moment in ("first", "second")}, num_steps)


class DeviceOptimizer:
    """The optimiser in torch, on the device of the parameters."""

    def __init__(self, network: TorchNetwork, settings: BCSettings) -> None:
        self._parts = trained_parts(network, with_critic=settings.value_coef > 0)
        self._adams = {
            name: Adam(
                network.parameters[part],
                epsilon=settings.adam_epsilon,
                weight_decay=0.0 if name == "log_std" else settings.weight_decay,
            )
            for name, part in self._parts.items()
        }
        self._max_grad_norm = settings.max_grad_norm
        self._totals = torch.zeros(len(TOTALS), dtype=torch.float64, device=network.parameters.device)

    def step(self, gradient: Any, sums: Any, *, learning_rate: float) -> None:
        """Take one step; see `Optimizer.step`."""
        norm = clip_global_norm(gradient, self._max_grad_norm).to(torch.float64)
        self._totals[: len(SUMS)] += sums
        self._totals[-3:-1] += torch.stack([norm, torch.ones_like(norm)])
        self._totals[-1] = torch.maximum(self._totals[-1], norm)
        for name, part in self._parts.items():
            self._adams[name].step(gradient[part], learning_rate=learning_rate)

    def totals(self) -> Array:
        """Return the sums, fetched from the device."""
        totals: Array = self._totals.cpu().numpy().copy()
        return totals

    def clear(self) -> None:
        """Set the sums to 0."""
        self._totals.zero_()

    def state(self) -> dict[str, Array]:
        """Return the moments, fetched from the device."""
        return _named({name: adam.state() for name, adam in self._adams.items()})

    def load(self, moments: Mapping[str, Array], totals: Array, num_steps: int) -> None:
        """Take up moments and totals."""
        self._totals.copy_(torch.from_numpy(np.array(totals)))
        for name, adam in self._adams.items():
            adam.load({moment: moments[f"{moment}.{name}"] for moment in ("first", "second")}, num_steps)


def _named(states: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    return {f"{moment}.{name}": array for name, state in states.items() for moment, array in state.items()}
