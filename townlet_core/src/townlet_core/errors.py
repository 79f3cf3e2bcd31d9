"""One exception tree, and the exit code that each branch of it ends a command with."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """What a `townlet` command ends with; 1 and 2 are verdicts only, every error is 64 to 78; 130 is Ctrl-C."""

    OK = 0
    HOLD = 1
    FAIL = 2
    USAGE = 64
    BAD_DATA = 65
    MISSING_INPUT = 66
    UNAVAILABLE = 69
    INTERNAL = 70
    LOCKED = 73
    IO = 74
    INTERRUPTED = 75
    CONFIG = 78
    STOPPED = 130


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.HOLD: "verdict: HOLD, or cannot tell",
    ExitCode.FAIL: "verdict: FAIL, or a threshold exceeded",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.BAD_DATA: "a file or an environment gave bad data",
    ExitCode.MISSING_INPUT: "an input file is missing",
    ExitCode.UNAVAILABLE: "an extra is missing, or a plugin is broken or has crashed",
    ExitCode.INTERNAL: "a bug in Townlet",
    ExitCode.LOCKED: "another process holds the run or the releases, or was faster",
    ExitCode.IO: "reading or writing failed",
    ExitCode.INTERRUPTED: "interrupted, and can be resumed",
    ExitCode.CONFIG: "the configuration is wrong",
    ExitCode.STOPPED: "stopped at once with Ctrl-C: there is nothing to resume",
}


class TownletError(Exception):
    """Base of every error that Townlet raises on purpose; its text is written for the user."""

    exit_code: ExitCode = ExitCode.INTERNAL


class UsageError(TownletError):
    """A command or function was asked for something that it does not offer."""

    exit_code = ExitCode.USAGE


class DataError(TownletError):
    """A file, or something that arrived from outside, is not what it has to be."""

    exit_code = ExitCode.BAD_DATA


class ArtefactError(DataError):
    """A policy artefact is damaged, or does not fit the spaces at hand."""


class DatasetError(DataError):
    """A recorded dataset, or a file that is to become one, is damaged, hostile, or not what it says it is."""


class CheckpointError(DataError):
    """A checkpoint is damaged or does not belong to this run."""


class DivergenceError(DataError):
    """What was learned is not finite any more; such weights are never kept."""


class EnvironmentFault(DataError):  # noqa: N818  ("EnvironmentError" is a built-in name of Python's)
    """An environment raised, returned something impossible, hung or died."""


class EpisodesLostError(DataError):
    """Running episodes cannot be brought back, because their worlds are not what they were; new ones can begin."""


class MissingInputError(TownletError):
    """A file or directory that was named does not exist."""

    exit_code = ExitCode.MISSING_INPUT


class UnavailableError(TownletError):
    """Something optional is needed here and is not installed, or does not work."""

    exit_code = ExitCode.UNAVAILABLE


class TorchNotAvailableError(UnavailableError):
    """A strategy needs torch, and torch cannot be imported."""


class PluginError(UnavailableError):
    """A plugin that was asked for by name is missing, broken, disabled or ambiguous."""


class RunLockedError(TownletError):
    """Another process is writing to the run directory."""

    exit_code = ExitCode.LOCKED


class RaceLostError(TownletError):
    """Another process was faster: what was decided on is no longer how things stand."""

    exit_code = ExitCode.LOCKED


class StorageError(TownletError):
    """The operating system refused a read or a write."""

    exit_code = ExitCode.IO


class RunInterrupted(TownletError):  # noqa: N818  (an orderly stop, not a fault)
    """A run was asked to stop, has written a checkpoint, and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class ConfigError(TownletError):
    """A configuration value is unknown, misspelt, out of bounds or contradictory."""

    exit_code = ExitCode.CONFIG


class TownletWarning(UserWarning):
    """Something the user should know that stops nothing; the command line shows it as one line."""


class RunWarning(TownletWarning):
    """Something that stays in the record of the run that is going, because it may have changed what came of it."""


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the candidate closest to `name`, or an empty string."""
    import difflib  # here, because every command imports this module and few need it

    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
