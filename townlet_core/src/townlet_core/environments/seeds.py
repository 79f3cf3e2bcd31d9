"""Which seed the reset of each episode is given: a pure function of (seed, world, episode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import UsageError
from townlet_core.randomness import MAX_SEED, fold, integer_seed, key

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEEDS_AHEAD = 16


def seed_lists(seeds: int | Sequence[int], num_worlds: int) -> tuple[list[int], list[int]]:
    """Return, for each world, its seed and the world index that it draws its key with.

    Raises:
        UsageError: not one seed for each world, or a seed that is not in 0..2**63-1.
    """
    if isinstance(seeds, int | np.integer):
        each, indices = [int(seeds)] * num_worlds, list(range(num_worlds))
    else:
        each, indices = [int(seed) for seed in seeds], [0] * num_worlds
    if len(each) != num_worlds:
        raise UsageError(
            f"reset was given {len(each)} seeds for {num_worlds} worlds: give one for each, or one for all"
        )
    wrong = [seed for seed in each if not 0 <= seed <= MAX_SEED]
    if wrong:
        raise UsageError(f"{wrong[0]} is not a seed: seeds are 0 to 2**63 - 1")
    return each, indices


class EpisodeSeeds:
    """The reset seeds of a block of worlds; drawn some episodes ahead, since one draw costs as much as many.

    Args:
        seeds: the seed of each world.
        indices: the world index that each draws its key with.
    """

    def __init__(self, seeds: Sequence[int], indices: Sequence[int]) -> None:
        self._keys = key(np.array(seeds, np.uint64), "environment", np.array(indices, np.uint64))
        self._ahead: list[list[int]] = [[] for _ in seeds]
        self._blocks = [-1] * len(seeds)

    def of(self, world: int, episode: int) -> int:
        """Return the seed that episode `episode` (from 0) of the block's world `world` is reset with."""
        block, place = divmod(episode, _SEEDS_AHEAD)
        if block != self._blocks[world]:
            episodes = np.arange(block * _SEEDS_AHEAD, (block + 1) * _SEEDS_AHEAD)
            self._ahead[world] = integer_seed(fold(self._keys[world], episodes))
            self._blocks[world] = block
        return self._ahead[world][place]
