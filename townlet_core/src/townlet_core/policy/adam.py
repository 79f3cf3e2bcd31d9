"""AdamW over one flat parameter vector in NumPy (Loshchilov and Hutter 2019, algorithm 2), in place.

For the networks that are differentiated in closed form: it makes no more passes over the parameters than
`townlet_core.torch.adam`, and going to and fro between the two libraries costs a tenth of a small network's step.

Legend: P parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.arrays import aligned_empty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array

BETA_1, BETA_2 = 0.9, 0.999


class NumpyAdam:
    """First and second moments of the gradient, and the step that they make; nothing is allocated by a step.

    Attributes:
        num_steps: steps made.
        first: (P,) running mean of gradients.
        second: (P,) running mean of squared gradients.
    """

    def __init__(self, parameters: Array, *, epsilon: float, weight_decay: float = 0.0) -> None:
        """Take up (P,) `parameters`, which every step changes in place."""
        self.num_steps = 0
        size, dtype = parameters.size, parameters.dtype
        self.first, self.second, self._scratch = (aligned_empty(size, dtype) for _ in range(3))
        self.first.fill(0)
        self.second.fill(0)
        self._parameters, self._epsilon, self._weight_decay = parameters, epsilon, weight_decay

    def step(self, gradient: Array, *, learning_rate: float, scale: Array | None = None) -> None:
        """Change the parameters in place; `gradient` (P,) stays as it is.

        Args:
            gradient: (P,).
            learning_rate: of this step.
            scale: (P,) what the learning rate is multiplied by for each parameter; None for 1.
        """
        self.num_steps += 1
        first, second, scratch, parameters = self.first, self.second, self._scratch, self._parameters
        if self._weight_decay:
            parameters *= 1.0 - learning_rate * self._weight_decay
        np.multiply(gradient, 1.0 - BETA_1, out=scratch)
        first *= BETA_1
        first += scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - BETA_2
        second *= BETA_2
        second += scratch
        np.sqrt(second, out=scratch)
        scratch *= 1.0 / math.sqrt(1.0 - BETA_2**self.num_steps)
        scratch += self._epsilon
        np.divide(first, scratch, out=scratch)
        scratch *= learning_rate / (1.0 - BETA_1**self.num_steps)
        if scale is not None:
            scratch *= scale
        parameters -= scratch

    def reset(self) -> None:
        """Forget all steps."""
        self.num_steps = 0
        self.first.fill(0)
        self.second.fill(0)

    def state(self) -> dict[str, Array]:
        """Return the moments; `num_steps` is kept by the caller."""
        return {"first": self.first, "second": self.second}

    def load(self, state: Mapping[str, Array], num_steps: int) -> None:
        """Take up what `state` returned."""
        self.first[:] = state["first"]
        self.second[:] = state["second"]
        self.num_steps = num_steps


def clip_norm(gradient: Array, max_norm: float | None) -> float:
    """Scale (P,) `gradient` in place so that its norm is at most `max_norm`; return the norm before."""
    norm = math.sqrt(float(np.dot(gradient, gradient)))
    if max_norm is not None and norm > max_norm:
        gradient *= max_norm / (norm + 1e-6)
    return norm
