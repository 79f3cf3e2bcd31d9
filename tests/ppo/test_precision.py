"""Products in a shorter arithmetic: near to those in float32, and other ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from rollouts import epoch_keys, make_case
from training import train

from townlet_core.errors import TownletWarning
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.loss import LossCoefficients


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Box(-1.0, 1.0, (2,), np.float32)])
def test_bfloat16_gives_about_the_same_gradient_in_float32(space) -> None:
    case = make_case(space).in_float32()
    batch = case.batch(worlds_per_shard=2)
    (minibatch,) = batch.minibatches(epoch_keys(0, 1, 2)[0], 1)
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        gradient = AutogradGradient(case.network(), precision)
        found[precision], reported = gradient(batch, minibatch, LossCoefficients(0.2, None, 0.01, 0.5))
        assert found[precision].dtype == reported.dtype == torch.float32
    size = float(found["float32"].norm())
    assert torch.equal(found["tf32"], found["float32"])  # on this device there is no such arithmetic
    assert 1e-5 * size < float((found["bfloat16"] - found["float32"]).norm()) < 0.05 * size
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_precision_that_changes_nothing_is_told(tmp_path) -> None:
    settings = {"total_steps": 1, "num_epochs": 1, "precision": "bfloat16"}
    with pytest.warns(TownletWarning, match="precision = bfloat16 changes nothing: .* in NumPy"):
        train(tmp_path, name="gymnasium:CartPole-v1", settings=settings)
