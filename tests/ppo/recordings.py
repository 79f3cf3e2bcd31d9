"""Small recordings that PPO learns from, and the runs that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import write_dataset
from gymnasium import spaces

from townlet_core.replay.schema import Source
from townlet_core.replay.trajectory import Trajectory

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.replay.dataset import Dataset

SEEN = {"observation": spaces.Box(-1000.0, 1000.0, (2,), np.float32)}
NUM_ACTIONS = 3
TRAINED = Source(kind="training", environment="probe", policy="ppo")
SCRIPT = Source(kind="capture", environment="probe", policy="scripted")
FIRST = 100
"""What the first number of episode e is in its row t: FIRST * e + t; so that a row can be told in a buffer."""


def episode(
    number: int,
    num_steps: int,
    ending: Any = "terminated",
    *,
    bootstrap: float | None = 0.5,
    masked: bool = False,
    **fields: Any,
) -> Trajectory:
    """Return an episode whose every number says what it is of.

    Args:
        number: e.
        num_steps: its rows.
        ending: how it ends.
        bootstrap: value of what followed it; None where that is not recorded.
        masked: whether it has masks.
        fields: of `Trajectory`.
    """
    rows = FIRST * number + np.arange(num_steps, dtype=np.float32)
    last = np.zeros(num_steps, np.bool_)
    last[-1] = True
    script = fields.get("source") == 1
    steps = {
        "observation": np.stack([rows, -rows], axis=1),
        "actions": (np.arange(num_steps) + number) % NUM_ACTIONS,
        "rewards": rows / 1000,
        "terminations": last & (ending == "terminated"),
        "truncations": last & (ending == "truncated"),
        "log_probs": np.full(num_steps, 0.0 if script else -0.1 * (number + 1), np.float32),
        "values": np.zeros(num_steps, np.float32) if script else rows / 100,
    }
    if masked:
        steps["action_mask"] = np.ones((num_steps, NUM_ACTIONS), np.bool_)
    final = {} if bootstrap is None else {"bootstrap_values": np.float32(0 if ending == "terminated" else bootstrap)}
    return Trajectory(steps=steps, final=final, ending=ending, **{"group": number, **fields})


def recorded(path: Path, episodes: list[Trajectory], **fields: Any) -> Dataset:
    """Write a dataset of several shards; source 0 is a policy, source 1 a script."""
    options = {
        "observation_spaces": SEEN,
        "action_space": spaces.Discrete(NUM_ACTIONS),
        "action_names": (),
        "feature_names": {},
        "event_kinds": (),
        "sources": (TRAINED, SCRIPT),
        "shard_bytes": 300,
    }
    return write_dataset(path, episodes, **{**options, **fields})
