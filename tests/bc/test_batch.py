"""A batch is what the acting policy would be fed, joined in the order of names, in memory that products like."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.inputs import Moments, prepare
from townlet_core.policy.operations import NumpyOperations
from townlet_core.policy.spec import PolicySpec
from townlet_strategies_bc.batch import BatchMaker

OBSERVATIONS = {
    "observation.map": spaces.Box(0, 255, (2, 3, 3), np.uint8),
    "observation.features": spaces.Box(-9, 9, (5,), np.float32),
    "observation.kind": spaces.Discrete(3),
}
MOMENTS = {"observation.features": Moments(10.0, np.full(5, 0.5), np.full(5, 2.0))}


def rows_of(observations, count, seed=0, **columns):
    rng = np.random.default_rng(seed)
    rows = {}
    for name, space in observations.items():
        if isinstance(space, spaces.Discrete):
            rows[name] = rng.integers(0, space.n, count)
        elif space.dtype == np.uint8:
            rows[name] = rng.integers(0, 256, (count, *space.shape)).astype(np.uint8)
        else:
            rows[name] = rng.normal(size=(count, *space.shape)).astype(np.float32)
    return rows | {"actions": rng.integers(0, 2, count), **columns}


def spec_for(observations, action=None):
    return PolicySpec.for_spaces(observations, action or spaces.Discrete(2))


@pytest.mark.parametrize("normalizer", [{}, MOMENTS])
def test_features_are_what_the_acting_policy_is_fed_bit_for_bit(normalizer):
    spec = spec_for(OBSERVATIONS)
    maker = BatchMaker(spec, normalizer, joined=True)
    for count, seed in ((7, 0), (3, 1), (11, 2)):
        rows = rows_of(OBSERVATIONS, count, seed)
        prepared = prepare(spec.observation_spaces, {name: rows[name] for name in OBSERVATIONS}, normalizer)
        fed = FlattenEncoder().encode(NumpyOperations(), {}, {name: a[None] for name, a in prepared.items()}, {})
        batch = maker(rows)
        assert np.array_equal(batch.features, fed)
        assert (batch.features.dtype, batch.count) == (np.float32, count)
        assert batch.features.ctypes.data % 64 == 0


def test_other_encoders_get_every_observation_in_its_own_shape():
    spec = spec_for(OBSERVATIONS)
    rows = rows_of(OBSERVATIONS, 6)
    batch = BatchMaker(spec, MOMENTS, joined=False)(rows)
    expected = prepare(spec.observation_spaces, {name: rows[name] for name in OBSERVATIONS}, MOMENTS)
    assert batch.inputs.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(batch.inputs[name], array[None])
        assert batch.inputs[name].ctypes.data % 64 == 0


def test_one_observation_of_floats_is_not_copied():
    box = {"observation": spaces.Box(-1, 1, (2, 4), np.float32)}
    rows = rows_of(box, 5)
    batch = BatchMaker(spec_for(box), {}, joined=True)(rows)
    assert batch.features.shape == (1, 5, 8)
    assert np.shares_memory(batch.features, rows["observation"])


@pytest.mark.parametrize("recorded", [np.uint8, np.int16, np.int64])
def test_actions_come_in_one_type_whatever_was_recorded(recorded):
    rows = rows_of(OBSERVATIONS, 4, actions=np.array([1, 0, 1, 1], recorded))
    batch = BatchMaker(spec_for(OBSERVATIONS), {}, joined=True)(rows)
    assert batch.actions.dtype == np.int64
    assert batch.actions.tolist() == [[1, 0, 1, 1]]
    box = spaces.Box(-1, 1, (2,), np.float32)
    rows = rows_of(OBSERVATIONS, 4, actions=np.ones((4, 2)))
    assert BatchMaker(spec_for(OBSERVATIONS, box), {}, joined=True)(rows).actions.dtype == np.float32


def test_masks_and_returns_are_there_where_they_were_read():
    maker = BatchMaker(spec_for(OBSERVATIONS), {}, joined=True)
    bare = maker(rows_of(OBSERVATIONS, 3))
    assert (bare.action_mask, bare.returns) == (None, None)
    mask, returns = np.ones((3, 2), bool), np.arange(3, dtype=np.float32)
    whole = maker(rows_of(OBSERVATIONS, 3, action_mask=mask, returns=returns))
    assert np.array_equal(whole.action_mask[0], mask)
    assert np.array_equal(whole.returns[0], returns)
