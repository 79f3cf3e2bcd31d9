"""What held-out rows say about a policy: accuracy, likelihood, calibration, and each action by itself.

Sums are float64 and grow batch by batch, so that any number of rows can be measured.

Legend: B rows, K outputs of the actor, D action dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.bc import ActionMetrics, HeldOutFields
from townlet_core.policy.heads import gaussian_log_prob, masked_log_softmax, pick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.policy.heads import ActionHead
    from townlet_strategies_bc.batch import Batch

NUM_BINS = 15


class HeldOutMetrics:
    """Collects what a policy says about held-out rows.

    Args:
        head: its distribution.
        names: (K,) what its actions are called.
    """

    def __init__(self, head: ActionHead, names: Sequence[str]) -> None:
        self._head, self._names = head, names
        self._rows = 0
        self._right = 0
        self._nll = self._distance = 0.0
        self._bins = np.zeros((3, NUM_BINS))  # rows, sum of confidences, right rows
        self._actions = np.zeros((3, head.num_outputs if head.counts else 0), np.int64)  # support, predicted, right
        self._returns = np.zeros(5)  # rows, sums of returns, their squares, residuals, their squares

    def add(self, batch: Batch, outputs: Array, values: Array, log_std: Array | None) -> None:
        """Take one batch.

        Args:
            batch: the rows.
            outputs: (B, K) logits or means.
            values: (B,).
            log_std: (D,) for a Gaussian.
        """
        self._rows += batch.count
        if batch.returns is not None:
            returns = batch.returns[0].astype(np.float64)
            residuals = returns - values
            sums = (returns.sum(), (returns**2).sum(), residuals.sum(), (residuals**2).sum())
            self._returns += (batch.count, *sums)
        if log_std is not None:
            actions = batch.actions[0]
            self._nll -= float(gaussian_log_prob(outputs, log_std, actions).sum(dtype=np.float64))
            self._distance += float(np.abs(outputs - actions).mean(axis=-1).sum(dtype=np.float64))
            return
        actions = batch.actions[0].reshape(batch.count, -1)
        right, confidence = np.ones(batch.count, np.bool_), np.ones(batch.count)
        for part, segment in enumerate(self._head.segments):
            mask = None if batch.action_mask is None else batch.action_mask[0][:, segment]
            log_probs = masked_log_softmax(outputs[:, segment], mask)
            taken, likely = actions[:, part], log_probs.argmax(axis=-1)
            self._nll -= float(pick(log_probs, taken).sum(dtype=np.float64))
            confidence *= np.exp(log_probs.max(axis=-1), dtype=np.float64)
            hit = taken == likely
            right &= hit
            size = segment.stop - segment.start
            for row, of in enumerate((taken, likely, taken[hit])):
                self._actions[row, segment] += np.bincount(of, minlength=size)
        self._right += int(np.count_nonzero(right))
        bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        for row, weights in enumerate((None, confidence, right)):
            self._bins[row] += np.bincount(bins, weights=weights, minlength=NUM_BINS)

    def fields(self) -> HeldOutFields:
        """Return what the rows say; at least one has to have been added."""
        explained = self._explained_variance()
        if not self._head.counts:
            return HeldOutFields(
                nll=self._nll / self._rows,
                mean_absolute_error=self._distance / self._rows,
                value_explained_variance=explained,
            )
        _, confidences, hits = self._bins
        return HeldOutFields(
            accuracy=self._right / self._rows,
            nll=self._nll / self._rows,
            ece=min(1.0, float(np.abs(hits - confidences).sum() / self._rows)),
            value_explained_variance=explained,
            actions={name: self._action(index) for index, name in enumerate(self._names)},
        )

    def _action(self, index: int) -> ActionMetrics:
        support, predicted, right = (int(count) for count in self._actions[:, index])
        return ActionMetrics(
            support=support,
            predicted=predicted,
            precision=right / predicted if predicted else None,
            recall=right / support if support else None,
        )

    def _explained_variance(self) -> float | None:
        count, total, squares, residual, residual_squares = self._returns
        if count == 0:
            return None
        variance = squares / count - (total / count) ** 2
        if variance <= 1e-12 * max(1.0, squares / count):
            return None
        return float(1.0 - (residual_squares / count - (residual / count) ** 2) / variance)


def output_names(head: ActionHead, action_names: Sequence[str]) -> list[str]:
    """Return the name of each output of the actor: its own, its number, or `<part>.<number>` for several choices."""
    if head.kind == "categorical":
        names = action_names or [str(number) for number in range(head.num_outputs)]
        return list(names) if len(set(names)) == len(names) else [f"{n}:{name}" for n, name in enumerate(names)]
    return [f"{part}.{number}" for part, count in enumerate(head.counts) for number in range(count)]
