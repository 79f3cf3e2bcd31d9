"""Ctrl-C and SIGTERM as a request to stop in an orderly way."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal:
    """While entered, the first signal sets `requested`; the second one ends the process's work at once.

    Args:
        announce: called once with a line for the user when a stop is asked for.
        doing: what is done then, for that line.
    """

    def __init__(
        self, announce: Callable[[str], None], *, doing: str = "finishing this update and saving a checkpoint"
    ) -> None:
        self.requested = False
        self._doing = doing
        self._announce = announce
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        name = signal.Signals(number).name
        self._announce(f"{name}: {self._doing}; once more stops at once")
