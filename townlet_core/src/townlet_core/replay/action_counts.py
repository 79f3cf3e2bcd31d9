"""How often each choice of a categorical action was taken, and how often a mask allowed it.

Legend: R rows, K choices of all components together, as an action mask has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from townlet_core.dto.dataset_summary import ActionShare
from townlet_core.replay.moments import blocks
from townlet_core.spaces import action_count

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.replay.schema import DatasetManifest
    from townlet_core.spaces import Space


def component_sizes(space: Space) -> Array:
    """Return the number of choices of each component of an action, (components,) int64; none of a continuous one."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n], np.int64)
    return space.nvec.astype(np.int64) if isinstance(space, spaces.MultiDiscrete) else np.zeros(0, np.int64)


class ActionCounts:
    """Counts choices and masks that pass by.

    Args:
        space: the action space.

    Attributes:
        taken: (K,) int64.
        allowed: (K,) int64, of the rows with a mask.
        impossible: choices that are none, which `taken` leaves out.
        num_rows: rows counted.
        num_masks: masks counted.
    """

    def __init__(self, space: Space) -> None:
        self.sizes = component_sizes(space)
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.num_choices = action_count(space)
        self.taken, self.allowed = np.zeros(self.num_choices, np.int64), np.zeros(self.num_choices, np.int64)
        self.impossible = self.num_rows = self.num_masks = 0

    def add(self, actions: Array) -> None:
        """Take in actions (R,) or (R, components), whole numbers."""
        self.num_rows += len(actions)
        columns = actions.reshape(len(actions), -1)
        for column, (size, offset) in enumerate(zip(self.sizes, self.offsets, strict=True)):
            choices = columns[:, column]
            inside = choices[(choices >= 0) & (choices < size)].astype(np.int64)
            self.impossible += len(choices) - len(inside)
            self.taken[offset : offset + size] += np.bincount(inside, minlength=size)

    def add_masks(self, masks: Array) -> None:
        """Take in masks (R, K)."""
        self.num_masks += len(masks)
        for block in blocks(masks):
            self.allowed += np.count_nonzero(block, axis=0)

    def entropy(self) -> float | None:
        """Return the entropy of the choices [nats], mean over components; None where nothing was counted."""
        if not self.num_rows or not len(self.sizes):
            return None
        parts = np.split(self.taken, self.offsets[1:])
        return float(np.mean([_entropy(part) for part in parts]))

    def shares(self, manifest: DatasetManifest) -> tuple[ActionShare, ...]:
        """Return one entry for each choice, in the order of a mask."""
        return tuple(
            ActionShare(
                component=component,
                action=action,
                name=manifest.action_names[action] if manifest.action_names else str(action),
                count=int(self.taken[offset + action]),
                share=int(self.taken[offset + action]) / max(1, self.num_rows),
                allowed=int(self.allowed[offset + action]) / self.num_masks if self.num_masks else None,
            )
            for component, (size, offset) in enumerate(zip(self.sizes, self.offsets, strict=True))
            for action in range(size)
        )


def _entropy(counts: Array) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) + 0.0
