"""What a tracker is, and how several are one: a plugin's tracker that fails is switched off, and training goes on."""

from __future__ import annotations

from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@runtime_checkable
class Tracker(Protocol):
    """Somewhere to send telemetry."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Take one record: name -> number, text, None, or nested lists and mappings of them. It must not be changed."""
        ...

    def close(self) -> None:
        """Finish; nothing is logged afterwards. Closing twice does nothing."""
        ...


class Trackers:
    """Several trackers as one.

    Args:
        own: trackers of the run itself, such as the telemetry file: their errors end the run.
        plugins: name -> tracker that a plugin brought: one that raises is reported once, and left out from then on.
        warn: called with one line of text for the user.
    """

    def __init__(
        self, own: Sequence[Tracker], *, plugins: Mapping[str, Tracker] | None = None, warn: Callable[[str], None]
    ) -> None:
        self._own = tuple(own)
        self._plugins = dict(plugins or {})
        self._warn = warn

    def add(self, name: str, tracker: Tracker) -> None:
        """Take in a tracker that the plugin tracker `name` made."""
        self._plugins[name] = tracker

    def log(self, record: Mapping[str, Any]) -> None:
        """Send one record to all.

        Raises:
            StorageError: the telemetry file cannot be written.
        """
        view = MappingProxyType(dict(record))
        for tracker in self._own:
            tracker.log(view)
        for name, tracker in list(self._plugins.items()):
            try:
                tracker.log(view)
            except Exception as error:  # noqa: BLE001  (whatever a plugin raises, training goes on)
                del self._plugins[name]
                self._warn(f"tracker '{name}' failed and is switched off for this run: {_described(error)}")

    def close(self) -> None:
        """Close all, plugins first; each is closed whatever the others do, and closing twice does nothing."""
        plugins, self._plugins = self._plugins, {}
        for name, tracker in plugins.items():
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001  (whatever a plugin raises, the run ends in order)
                self._warn(f"tracker '{name}' failed while closing: {_described(error)}")
        with ExitStack() as stack:
            for tracker in reversed(self._own):
                stack.callback(tracker.close)


def _described(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
