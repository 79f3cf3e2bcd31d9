"""One optimiser step: the gradient of a batch, and what the optimiser makes of it.

Legend: B rows, K outputs of the actor, P parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from townlet_core.errors import DivergenceError
from townlet_core.policy.backpropagation import has_closed_form
from townlet_strategies_bc.autograd import AutogradGradient
from townlet_strategies_bc.closed_form import ClosedFormGradient
from townlet_strategies_bc.optimizer import TOTALS, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_bc.batch import Batch
    from townlet_strategies_bc.loss import LossTerms
    from townlet_strategies_bc.settings import BCSettings


class Gradient(Protocol):
    """Differentiates the loss of a batch."""

    def __call__(self, batch: Batch) -> tuple[Any, Any]:
        """Return d mean loss / d parameters (P,), and the numbers that `SUMS` names; arrays, or tensors on a device."""
        ...

    def outputs(self, batch: Batch) -> tuple[Array, Array]:
        """Return logits or means (B, K) and values (B,), as arrays on the CPU."""
        ...


def gradient_path(network: TorchNetwork) -> type[ClosedFormGradient | AutogradGradient]:
    """Return how this network is differentiated: the spec decides, and that the closed form runs on the CPU."""
    if network.parameters.device.type == "cpu" and has_closed_form(network.spec):
        return ClosedFormGradient
    return AutogradGradient


class Updater:
    """Takes optimiser steps.

    Attributes:
        gradient: how the network is differentiated.
        num_steps: optimiser steps made.
    """

    def __init__(self, network: TorchNetwork, terms: LossTerms, settings: BCSettings) -> None:
        self.gradient: Gradient = gradient_path(network)(network, terms)
        self.num_steps = 0
        self._optimizer = make_optimizer(network, settings)

    def step(self, batch: Batch, *, learning_rate: float) -> None:
        """Change the network's parameters in place."""
        gradient, sums = self.gradient(batch)
        self._optimizer.step(gradient, sums, learning_rate=learning_rate)
        self.num_steps += 1

    def totals(self) -> dict[str, float]:
        """Return what `TOTALS` names, summed over the pass.

        Raises:
            DivergenceError: one is not finite.
        """
        totals = dict(zip(TOTALS, self._optimizer.totals().tolist(), strict=True))
        for name, value in totals.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"the sum of '{name}' became {value} by optimiser step {self.num_steps:,}; the weights were not "
                    "kept. A smaller strategies.bc.learning_rate, or normalize_observations, usually helps"
                )
        return totals

    def begin_pass(self) -> None:
        """Begin to sum anew."""
        self._optimizer.clear()

    def state(self) -> dict[str, Array]:
        """Return moments and sums as arrays on the CPU; `num_steps` is kept by the caller."""
        return {"totals": self._optimizer.totals(), **self._optimizer.state()}

    def load(self, arrays: Mapping[str, Array], num_steps: int) -> None:
        """Take up what `state` returned."""
        self._optimizer.load(arrays, arrays["totals"], num_steps)
        self.num_steps = num_steps
