"""What the gradient by autograd holds on to."""

from __future__ import annotations

import weakref

from rollouts import epoch_keys, make_case

from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.loss import LossCoefficients


def test_a_rollout_is_let_go_of_with_its_batch_before_there_is_another_one() -> None:
    case = make_case().in_float32()
    gradient, batch = AutogradGradient(case.network()), case.batch(worlds_per_shard=2)
    for minibatch in batch.minibatches(epoch_keys(0, 1, 2)[0], 2):
        gradient(batch, minibatch, LossCoefficients(0.2, None, 0.01, 0.5))
    held = weakref.ref(batch)
    assert len(gradient._rows) == 1, "it is sent to the device once"
    del batch
    assert (held(), len(gradient._rows)) == (None, 0)
