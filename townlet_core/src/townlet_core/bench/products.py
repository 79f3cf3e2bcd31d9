"""What an update's matrix products take alone: the limit that no other work of PPO can go below.

An agent's step needs one forward pass of actor and critic to act, and in each pass over the rollout a forward pass, the
gradient of every weight, and the gradient of every layer's inputs but the observations. Everything else is left out:
activations, biases, the loss, Adam, and what it takes to gather the rows.

Legend: T steps, S shards, R rows of a shard (worlds x agents) in one step, B rows of a shard in one minibatch.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from townlet_core.arrays import aligned_empty
from townlet_core.policy.network import Layers
from townlet_core.policy.weights import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array
    from townlet_core.policy.encoder import Encoder
    from townlet_core.policy.spec import PolicySpec


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A layer's sizes, and whether something below it learns, so that the gradient of its inputs is needed."""

    inputs: int
    outputs: int
    has_learner_below: bool


def dense_layers(spec: PolicySpec, encoder: Encoder) -> tuple[DenseLayer, ...]:
    """Return the layers of `spec`: the shared ones, the actor's, the critic's."""
    layers = Layers.of(spec, layout(spec, encoder).shapes)
    has_shared = bool(layers.shared)
    return tuple(
        DenseLayer(weight[0], weight[1], has_learner_below=below or index > 0)
        for stack, below in ((layers.shared, False), (layers.actor, has_shared), (layers.critic, has_shared))
        for index, (weight, _) in enumerate(stack)
    )


def multiply_adds(layers: Sequence[DenseLayer], *, num_epochs: int) -> int:
    """Return the multiply-adds of all products for one agent's step, in acting and in `num_epochs` passes."""
    forward = sum(layer.inputs * layer.outputs for layer in layers)
    below = sum(layer.inputs * layer.outputs for layer in layers if layer.has_learner_below)
    return forward + num_epochs * (2 * forward + below)


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """How the rows of an update are cut into products.

    Attributes:
        num_steps: T.
        num_shards: S.
        shard_rows: R.
        num_minibatches: of each pass.
        num_epochs: passes.
    """

    num_steps: int
    num_shards: int
    shard_rows: int
    num_minibatches: int
    num_epochs: int

    @property
    def minibatch_rows(self) -> int:
        """B, rounded down."""
        return max(1, self.num_steps * self.shard_rows // self.num_minibatches)


@dataclass(slots=True)
class ProductTimer:
    """Times samples of an update's products, and says what all of them take.

    Products are NumPy's, like those of acting and of gradients in closed form, one for each shard on one thread. Each
    of `num_threads` threads makes those of its part of the shards, in arrays that are allocated once and fit a cache
    as well as one shard can.

    Attributes:
        layers: of the network.
        shape: of the update.
        num_threads: how many threads make products at once.
        clock: the time. [seconds]
        act_sec: wall and processor time of the products of one step of acting, by sample.
        learn_sec: the same of one minibatch.
    """

    layers: tuple[DenseLayer, ...]
    shape: UpdateShape
    num_threads: int
    clock: Callable[[], float]
    act_sec: list[tuple[float, float]] = field(default_factory=list)
    learn_sec: list[tuple[float, float]] = field(default_factory=list)

    def sample(self, *, seconds: float = 0.2) -> None:
        """Time products of acting, and of a minibatch, for at least `seconds` each."""
        acting = [_ShardProducts(self.layers, self.shape.shard_rows) for _ in range(self.num_threads)]
        learning = [_ShardProducts(self.layers, self.shape.minibatch_rows) for _ in range(self.num_threads)]
        with threadpool_limits(limits=1), ThreadPoolExecutor(self.num_threads) as threads:
            self.act_sec.append(self._timed(threads, [products.act for products in acting], seconds))
            self.learn_sec.append(self._timed(threads, [products.learn for products in learning], seconds))

    def update_sec(self) -> tuple[float, float]:
        """Return the wall and the processor time of all products of one update, from the mean of the samples."""
        shape = self.shape
        passes = shape.num_epochs * shape.num_steps * shape.shard_rows / shape.minibatch_rows
        wall, processor = shape.num_steps * np.mean(self.act_sec, axis=0) + passes * np.mean(self.learn_sec, axis=0)
        return float(wall), float(processor)

    def _timed(
        self, threads: ThreadPoolExecutor, work: Sequence[Callable[[], None]], seconds: float
    ) -> tuple[float, float]:
        """Return the time of one turn, in which each shard's work is done once, after one turn that is not timed."""

        def turn(worker: int) -> None:
            for _ in range(worker, self.shape.num_shards, self.num_threads):
                work[worker]()

        workers, turns = range(self.num_threads), 0
        list(threads.map(turn, workers))
        begin, begin_processor = self.clock(), time.process_time()
        while not turns or self.clock() - begin < seconds:
            list(threads.map(turn, workers))
            turns += 1
        return (self.clock() - begin) / turns, (time.process_time() - begin_processor) / turns


class _ShardProducts:
    """All products of one shard's rows, on arrays of random numbers."""

    def __init__(self, layers: Sequence[DenseLayer], rows: int) -> None:
        rng = np.random.default_rng(0)

        def array(*sizes: int) -> Array:
            values = aligned_empty(int(np.prod(sizes)), np.float32).reshape(sizes)
            return rng.standard_normal(sizes, np.float32, out=values)

        sizes = {size for layer in layers for size in (layer.inputs, layer.outputs)}
        rows_of = {size: array(rows, size) for size in sizes}
        out_of = {size: array(rows, size) for size in sizes}
        self._forward: list[tuple[Any, ...]] = []
        self._backward: list[tuple[Any, ...]] = []
        for layer in layers:
            inputs, outputs, weight = rows_of[layer.inputs], rows_of[layer.outputs], array(layer.inputs, layer.outputs)
            self._forward.append((inputs, weight, out_of[layer.outputs]))
            self._backward.append((inputs.T, outputs, array(layer.inputs, layer.outputs)))
            if layer.has_learner_below:  # one column is slow, so that learning makes two of it, and so does this
                upper, lower = (outputs, weight.T) if layer.outputs > 1 else (array(rows, 2), array(2, layer.inputs))
                self._backward.append((upper, lower, out_of[layer.inputs]))

    def act(self) -> None:
        for left, right, out in self._forward:
            np.matmul(left, right, out=out)

    def learn(self) -> None:
        for left, right, out in (*self._forward, *self._backward):
            np.matmul(left, right, out=out)
