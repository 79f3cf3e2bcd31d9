"""The running episodes of a run as a file of its checkpoint: the worlds, the numbers drawn, and what was earned so far.

Environments that cannot be put back to where they were have no such file, or turn out to be others when it is read; a
run that is resumed begins new episodes there, and its result says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from townlet_core.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.services.rollout import Rollout
    from townlet_strategies_ppo.rewards import RewardScale

ROLLOUT_FILE = "rollout.safetensors"
STAGE_FILE = "stage-begins.txt"
"""Of a checkpoint in which a stage has begun new episodes and nobody has acted in them: updates made before."""
_DISCOUNTED = "rewards.discounted"


def rollout_files(rollout: Rollout, rewards: RewardScale | None) -> dict[str, bytes]:
    """Return the file by its name; nothing where the environment cannot tell."""
    arrays = rollout.snapshot()
    if arrays is None:
        return {}
    if rewards is not None:
        arrays[_DISCOUNTED] = rewards.discounted
    return {ROLLOUT_FILE: safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})}


def stage_begun(files: Mapping[str, bytes], *, where: str) -> int:
    """Return the number of updates before a stage that has begun new episodes, and that nobody has acted in; else 0.

    Args:
        files: of a checkpoint.
        where: its name.

    Raises:
        CheckpointError: it is no number.
    """
    try:
        return int(files.get(STAGE_FILE, b"0"))
    except ValueError as error:
        raise CheckpointError(f"{where}: {STAGE_FILE} holds no number") from error


def restore_rollout(rollout: Rollout, rewards: RewardScale | None, data: bytes) -> None:
    """Take up what `rollout_files` returned.

    Raises:
        DataError: it cannot be read, or is of another rollout.
        EpisodesLostError: the worlds are not what they were.
    """
    try:
        arrays = safetensors.numpy.load(data)
    except Exception as error:
        raise DataError(f"cannot be read: {error}") from error
    discounted = arrays.pop(_DISCOUNTED, None)
    if (discounted is None) is not (rewards is None) or (
        rewards is not None and discounted is not None and discounted.shape != rewards.discounted.shape
    ):
        raise DataError(f"'{_DISCOUNTED}' is not what this run needs")
    rollout.restore(arrays)
    if rewards is not None and discounted is not None:
        rewards.discounted = discounted
