"""From the host to a device through page-locked memory, two sets of it in turn.

So copying a batch overlaps learning from the one before, and no memory is allocated after the first batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.arrays import Array


def page_locked(size: int, dtype: torch.dtype) -> torch.Tensor:
    """Return memory that a device can read while the processor does something else."""
    return torch.empty(size, dtype=dtype, pin_memory=True)


class Stage:
    """Moves the arrays of one batch after the other.

    Args:
        device: where to.
        allocate: returns memory of so many entries of a type.
        event: returns what tells when a copy is over.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        allocate: Callable[[int, torch.dtype], torch.Tensor] = page_locked,
        event: Callable[[], Any] = torch.cuda.Event,
    ) -> None:
        self._device, self._allocate, self._event = device, allocate, event
        self._memory: list[dict[str, torch.Tensor]] = [{}, {}]
        self._done: list[Any] = [None, None]
        self._turn = 0

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """Return the arrays on the device; the caller may change its own at once."""
        self._turn = turn = 1 - self._turn
        if self._done[turn] is not None:
            self._done[turn].synchronize()  # what was copied from this memory before has arrived
        moved = {name: self._moved(self._memory[turn], name, array) for name, array in arrays.items()}
        self._done[turn] = self._event()
        self._done[turn].record()
        return moved

    def _moved(self, memory: dict[str, torch.Tensor], name: str, array: Array) -> torch.Tensor:
        source = torch.from_numpy(np.ascontiguousarray(array))
        held = memory.get(name)
        if held is None or held.numel() < source.numel() or held.dtype != source.dtype:
            held = memory[name] = self._allocate(source.numel(), source.dtype)
        view = held[: source.numel()].view(source.shape)
        view.copy_(source)
        return view.to(self._device, non_blocking=True)
