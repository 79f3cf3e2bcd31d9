"""What telemetry says of rivalry: found by the names of features, averaged over who was there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from town_runs import go, outcome

from townlet_core.services.buffer import RolloutBuffer
from townlet_strategies_ppo.telemetry import conflict_averages

NAMES = {"observation.features": ("hunger", "rivalry_max", "rivalry_avoid_count", "social_rivalry_max")}


def buffer_of(seen: Any, present: Any) -> RolloutBuffer:
    """Return a buffer (T, N, 1) in which the second feature is `seen` (T, N), and the third twice that."""
    seen, present = np.array(seen, np.float32), np.array(present, np.bool_)
    buffer = RolloutBuffer.allocate(
        *seen.shape,
        1,
        observation_spaces={"observation.features": spaces.Box(-1, 1, (4,), np.float32)},
        action_space=spaces.Discrete(2),
        has_action_mask=False,
    )
    buffer.agent_mask[:] = present[..., None]
    buffer.observations["observation.features"][:, :, 0, 1] = seen
    buffer.observations["observation.features"][:, :, 0, 2] = 2 * seen
    return buffer


def test_means_are_over_rows_and_maxima_over_agents_who_were_there() -> None:
    buffer = buffer_of([[0.1, 0.9, 0.3], [0.5, 0.8, 0.9], [0.9, 0.7, 0.3]], [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
    averages = conflict_averages(buffer, NAMES)
    assert averages == pytest.approx(
        {
            "rivalry_max_mean_avg": (0.1 + 0.5 + 0.3 + 0.3) / 4,
            "rivalry_max_max_avg": (0.5 + 0.3) / 2,
            "rivalry_avoid_count_mean_avg": 2 * (0.1 + 0.5 + 0.3 + 0.3) / 4,
            "rivalry_avoid_count_max_avg": 2 * (0.5 + 0.3) / 2,
        }
    )


def test_below_0_the_largest_is_not_0() -> None:
    averages = conflict_averages(buffer_of([[-0.5], [-0.25], [0.9]], [[1], [1], [0]]), NAMES)
    assert averages["rivalry_max_max_avg"] == -0.25


def test_without_such_features_there_are_no_averages() -> None:
    assert conflict_averages(buffer_of([[0.5]], [[1]]), {}) == {}
    assert conflict_averages(buffer_of([[0.5]], [[1]]), {"observation.features": ("a", "b", "c", "d")}) == {}


def test_the_town_has_them_in_every_record(tmp_path) -> None:
    result = go(tmp_path / "run", total_steps=1)
    (record,) = outcome(tmp_path / "run", result)["telemetry"]
    for name in ("rivalry_max", "rivalry_avoid_count"):
        assert 0 <= record[f"conflict.{name}_mean_avg"] <= record[f"conflict.{name}_max_avg"] <= 1
    assert not [name for name in record if name.startswith("conflict.social")]
