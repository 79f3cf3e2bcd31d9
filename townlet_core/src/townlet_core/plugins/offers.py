"""One entry with the plugin that offers it, and how its target is imported when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from townlet_core.errors import PluginError, UnavailableError
from townlet_core.plugins import requirements
from townlet_core.plugins.entries import (
    CommandEntry,
    EncoderEntry,
    Entry,
    EnvironmentEntry,
    StrategyEntry,
    TrackerEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.plugins.manager import Plugin

Kind = Literal["strategy", "environment", "encoder", "tracker", "command"]

KINDS: Final[Mapping[Kind, tuple[type[Entry], str]]] = {
    "strategy": (StrategyEntry, "strategy"),
    "environment": (EnvironmentEntry, "factory"),
    "encoder": (EncoderEntry, "encoder"),
    "tracker": (TrackerEntry, "tracker"),
    "command": (CommandEntry, "command"),
}
"""What can be offered: the entry's class, and the field that names its main target."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry, with the plugin that offers it."""

    kind: Kind
    entry: Entry
    plugin: Plugin

    @property
    def qualified_name(self) -> str:
        """The name that is never ambiguous between distributions."""
        return f"plugin:{self.plugin.source.distribution}:{self.entry.name}"


def import_target(offer: Offer, target: str, required: tuple[str, ...]) -> Any:
    """Import one target of an entry.

    Args:
        offer: whose target it is.
        target: ``"module:Attribute"``.
        required: the packages that it may fail for want of.

    Raises:
        UnavailableError: a required package is there and cannot be imported; a `TorchNotAvailableError` for torch.
        PluginError: the target cannot be imported for any other reason.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (KeyboardInterrupt, UnavailableError):
        raise
    except BaseException as error:
        damaged = [package for package in required if _is_about(error, package)]
        if damaged:
            raise requirements.unmet(offer.kind, offer.entry, damaged, damage=str(error)) from error
        owner = f"{offer.kind} '{offer.entry.name}' of {offer.plugin.title}"
        cause = f"{type(error).__name__}: {error}"
        raise PluginError(f"{owner} is broken: '{target}' cannot be imported ({cause})") from error


def _is_about(error: BaseException, package: str) -> bool:
    """Return whether an import failed inside of, or for want of, `package`."""
    if not isinstance(error, (ImportError, OSError)):
        return False
    if (getattr(error, "name", None) or "").partition(".")[0] == package:
        return True
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            return True
        trace = trace.tb_next
    return False
