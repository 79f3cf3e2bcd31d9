"""What is asked of a dataset's columns before anything is learned from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bc_data import demonstrations, episode

from townlet_core.errors import DatasetError
from townlet_core.policy.spec import PolicySpec
from townlet_strategies_bc.demonstrations import Demonstrations
from townlet_strategies_bc.settings import BCSettings


def opened(path, change=lambda _: {}, **final):
    rng = np.random.default_rng(0)
    made = [episode(rng, group=group, masked=True) for group in range(4)]
    made = [replace(one, steps={**one.steps, **change(one.steps)}, final=final) for one in made]
    dataset = demonstrations(path, made)
    spec = PolicySpec.for_spaces(dataset.manifest.observation_spaces, dataset.manifest.action_space)
    settings = BCSettings(value_coef=0.5, batch_size=8)
    return Demonstrations(dataset, spec.head, settings, seed=0, directory=None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda steps: {"actions": steps["actions"] + 0.7}, "'actions' is <f8 of shape"),
        (lambda steps: {"action_mask": steps["action_mask"][:, :2]}, "'action_mask' is |b1 of shape (2,)"),
        (lambda steps: {"action_mask": np.tile(steps["action_mask"], 2)}, "'action_mask' is |b1 of shape (8,)"),
        (lambda steps: {"action_mask": steps["action_mask"].astype(np.uint8)}, "'action_mask' is |u1"),
    ],
)
def test_labels_and_masks_of_other_types_and_shapes_are_refused(tmp_path, change, told):
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path / "d", change)
    assert told in str(caught.value)
    assert "has to be" in str(caught.value)


def test_several_values_of_what_followed_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"'bootstrap_values' is <f4 of shape \(2,\), and has to be floats"):
        opened(tmp_path / "d", bootstrap_values=np.zeros(2, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_labels_of_any_whole_number_type_will_do(tmp_path, dtype):
    data = opened(tmp_path / "d", lambda steps: {"actions": steps["actions"].astype(dtype)})
    assert next(data.train.epoch(0))["actions"].dtype == dtype
