import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from townlet_core.errors import DatasetError
from townlet_core.replay.legacy import vocabulary
from townlet_core.replay.legacy.metrics import action_kind, aggregate, sample_metrics
from townlet_core.replay.legacy.vocabulary import Vocabulary, file_actions, read_lookup, renumbered, sorted_json

PATH = Path("x.json")
WAIT, MOVE = '{"kind": "wait"}', '{"kind": "move", "position": [1, 2]}'


def actions_of(lookup: Any, ids: list[int], name: str = "x.npz") -> Any:
    return file_actions(lookup, np.array(ids), name=name, path=PATH)


@pytest.mark.parametrize("lookup", [{WAIT: 3, MOVE: 0}, {"3": WAIT, "0": MOVE}])
def test_a_table_is_read_in_either_direction(lookup: Any) -> None:
    assert read_lookup(lookup, PATH) == {3: WAIT, 0: MOVE}


def test_an_action_is_known_by_its_json_with_sorted_keys() -> None:
    assert read_lookup({'{"position":[1,2],"kind":"move"}': 0}, PATH) == {0: MOVE}
    assert sorted_json("not json") == "not json"
    assert sorted_json("[2, 1]") == "[2, 1]"
    assert sorted_json("[" * 100_000) == "[" * 100_000


@pytest.mark.parametrize("lookup", [None, {}])
def test_without_a_table_every_id_is_unlisted(lookup: Any) -> None:
    assert actions_of(lookup, [2, 0, 2], "a/b.npz").names == {0: "unlisted:a/b:0", 2: "unlisted:a/b:2"}


