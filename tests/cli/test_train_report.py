"""What `townlet train` prints of a result."""

from __future__ import annotations

import pytest

from townlet_core.cli.train import _best, _cloning, _steps

CLONED = {
    "accuracy": 0.8942,
    "num_held_out_rows": 8000,
    "num_held_out_groups": 2,
    "accuracy_ceiling": 0.97,
    "ceiling_repeated_share": 0.3,
    "agent_steps": 428_544,
    "agent_steps_done": 476_160,
    "epoch": 18,
    "num_epochs_done": 20,
}


@pytest.mark.parametrize(
    ("ceiling", "repeated", "told"),
    [
        (0.97, 0.3, "the labels allow 0.9700"),
        (0.97, 0.05, "the labels allow 0.9700"),
        (1.0, 0.004, "what the labels allow is unknown: 0.4% of the observations occur twice"),
        (None, 0.0, "what the labels allow is unknown: no observation occurs twice"),
    ],
)
def test_what_the_labels_allow_is_said_only_where_it_is_known(ceiling, repeated, told):
    lines = _cloning(CLONED | {"accuracy_ceiling": ceiling, "ceiling_repeated_share": repeated})
    assert lines == [("accuracy", "0.8942 on 8,000 held-out rows of 2 world-episodes"), ("", told)]


def test_one_world_episode_is_one():
    lines = _cloning(CLONED | {"num_held_out_groups": 1})
    assert lines[0][1].endswith("of 1 world-episode")


def test_the_steps_of_all_passes_are_told_from_those_of_the_best():
    assert _steps(CLONED) == [("agent-steps", "476,160"), ("best pass", "18 of 20, after 428,544 agent-steps")]
    assert _steps(CLONED | {"num_held_out_rows": 0}) == [("agent-steps", "476,160")]
    assert _steps({"agent_steps": 4096}) == [("agent-steps", "4,096")]
    assert _steps({}) == []


def test_the_best_policy_is_told_and_where_it_is_not_the_one_that_is_given():
    data = {"best_score": 487.25, "best_update": 1_200, "epoch": 1_300, "artefact": {"kind": "best"}}
    assert _best(data) == [("best", "487.2 in evaluation, at update 1,200 of 1,300")]
    ((_, lost),) = _best(data | {"artefact": {"kind": "last"}})
    assert lost.endswith("of 1,300; it is lost, and the policy is that of the last update")
    assert _best({"best_score": None}) == _best({}) == []
