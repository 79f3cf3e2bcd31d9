"""The gradient of a minibatch in closed form, in NumPy: for multi-layer policies on the CPU.

The same mathematics as `loss.ppo_loss`, term by term; the tests hold both against one implementation by hand. With
the ratio r = exp(log p - log p_old), the surrogate min(r A, clip(r) A) has the derivative r A with respect to log p
where the free term is the smaller one, and 0 where the clipped one is.

A minibatch is worked off in groups of whole shards that fit into a processor's cache, on several threads where that
pays; the shards' gradients are added in the order of the shards, so neither the groups nor the threads change a bit.

Legend: S shards, B rows of a shard, P parameters.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.head_gradients import ActionTerms
from townlet_strategies_ppo.loss import LossSums

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.batch import Minibatch, RolloutBatch
    from townlet_strategies_ppo.loss import LossCoefficients

GROUP_ROWS = 2048
"""Rows that are worked on at once by a thread: enough for few calls, few enough for the processor's cache."""


class ClosedFormGradient:
    """Differentiates minibatches; see `update.Gradient`. What it returns holds until the next call.

    Args:
        network: the network.
        num_threads: groups that are worked on at once.
    """

    def __init__(self, network: TorchNetwork, num_threads: int = 1) -> None:
        self._network = network
        self._total = np.empty_like(network.parameters.numpy())
        self._workers: list[_Worker] = []
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads - 1, "townlet-learn") if num_threads > 1 else None

    def __call__(
        self, batch: RolloutBatch, minibatch: Minibatch, coefficients: LossCoefficients
    ) -> tuple[Array, list[float]]:
        """Return d loss / d parameters (P,), and what `update.REPORTED` names."""
        groups = minibatch.groups(GROUP_ROWS)
        size = max(group.stop - group.start for group in groups)
        if not self._workers or self._workers[0].num_shards < size:
            self._workers = [_Worker(self._network, size) for _ in range(min(self._num_threads, len(groups)))]
        total, sums = self._total, np.empty((len(minibatch.rows), len(LossSums._fields)), self._total.dtype)
        for first in range(0, len(groups), len(self._workers)):
            turn = list(zip(self._workers, groups[first:], strict=False))
            running = []
            if self._pool is not None:
                running = [
                    self._pool.submit(worker, batch, minibatch, group, coefficients) for worker, group in turn[1:]
                ]
            worker, group = turn[0]
            done = [worker(batch, minibatch, group, coefficients), *(future.result() for future in running)]
            for (_, group), (gradients, group_sums) in zip(turn, done, strict=True):
                sums[group] = group_sums
                for shard, gradient in enumerate(gradients, start=group.start):
                    if shard == 0:
                        np.copyto(total, gradient)
                    else:
                        total += gradient
        return total, LossSums(*sums.sum(axis=0).tolist()).reported(minibatch, coefficients)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class _Worker:
    """What one thread needs to differentiate up to `num_shards` shards at once."""

    def __init__(self, network: TorchNetwork, num_shards: int) -> None:
        self.num_shards = num_shards
        self._head = network.spec.head
        self._network = ClosedFormNetwork(
            network.spec, network.encoder, network.parameters.numpy(), num_shards=num_shards
        )

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is reported by name, when the update is over
    def __call__(
        self, batch: RolloutBatch, minibatch: Minibatch, group: slice, coefficients: LossCoefficients
    ) -> tuple[Array, Array]:
        """Return the gradient of each shard of the group (S, P), and the sums over its rows, (S, 7) as `LossSums`."""
        scratch, rows = self._network.scratch, minibatch.rows[group]
        outputs, values = self._network.forward(batch.features(rows, scratch))
        actions = ActionTerms(
            self._head,
            outputs,
            batch.actions.take(rows, axis=0),
            None if batch.action_mask is None else batch.action_mask.take(rows, axis=0),
            self._network.layers.log_std,
            None if batch.reference is None else (batch.reference[0].take(rows, axis=0), batch.reference[1]),
        )
        weights = scratch.array("weights", rows.shape, outputs.dtype)
        np.copyto(weights, minibatch.weights[group])
        terms = scratch.array("terms", (len(rows), len(LossSums._fields), rows.shape[1]), outputs.dtype)
        policy, value, entropy, outside, log_ratio, excess, divergence = terms.swapaxes(0, 1)
        advantages, clip_range = minibatch.advantages[group], coefficients.clip_range
        np.subtract(actions.log_prob, minibatch.old_log_probs[group], out=log_ratio)
        log_ratio *= weights
        ratio = np.exp(log_ratio)
        np.subtract(ratio, 1.0, out=excess)
        np.greater(np.abs(excess), clip_range, out=outside, casting="unsafe")
        excess -= log_ratio
        free = ratio * advantages
        held = np.minimum(np.maximum(ratio, 1.0 - clip_range), 1.0 + clip_range)
        held *= advantages
        np.minimum(free, held, out=policy)
        value_slopes(values, minibatch, group, coefficients.value_clip_range, errors=value)
        entropy[:], divergence[:] = actions.entropy, actions.divergence
        sums: Array = np.matmul(terms, weights[..., None])[..., 0]
        shares = weights
        if minibatch.scripted is not None:  # the critic learns from those rows too
            shares = weights + minibatch.scripted[group]
            sums[:, LossSums._fields.index("value")] = (value * shares).sum(axis=1)
            shares *= shares.dtype.type(1.0 / minibatch.count)
        weights *= weights.dtype.type(1.0 / minibatch.num_learned)
        np.copyto(free, 0.0, where=free > held)
        free *= weights
        pull = None if batch.reference is None else weights * coefficients.reference_kl_coef
        bonus = weights * -coefficients.entropy_coef if coefficients.entropy_coef else None
        d_outputs, d_log_std = actions.backward(np.negative(free, out=free), bonus, pull)
        values *= shares
        values *= coefficients.value_coef
        return self._network.backward(d_outputs, values, d_log_std), sums


def value_slopes(values: Array, minibatch: Minibatch, group: slice, limit: float | None, *, errors: Array) -> None:
    """Write the squared errors (S, B) of the value loss into `errors`, and half their derivatives over the values.

    With a `limit` the error is the greater one of the value and of the value held within `limit` of the old one, which
    where it is held has no derivative.
    """
    returns, old_values = minibatch.returns[group], minibatch.old_values[group]
    moves = values - old_values
    values -= returns
    np.multiply(values, values, out=errors)
    if limit is None:
        return
    held_slopes = old_values + np.clip(moves, -limit, limit) - returns
    held_errors = held_slopes * held_slopes
    inside = np.abs(moves) <= limit
    np.copyto(values, np.where(inside, held_slopes, 0), where=held_errors > errors)
    np.maximum(errors, held_errors, out=errors)
