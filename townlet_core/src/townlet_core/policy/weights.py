"""The names, shapes, flat order and first values of a policy's weights.

Initial values come from NumPy and counter-based numbers, so they depend on no version of torch: orthogonal matrices
(Saxe, McClelland and Ganguli 2014) with gain sqrt(2) in hidden layers, 0.01 in the actor's last and 1 in the critic's,
biases 0. A weight is stored (inputs, outputs), as it is multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core import randomness
from townlet_core.arrays import aligned_empty
from townlet_core.policy.inputs import input_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike

    from townlet_core.arrays import Array
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec

HIDDEN_GAIN = math.sqrt(2.0)
ACTOR_GAIN = 0.01
CRITIC_GAIN = 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and shapes of all weights, in the order in which they lie in one flat array.

    Attributes:
        shapes: name -> shape.
        size: number of parameters.
    """

    shapes: dict[str, tuple[int, ...]]
    size: int

    def views(self, flat: Any) -> dict[str, Any]:
        """Return name -> view of `flat` (..., size): a NumPy array or a torch tensor; nothing is copied."""
        views, offset = {}, 0
        for name, shape in self.shapes.items():
            end = offset + prod(shape)
            views[name] = flat[..., offset:end].reshape(*flat.shape[:-1], *shape)
            offset = end
        return views

    def part(self, name: str) -> slice:
        """Return where the layers called `name` lie in the flat array: `shared`, `actor` or `critic`."""
        names = list(self.shapes)
        inside = [index for index, layer in enumerate(names) if layer.startswith(f"{name}.")]
        ends = np.cumsum([0, *(prod(self.shapes[layer]) for layer in names)]).tolist()
        return slice(ends[inside[0]], ends[inside[-1] + 1]) if inside else slice(0, 0)

    def flatten(self, weights: Mapping[str, Array], dtype: DTypeLike = np.float32) -> Array:
        """Return one flat array (size,) holding `weights`; every view of it lies in memory as in any other one."""
        flat = aligned_empty(self.size, dtype)
        return np.concatenate([np.asarray(weights[name], dtype=dtype).ravel() for name in self.shapes], out=flat)


def layout(spec: PolicySpec, encoder: Encoder) -> Layout:
    """Return the layout of `spec`: encoder, shared layers, actor, critic, and `log_std` for a Gaussian."""
    inputs = input_shapes(spec.observation_spaces)
    options = spec.encoder.options
    shapes = {f"encoder.{name}": shape for name, shape in sorted(encoder.weight_shapes(inputs, options).items())}
    width = _add_layers(shapes, "shared", encoder.num_features(inputs, options), spec.shared_hidden)
    _add_layers(shapes, "actor", width, (*spec.actor_hidden, spec.head.num_outputs))
    _add_layers(shapes, "critic", width, (*spec.critic_hidden, 1))
    if spec.head.kind == "gaussian":
        shapes["log_std"] = (spec.head.num_outputs,)
    return Layout(shapes, sum(prod(shape) for shape in shapes.values()))


def _add_layers(shapes: dict[str, tuple[int, ...]], prefix: str, width: int, outputs: tuple[int, ...]) -> int:
    for index, size in enumerate(outputs):
        shapes[f"{prefix}.{index}.weight"] = (width, size)
        shapes[f"{prefix}.{index}.bias"] = (size,)
        width = size
    return width


def initial_weights(spec: PolicySpec, encoder: Encoder, *, seed: int, log_std: float = 0.0) -> dict[str, Array]:
    """Return first weights, float32, a pure function of the spec and the seed.

    Args:
        spec: the network.
        encoder: its encoder.
        seed: the run's seed.
        log_std: first value of a Gaussian's log standard deviations.
    """
    last_actor, last_critic = f"actor.{len(spec.actor_hidden)}.weight", f"critic.{len(spec.critic_hidden)}.weight"
    gains = {last_actor: ACTOR_GAIN, last_critic: CRITIC_GAIN}
    weights = {}
    for index, (name, shape) in enumerate(layout(spec, encoder).shapes.items()):
        if name == "log_std":
            weights[name] = np.full(shape, log_std, dtype=np.float32)
        elif len(shape) == 2:
            keys = randomness.key(seed, "weights", index)
            weights[name] = orthogonal(keys, shape, gains.get(name, HIDDEN_GAIN)).astype(np.float32)
        else:
            weights[name] = np.zeros(shape, dtype=np.float32)
    return weights


def orthogonal(keys: randomness.Keys, shape: tuple[int, ...], gain: float) -> Array:
    """Return a (rows, columns) float64 matrix with orthonormal rows or columns, whichever are fewer, times `gain`."""
    rows, columns = shape
    numbers = randomness.normal(keys, rows * columns).reshape(max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(numbers)
    q *= np.sign(np.diagonal(r))
    return np.asarray(gain * (q if rows >= columns else q.T))
