"""Small datasets of demonstrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from datasets import write_dataset
from gymnasium import spaces

from townlet_core.replay.trajectory import Trajectory

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.replay.dataset import Dataset

SIZE, NUM_ACTIONS = 6, 4


def rule(observations):
    """Return what the demonstrator does: the largest of the first four numbers decides."""
    return observations[:, :NUM_ACTIONS].argmax(axis=1)


def episode(rng, *, num_steps=50, policy=rule, masked=False, ending="terminated", bootstrap=None, **fields):
    """Return an episode of a demonstrator that looks at six numbers."""
    observations = rng.normal(size=(num_steps, SIZE)).astype(np.float32)
    actions = np.asarray(policy(observations))
    last = np.zeros(num_steps, np.bool_)
    last[-1] = True
    nothing = np.zeros(num_steps, np.bool_)
    steps = {
        "observation": observations,
        "actions": actions,
        "rewards": rng.normal(1.0, 0.1, num_steps).astype(np.float32),
        "terminations": last if ending == "terminated" else nothing,
        "truncations": last if ending == "truncated" else nothing,
    }
    if masked:
        mask = rng.random((num_steps, NUM_ACTIONS)) < 0.6
        mask[np.arange(num_steps), actions] = True
        steps["action_mask"] = mask
    final = {} if bootstrap is None else {"bootstrap_values": np.float32(bootstrap)}
    return Trajectory(steps=steps, final=final, ending=ending, **fields)


def demonstrations(path: Path, episodes=12, *, seed=0, shard_bytes=4000, action_space=None, **fields) -> Dataset:
    """Write a dataset of `episodes` world-episodes (a number, or trajectories) and return it."""
    if isinstance(episodes, int):
        rng = np.random.default_rng(seed)
        episodes = [episode(rng, group=group, **fields) for group in range(episodes)]
    return write_dataset(
        path,
        episodes,
        observation_spaces={"observation": spaces.Box(-10.0, 10.0, (SIZE,), np.float32)},
        action_space=spaces.Discrete(NUM_ACTIONS) if action_space is None else action_space,
        action_names=(),
        feature_names={},
        event_kinds=(),
        shard_bytes=shard_bytes,
    )
