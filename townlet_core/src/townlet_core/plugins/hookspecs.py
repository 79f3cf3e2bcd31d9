"""The hooks of Townlet: what a plugin may implement, and what each hook must return.

The hooks that offer something take nothing and return a list of frozen entries, so they can be called in a test
without Townlet around them. The observers are told what happened to a run and return nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pluggy import HookimplMarker, HookspecMarker

from townlet_core.plugins.entries import CommandEntry, EncoderEntry, EnvironmentEntry, StrategyEntry, TrackerEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.plugins.entries import Entry

PROJECT: Final = "townlet"
"""The name of the project for pluggy, and of the entry-point group."""

PLUGIN_API: Final = (1, 0)
"""(major, minor) of the hooks below: a new hook raises minor, a changed one raises major."""

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def townlet_strategies() -> Sequence[StrategyEntry]:
    """Offer training strategies, selected with ``townlet train --strategy NAME``.

    Returns:
        One entry per strategy.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """
    raise NotImplementedError


@hookspec
def townlet_environments() -> Sequence[EnvironmentEntry]:
    """Offer environments, selected with ``townlet train --env NAME``.

    Returns:
        One entry per environment.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """
    raise NotImplementedError


@hookspec
def townlet_encoders() -> Sequence[EncoderEntry]:
    """Offer encoders: custom networks that turn observations into features.

    Returns:
        One entry per encoder.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """
    raise NotImplementedError


@hookspec
def townlet_trackers() -> Sequence[TrackerEntry]:
    """Offer trackers: places that telemetry is sent to, selected in the section ``tracking.trackers``.

    Returns:
        One entry per tracker.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """
    raise NotImplementedError


@hookspec
def townlet_commands() -> Sequence[CommandEntry]:
    """Offer sub-commands of ``townlet``; a built-in command is never replaced.

    Returns:
        One entry per command.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """
    raise NotImplementedError


@hookspec
def townlet_run_started(run_dir: str, strategy: str) -> None:
    """Learn that a run has started, or goes on: its directory exists and is locked; this process has trained nothing.

    Args:
        run_dir: absolute path of the run directory.
        strategy: name of the strategy, as it was selected.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """


@hookspec
def townlet_run_finished(run_dir: str, result: Mapping[str, object]) -> None:
    """Learn that a run has finished: its result and its policy are on disk.

    Args:
        run_dir: absolute path of the run directory.
        result: what ``result.json`` holds, read-only.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """


@hookspec
def townlet_run_failed(run_dir: str, error: str) -> None:
    """Learn that a run has ended with an error; an interrupted run can be resumed and has not failed.

    Args:
        run_dir: absolute path of the run directory.
        error: the error in one line, its type first.

    .. versionadded:: 0.1.0 (plugin API 1.0)
    """


OFFERS: Final[Mapping[str, type[Entry]]] = {
    "townlet_strategies": StrategyEntry,
    "townlet_environments": EnvironmentEntry,
    "townlet_encoders": EncoderEntry,
    "townlet_trackers": TrackerEntry,
    "townlet_commands": CommandEntry,
}
"""The hooks that offer something, with the entry that each returns a list of."""

OBSERVERS: Final = ("townlet_run_started", "townlet_run_finished", "townlet_run_failed")
"""The hooks that are told something."""
