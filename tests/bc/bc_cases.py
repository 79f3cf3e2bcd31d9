"""Small networks in float64 and batches for them."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_bc.batch import Batch

ACTIONS = {
    "choice": spaces.Discrete(4),
    "choices": spaces.MultiDiscrete([3, 2]),
    "one of several": spaces.MultiDiscrete([4]),
    "continuous": spaces.Box(-1.0, 1.0, (2,), np.float32),
}


class Case:
    """A network, its parameters in float64, and one batch."""

    def __init__(self, action_space, *, rows=7, size=3, masked=False, returns=False, seed=0, **fields):
        rng = np.random.default_rng(seed)
        fields = {"actor_hidden": (5,), "critic_hidden": (4,), **fields}
        box = {"observation": spaces.Box(-9.0, 9.0, (size,), np.float32)}
        self.spec = PolicySpec.for_spaces(box, action_space, **fields)
        self.layout = layout(self.spec, FlattenEncoder())
        self.flat = self.layout.flatten({n: rng.normal(0, 0.7, s) for n, s in self.layout.shapes.items()}, np.float64)
        self.batch = make_batch(self.spec, rng, rows=rows, size=size, masked=masked, returns=returns)

    def network(self):
        return TorchNetwork(self.spec, FlattenEncoder(), self.flat.copy(), device=torch.device("cpu"))


def make_batch(spec, rng, *, rows, size, masked=False, returns=False):
    head, mask = spec.head, None
    if head.kind == "gaussian":
        actions = rng.normal(size=(rows, head.num_outputs))
    else:
        actions = np.stack([rng.integers(0, count, rows) for count in head.counts], axis=1)
        if masked:
            mask = rng.random((rows, head.num_outputs)) < 0.5
            for part, segment in enumerate(head.segments):
                mask[np.arange(rows), segment.start + actions[:, part]] = True
        if head.kind == "categorical":
            actions = actions[:, 0]
    features = rng.normal(size=(1, rows, size))
    return Batch(
        features=features,
        inputs={"observation": features},
        actions=actions[None],
        action_mask=None if mask is None else mask[None],
        returns=rng.normal(size=(1, rows)) if returns else None,
    )
