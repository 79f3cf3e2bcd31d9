"""Adam over one flat parameter vector (Kingma and Ba 2015, algorithm 1), with decoupled weight decay.

The decay is AdamW's (Loshchilov and Hutter 2019, algorithm 2): each step first shrinks the parameters by
`learning_rate * weight_decay`, outside of the moments.

`torch.optim.AdamW` gives the same numbers (a test pins them) but costs a second and more of imports at its first step,
and its bookkeeping is most of the cost of a small network's step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from townlet_core.arrays import Array

BETA_1, BETA_2 = 0.9, 0.999


class Adam:
    """First and second moments of the gradient, and the step that they make.

    Attributes:
        num_steps: steps made.
        first: (P,) running mean of gradients.
        second: (P,) running mean of squared gradients.
    """

    def __init__(self, parameters: torch.Tensor, *, epsilon: float, weight_decay: float = 0.0) -> None:
        self.num_steps = 0
        self.first = torch.zeros_like(parameters)
        self.second = torch.zeros_like(parameters)
        self._parameters = parameters
        self._epsilon = epsilon
        self._weight_decay = weight_decay

    def step(self, gradient: torch.Tensor, *, learning_rate: float, scale: torch.Tensor | None = None) -> None:
        """Change the parameters in place; arguments as for `policy.adam.NumpyAdam.step`."""
        self.num_steps += 1
        if self._weight_decay:
            self._parameters.mul_(1.0 - learning_rate * self._weight_decay)
        self.first.lerp_(gradient, 1.0 - BETA_1)
        self.second.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
        root = self.second.sqrt().div_(math.sqrt(1.0 - BETA_2**self.num_steps)).add_(self._epsilon)
        rate = -learning_rate / (1.0 - BETA_1**self.num_steps)
        if scale is None:
            self._parameters.addcdiv_(self.first, root, value=rate)
        else:
            self._parameters.addcmul_(self.first / root, scale, value=rate)

    def reset(self) -> None:
        """Forget all steps."""
        self.num_steps = 0
        self.first.zero_()
        self.second.zero_()

    def state(self) -> dict[str, Array]:
        """Return the moments as arrays on the CPU; `num_steps` is kept by the caller."""
        return {"first": self.first.cpu().numpy(), "second": self.second.cpu().numpy()}

    def load(self, state: dict[str, Array], num_steps: int) -> None:
        """Take up what `state` returned."""
        self.first.copy_(torch.from_numpy(state["first"]))
        self.second.copy_(torch.from_numpy(state["second"]))
        self.num_steps = num_steps


def clip_global_norm(gradient: torch.Tensor, max_norm: float | None) -> torch.Tensor:
    """Scale `gradient` in place so that its norm is at most `max_norm`; return the norm before, a scalar tensor."""
    norm: torch.Tensor = torch.linalg.vector_norm(gradient)
    if max_norm is not None:
        gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
