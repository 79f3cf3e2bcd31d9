"""The rows that a recorder has not handed over: a block that moves to its front, or grows, when it is full.

Legend: T rows, N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.services.buffer import RolloutBuffer

if TYPE_CHECKING:
    from townlet_core.services.rollout import Rollout

FRAGMENT_BYTES = 64 << 20
"""Longest stretch of one world that waits in memory; what is longer is handed over in several. [bytes]"""
_FIRST_ROWS = 64


class StepBlock:
    """The last steps of all worlds, one row each; at most twice `fragment_bytes` for each world.

    Attributes:
        buffer: the rows, (T, N, A, ...).
        columns: its arrays by name.
        row: the next one to be written.
        fragment_steps: rows of one world that have to find room.

    Args:
        rollout: whose steps.
        fragment_bytes: bytes of one world that have to find room; at least one row does.
    """

    def __init__(self, rollout: Rollout, *, fragment_bytes: int) -> None:
        self._rollout = rollout
        self.row = 0
        self._set(self._allocate(1))
        row_bytes = sum(column[0, 0].nbytes for column in self.columns.values())
        self.fragment_steps = max(1, fragment_bytes // row_bytes)
        self._set(self._allocate(min(_FIRST_ROWS, 2 * self.fragment_steps)))

    def _allocate(self, num_rows: int) -> RolloutBuffer:
        environment = self._rollout.environment
        return RolloutBuffer.allocate(
            num_rows,
            environment.num_worlds,
            environment.num_agents,
            observation_spaces=environment.observation_spaces,
            action_space=environment.action_space,
            has_action_mask=self._rollout.current.action_mask is not None,
        )

    def _set(self, buffer: RolloutBuffer) -> None:
        self.buffer, self.columns = buffer, buffer.columns()

    @property
    def num_rows(self) -> int:
        """T."""
        return len(self.buffer.rewards)

    @property
    def is_full(self) -> bool:
        """Whether `make_room` is due before the next row is written."""
        return self.row == self.num_rows

    def take(self, buffer: RolloutBuffer, index: int) -> None:
        """Count the next row as written; where it stands in another buffer, copy it from row `index` there."""
        if buffer is not self.buffer:
            for name, column in buffer.columns().items():
                self.columns[name][self.row] = column[index]
        self.row += 1

    def make_room(self, oldest: int) -> int:
        """Move the rows from `oldest` on to the front, of a block of twice the size where that is half of them or more.

        Returns:
            By how many rows they have moved.
        """
        before = self.columns
        if oldest < self.num_rows // 2:
            self._set(self._allocate(min(2 * self.num_rows, 2 * self.fragment_steps)))
        for name, column in before.items():
            self.columns[name][: self.row - oldest] = column[oldest : self.row]
        self.row -= oldest
        return oldest