@pytest.mark.parametrize(
    ("lookup", "problem"),
    [
        ([WAIT], "is a list"),
        ({WAIT: 0, MOVE: "1"}, "neither"),
        ({WAIT: True}, "neither"),
        ({WAIT: 1.0}, "neither"),
        ({"zero": WAIT}, "neither"),
        ({"00": WAIT}, "neither"),
        ({"٣": WAIT}, "neither"),
        ({"1" * 5000: WAIT}, "neither"),
        ({WAIT: -1}, "with id -1"),
        ({WAIT: 2**63}, "with id"),
        ({WAIT: 0, MOVE: 0}, "two actions with id 0"),
        ({"0": WAIT, "1": WAIT}, "twice"),
        ({WAIT: 0, '{"kind":"wait"}': 1}, "twice"),
        ({"x" * 5000: 0}, "has the entry"),
        ({"unlisted:y:3": 0}, "has the entry"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(lookup: Any, problem: str) -> None:
    with pytest.raises(DatasetError, match=rf"x\.json.*{problem}"):
        read_lookup(lookup, PATH)


def test_negative_ids_are_refused() -> None:
    with pytest.raises(DatasetError, match="has the id -2"):
        actions_of({WAIT: 0}, [0, -2])


def test_ids_that_no_table_names_are_kept_apart_by_file_and_reported() -> None:
    joined = Vocabulary()
    for name in ("b.npz", "a.npz", "d/a.npz"):
        joined.add(actions_of({WAIT: 0}, [0, 7, 5], name), name)

    assert joined.names == (
        WAIT,
        *("unlisted:b:5", "unlisted:b:7"),
        *("unlisted:a:5", "unlisted:a:7"),
        *("unlisted:d/a:5", "unlisted:d/a:7"),
    )
    assert joined.unlisted == {"b.npz": (5, 7), "a.npz": (5, 7), "d/a.npz": (5, 7)}


def test_listed_actions_are_in_the_order_of_their_text_whether_used_or_not() -> None:
    joined = Vocabulary()
    joined.add(actions_of({WAIT: 0}, [0]), "x.npz")
    joined.add(actions_of({MOVE: 0, '{"kind": "chat"}': 1}, [1]), "y.npz")

    assert joined.names == ('{"kind": "chat"}', MOVE, WAIT)
    assert joined.unlisted == {}


def test_very_many_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_ACTIONS", 2)
    joined = Vocabulary()
    joined.add(actions_of({WAIT: 0}, [0, 1]), "x.npz")
    with pytest.raises(DatasetError, match="more than 2 different actions"):
        joined.add(actions_of({WAIT: 0}, [1], "y.npz"), "y.npz")
    with pytest.raises(DatasetError, match="3 different ids"):
        actions_of({WAIT: 0}, [0, 1, 2])


names = st.sampled_from([json.dumps({"kind": kind}) for kind in "abcdef"])


@given(st.lists(st.tuples(st.lists(names, unique=True, min_size=1), st.booleans(), st.data()), min_size=1, max_size=4))
def test_equal_numbers_mean_equal_actions_in_all_files(files: Any) -> None:
    joined, columns = Vocabulary(), []
    for number, (table, is_inverse, data) in enumerate(files):
        lookup = {str(i): name for i, name in enumerate(table)} if is_inverse else {n: i for i, n in enumerate(table)}
        ids = data.draw(st.lists(st.integers(0, len(table) + 1), min_size=1, max_size=6))
        found = file_actions(lookup, np.array(ids), name=f"{number}.npz", path=PATH)
        joined.add(found, f"{number}.npz")
        meant = [table[i] if i < len(table) else f"unlisted:{number}:{i}" for i in ids]
        columns.append((np.array(ids), found.names, meant))

    place = {name: index for index, name in enumerate(joined.names)}

    assert len(place) == len(joined.names)
    for ids, file_names, meant in columns:
        numbers = renumbered(ids, file_names, place)
        assert numbers.dtype == np.int64
        assert [joined.names[number] for number in numbers] == meant


def test_metrics_of_a_sample_by_hand() -> None:
    steps = {
        "features": np.array([[0.5, 2, 0.25], [1.0, 0, 0.75]], np.float32),
        "actions": np.array([4, 2]),
        "old_log_probs": np.array([-1, -3], np.float32),
        "value_preds": np.array([7, 8, 9], np.float32),
        "rewards": np.array([1, 2], np.float32),
    }
    columns = ("rivalry_max", "rivalry_avoid_count", "lateness_counter")

    metrics = sample_metrics(steps, columns, {4: '{"kind": "blocked", "object": "o"}', 2: WAIT})

    assert metrics == {
        "timesteps": 2,
        "reward_sum": 3.0,
        "reward_mean": 1.5,
        "log_prob_mean": -2.0,
        "value_pred_last": 9.0,
        "rivalry_max_mean": 0.75,
        "rivalry_max_max": 1.0,
        "rivalry_avoid_count_mean": 1.0,
        "rivalry_avoid_count_max": 2.0,
        "lateness_mean": 0.5,
        "action_nonzero": 2,
        "action_total": 2,
        "action_entropy": pytest.approx(math.log(2)),
        "action_blocked_count": 1,
        "action_wait_count": 1,
        "action_blocked_ratio": 0.5,
    }


def test_a_single_action_has_no_entropy_and_an_unnamed_one_no_kind() -> None:
    steps = {name: np.zeros(3, np.float32) for name in ("old_log_probs", "value_preds", "rewards")}
    steps |= {"features": np.zeros((3, 0), np.float32), "actions": np.array([5, 5, 5])}

    metrics = sample_metrics(steps, (), {})

    assert metrics["action_entropy"] == 0.0
    assert metrics["action_unlisted_count"] == 3
    assert "lateness_mean" not in metrics
    for text in ("", "[]", '{"kind": 3}', "{}", "[" * 100_000):
        assert action_kind(text) == "unlisted"


def test_sums_and_totals_add_up_and_the_rest_is_averaged() -> None:
    joined = aggregate(
        [
            {"timesteps": 2, "reward_sum": 1.0, "action_total": 2, "lateness_mean": 0.5, "note": "x", "is_good": True},
            {"timesteps": 4, "reward_sum": 5.0, "action_total": 4, "action_entropy": None},
        ]
    )

    assert joined == {
        "sample_count": 2.0,
        "timesteps": 3.0,
        "reward_sum": 6.0,
        "reward_sum_mean": 3.0,
        "action_total": 6.0,
        "action_total_mean": 3.0,
        "lateness_mean": 0.5,
    }
    assert aggregate([]) == {"sample_count": 0.0}
