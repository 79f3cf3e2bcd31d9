"""PPO on PettingZoo parallel environments: equal spaces, unequal spaces, agents that come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training import train

TOYS = Path(__file__).parents[1] / "environments" / "worlds"
FEW = {"total_steps": 1000, "num_steps": 16, "num_epochs": 2}


@pytest.fixture
def _toys_can_be_imported(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(TOYS))


def digests(records):
    return [record["policy_digest"] for record in records]


@pytest.mark.parametrize(
    ("module", "options", "leaves"),
    [
        ("simple_spread_v3", {}, 1),
        ("simple_tag_v3", {}, 2),
        ("simple_adversary_v3", {"continuous_actions": True}, 2),
        ("simple_speaker_listener_v4", {}, 2),
    ],
)
def test_ppo_trains_on_mpe2_and_twice_the_same(tmp_path, module, options, leaves) -> None:
    fields = {
        "name": f"pettingzoo:mpe2.{module}",
        "num_worlds": 4,
        "options": {"max_cycles": 10, **options},
        "settings": FEW,
    }
    trained, again = (train(tmp_path / run, **fields) for run in ("one", "two"))
    assert len(trained.records) >= 3
    assert all(np.isfinite(record["loss_total"]) for record in trained.records)
    assert trained.records[-1]["episodes"] > 0
    assert len(set(digests(trained.records))) == len(trained.records)
    assert digests(trained.records) == digests(again.records)
    assert len(trained.artefact.spec.observation_spaces) == leaves


@pytest.mark.usefixtures("_toys_can_be_imported")
@pytest.mark.parametrize("kind", ["equal", "sizes"])
def test_ppo_learns_the_best_action_while_agents_come_and_go(tmp_path, kind) -> None:
    options = {
        "kind": kind,
        "arrives": [0, 2, 4],
        "leaves": [3, 7, 6],
        "truncated": [1],
        "bonus": 0.0,
        "luck": False,
    }
    trained = train(
        tmp_path, name="pettingzoo:parallel_toys", options=options, settings={"num_steps": 14, "total_steps": 8000}
    )
    first, last = trained.records[0], trained.records[-1]
    # an update sees two episodes of 7 steps, in which the agents act 3, 5 and 2 times; agent 1 of `sizes` earns 7 or 8
    best = {"equal": 2 * (3 + 5 + 2) / 3, "sizes": (2 * 3 + 8 * 5 + 2 * 2) / 3}[kind]
    assert last["episode_return_mean"] > 0.97 * best > first["episode_return_mean"]
    assert last["agent_steps"] == len(trained.records) * 2 * (3 + 5 + 2) * 8


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_ppo_trains_where_agents_die(tmp_path) -> None:
    name = "pettingzoo:pettingzoo.butterfly.knights_archers_zombies_v11"
    trained = train(tmp_path, name=name, num_worlds=2, settings={**FEW, "total_steps": 2000, "num_steps": 64})
    assert all(np.isfinite(record["loss_total"]) for record in trained.records)
    assert trained.records[-1]["agent_steps"] < len(trained.records) * 64 * 2 * 4  # some were absent
