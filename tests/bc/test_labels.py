"""Labels: counted, legal, weighted, degenerate or not; and the accuracy that they allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bc_data import NUM_ACTIONS, demonstrations, episode
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.errors import DatasetError
from townlet_core.policy.heads import ActionHead
from townlet_strategies_bc.ceiling import _Pairs, accuracy_ceiling, hash_rows
from townlet_strategies_bc.gate import Measured, decide
from townlet_strategies_bc.labels import Labels, balanced_weights, read_labels
from townlet_strategies_bc.settings import BCSettings

CHOICE = ActionHead.for_space(spaces.Discrete(NUM_ACTIONS))
CHOICES = ActionHead.for_space(spaces.MultiDiscrete([3, 2]))
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def labels_of(path, actions, *, head=CHOICE, wanted=None, action_space=None):
    rng = np.random.default_rng(0)
    episodes = [
        episode(rng, num_steps=len(rows), policy=lambda _, rows=rows: np.array(rows), group=group)
        for group, rows in enumerate(actions)
    ]
    dataset = demonstrations(path, episodes, action_space=action_space)
    return read_labels(dataset, head, np.ones(len(actions), bool) if wanted is None else np.array(wanted))


def test_only_wanted_episodes_are_counted(tmp_path):
    labels = labels_of(tmp_path / "d", [[0, 0, 1], [3, 3, 3], [1, 2]], wanted=[True, False, True])
    assert labels.counts.tolist() == [2, 2, 1, 0]
    assert (labels.num_seen, labels.majority_share, labels.constant) == (3, 0.4, False)


def test_of_several_choices_each_is_counted_by_itself(tmp_path):
    actions = [[[0, 0], [2, 0], [2, 0], [2, 1]]]
    labels = labels_of(tmp_path / "d", actions, head=CHOICES, action_space=spaces.MultiDiscrete([3, 2]))
    assert labels.counts.tolist() == [1, 0, 3, 3, 1]
    assert (labels.num_seen, labels.majority_share) == (2, 0.75)


@pytest.mark.parametrize("action", [-1, NUM_ACTIONS])
def test_an_action_that_does_not_exist_is_refused(tmp_path, action):
    with pytest.raises(DatasetError, match=f"action {action} does not exist, there are 4 from 0 on"):
        labels_of(tmp_path / "d", [[0, action]])


def test_an_action_that_its_mask_forbids_is_refused(tmp_path):
    made = episode(np.random.default_rng(0), num_steps=5, masked=True)
    made.steps["action_mask"][2, made.steps["actions"][2]] = False
    dataset = demonstrations(tmp_path / "d", [made])
    with pytest.raises(DatasetError, match=r"1 of 5 rows take an action that their own action mask forbids"):
        read_labels(dataset, CHOICE, np.array([True]))


@pytest.mark.parametrize(("actions", "constant"), [([[0.5, 0.1]] * 3, True), ([[0.5, 0.1], [0.5, 0.2]], False)])
def test_continuous_labels_are_degenerate_where_they_never_change(tmp_path, actions, constant):
    head = ActionHead.for_space(BOX)
    rows = np.array(actions, np.float32)
    labels = labels_of(tmp_path / "d", [rows], head=head, action_space=BOX)
    assert labels.constant is labels.are_degenerate(0.99) is constant
    assert labels.num_seen is labels.majority_share is None


def test_a_continuous_label_that_is_not_finite_is_refused(tmp_path):
    rows = np.array([[0.5, np.nan]], np.float32)
    with pytest.raises(DatasetError, match="not finite"):
        labels_of(tmp_path / "d", [rows], head=ActionHead.for_space(BOX), action_space=BOX)


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(lambda c: sum(c[:3]) and sum(c[3:])))
def test_balanced_weights_give_seen_actions_one_sum_and_rows_a_mean_of_1(counts):
    counts = np.array(counts)
    weights = balanced_weights(CHOICES, counts)
    for segment in CHOICES.segments:
        part, sums = counts[segment], (counts * weights)[segment]
        np.testing.assert_allclose(sums[part > 0], part.sum() / np.count_nonzero(part), rtol=1e-5)
        assert sums.sum() == pytest.approx(part.sum(), rel=1e-5)


# -- the ceiling ------------------------------------------------------------------------------------------------------


def by_counting(situations, labels):
    """Return the share of rows that carry the most frequent label of their situation, and of repeated rows."""
    of = {}
    for situation, label in zip(situations, labels, strict=True):
        of.setdefault(situation, []).append(label)
    right = sum(max(found.count(label) for label in found) for found in of.values())
    repeated = sum(len(found) for found in of.values() if len(found) > 1)
    return right / len(labels), repeated / len(labels)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_ceiling_is_what_counting_gives(rows):
    situations, labels = (np.array(column, np.uint64) for column in zip(*rows, strict=True))
    pairs = _Pairs(24)  # as many different ones as there can be, so that some are counted before others come
    for part in range(0, len(rows), 7):
        pairs.add(situations[part : part + 7], labels[part : part + 7])
    found = pairs.ceiling()
    assert (found.accuracy, found.repeated_share) == pytest.approx(by_counting(situations.tolist(), labels.tolist()))
    assert found.rows == len(rows)


def ambiguous(path, *, masks=None):
    """Ten rows each of three observations: one label, 7 to 3, and five to three to two."""
    actions = np.array([0] * 10 + [1] * 7 + [2] * 3 + [0] * 5 + [1] * 3 + [3] * 2)
    made = episode(np.random.default_rng(0), num_steps=30, policy=lambda _: actions)
    made.steps["observation"][:] = np.repeat(np.arange(3), 10)[:, None]
    if masks is not None:
        made.steps["action_mask"] = masks
    order = np.random.default_rng(1).permutation(30)
    steps = {name: array[order] for name, array in made.steps.items()}
    return demonstrations(path, [replace(made, steps=steps)], shard_bytes=400)


def test_the_ceiling_of_constructed_data_is_its_majority_share(tmp_path):
    ceiling = accuracy_ceiling(ambiguous(tmp_path / "d"), np.array([True]))
    assert (ceiling.accuracy, ceiling.rows, ceiling.repeated_share) == (pytest.approx(22 / 30), 30, 1.0)


def test_an_action_mask_tells_situations_apart(tmp_path):
    masks = np.ones((30, NUM_ACTIONS), bool)
    masks[17:20, 1] = False  # the three rows of action 2 among those of action 1
    ceiling = accuracy_ceiling(ambiguous(tmp_path / "d", masks=masks), np.array([True]))
    assert ceiling.accuracy == pytest.approx(25 / 30)


def test_an_even_part_is_looked_at_where_memory_does_not_reach(tmp_path):
    dataset = demonstrations(tmp_path / "d", 40)
    ceiling = accuracy_ceiling(dataset, np.ones(40, bool), max_pairs=200)
    assert 120 < ceiling.rows < 280


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_part_of_the_observations_is_never_none_of_them_and_each_is_counted_whole(tmp_path, most):
    ceiling = accuracy_ceiling(ambiguous(tmp_path / "d"), np.array([True]), max_pairs=most)
    shares = {10: {1.0, 0.7, 0.5}, 20: {0.85, 0.75, 0.6}, 30: {22 / 30}}  # of one, two or all three observations
    assert min(abs(ceiling.accuracy - share) for share in shares[ceiling.rows]) < 1e-9


def test_rows_that_are_all_seen_alike_are_all_looked_at_in_little_memory():
    pairs = _Pairs(10)
    for _ in range(100):
        pairs.add(np.full(50, 2**63, np.uint64), np.repeat([1, 2], [30, 20]).astype(np.uint64))
        assert len(pairs._situations) <= 2
    assert pairs.ceiling().rows == 5000
    assert pairs.ceiling().accuracy == pytest.approx(0.6)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_rows_have_one_hash_exactly_where_their_bytes_are_equal(seed):
    rng = np.random.default_rng(seed)
    floats = rng.integers(0, 3, (50, 2)).astype(np.float32)
    flags = rng.integers(0, 2, (50, 3)).astype(bool)
    hashes = hash_rows([floats, flags])
    seen = [floats[row].tobytes() + flags[row].tobytes() for row in range(50)]
    for row in range(50):
        assert [h == hashes[row] for h in hashes] == [s == seen[row] for s in seen]


def test_swapped_columns_have_other_hashes():
    one, other = np.zeros((1, 2)), np.ones((1, 2))
    assert hash_rows([one, other]) != hash_rows([other, one])
    assert hash_rows([np.array([[1.0, 2.0]])]) != hash_rows([np.array([[2.0, 1.0]])])


# -- the gate ---------------------------------------------------------------------------------------------------------

GOOD = Labels(np.array([5, 5]), 2, 0.5, constant=False)


@pytest.mark.parametrize(
    ("accuracy", "labels", "settings_fields", "passed", "told"),
    [
        (0.9, GOOD, {}, True, ""),
        (0.8999, GOOD, {}, False, "held-out accuracy 0.8999 is below 0.9"),
        (1.0, Labels(np.array([10, 0]), 1, 1.0, constant=True), {}, False, "every row takes the same action"),
        (1.0, Labels(np.array([999, 1]), 2, 0.999, constant=False), {}, False, "one action is taken in 99.90%"),
        (1.0, Labels(np.array([999, 1]), 2, 0.999, constant=False), {"degenerate_share": 1.0}, True, ""),
        (None, Labels(np.array([]), None, None, constant=True), {}, False, "every row has the same action"),
        (None, GOOD, {}, None, "nothing was held out"),
        (None, Labels(np.array([]), None, None, constant=False), {}, None, "continuous actions have no accuracy"),
        (0.1, GOOD, {"accuracy_threshold": None}, None, "no gate"),
        (0.7, GOOD, {"accuracy_threshold": 0.7}, True, ""),
    ],
)
def test_the_gate_asks_for_accuracy_by_labels_that_are_not_degenerate(accuracy, labels, settings_fields, passed, told):
    gate = decide(Measured(accuracy, 200, 2, 0.5), labels, None, BCSettings(**settings_fields))
    assert gate.passed is passed
    assert told in gate.reason
    assert bool(gate.reason) == bool(told)


@pytest.mark.parametrize(
    ("rows", "groups", "settings_fields", "told"),
    [
        (
            10,
            1,
            {},
            "only 10 held-out rows in 1 world-episode: too few to tell (strategies.bc.min_held_out_rows is 200)",
        ),
        (199, 3, {}, "only 199 held-out rows in 3 world-episodes"),
        (200, 1, {}, ""),
        (10, 1, {"min_held_out_rows": 10}, ""),
        (1, 1, {"min_held_out_rows": 0}, ""),
    ],
)
def test_the_gate_is_not_passed_on_a_handful_of_rows(rows, groups, settings_fields, told):
    gate = decide(Measured(1.0, rows, groups, 0.5), GOOD, None, BCSettings(**settings_fields))
    assert gate.passed is (not told)
    assert told in gate.reason


@pytest.mark.parametrize(("majority_share", "passed"), [(0.94, True), (0.95, False), (0.96, False)])
def test_the_gate_is_not_passed_by_what_a_policy_without_eyes_reaches(majority_share, passed):
    gate = decide(Measured(0.95, 1000, 4, majority_share), GOOD, None, BCSettings())
    assert gate.passed is passed
    assert ("the most frequent action alone" in gate.reason) is not passed


def test_everything_that_is_missing_for_the_gate_is_said():
    gate = decide(Measured(0.5, 10, 1, 0.6), GOOD, None, BCSettings())
    assert [part.split(" is ")[0].split(":")[0] for part in gate.reason.split("; ")] == [
        "held-out accuracy 0.5000",
        "only 10 held-out rows in 1 world-episode",
        "held-out accuracy 0.5000",
    ]
