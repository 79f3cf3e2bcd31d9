"""One entry with the plugin that offers it, and how its targets are imported, and checked, when somebody asks."""

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
    from collections.abc import Callable, Mapping

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

    @property
    def title(self) -> str:
        """What messages call it: its kind, its name, and the plugin."""
        return f"{self.kind} '{self.entry.name}' of {self.plugin.title}"

    @property
    def targets(self) -> dict[str, str]:
        """Field -> ``"module:Attribute"``."""
        own = set(type(self.entry).__dataclass_fields__) - set(Entry.__dataclass_fields__)
        return {field: getattr(self.entry, field) for field in sorted(own)}


def load_target(offer: Offer, field: str) -> Any:
    """Import one target of an entry, and check that it is what the field has to be.

    Args:
        offer: whose target it is.
        field: which one. The main one needs the packages in `requires`, the others have to do without.

    Raises:
        UnavailableError: a required package is missing or damaged; a `TorchNotAvailableError` for torch.
        PluginError: the target cannot be imported, or is not what it has to be.
    """
    required = offer.entry.requires if field == KINDS[offer.kind][1] else ()
    absent = requirements.missing(required)
    if absent:
        raise requirements.unmet(offer.kind, offer.entry, absent)
    target = import_target(offer, offer.targets[field], required)
    try:
        problem = _CHECKS[field](target) if field in _CHECKS else "" if callable(target) else "it cannot be called"
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(_broken(offer, field, problem)) from error
    if problem:
        raise PluginError(_broken(offer, field, problem))
    return target


def _broken(offer: Offer, field: str, problem: str) -> str:
    return f"{offer.title} is broken: {field} '{offer.targets[field]}': {problem}"


def _settings_problem(target: Any) -> str:
    """Return what keeps a target from being a settings model, or an empty string; raises what its use would raise."""
    from townlet_core.config.base import Settings
    from townlet_core.config.describe import knobs

    if not (isinstance(target, type) and issubclass(target, Settings)):
        return "it is no subclass of townlet_core.config.base.Settings"
    for _ in knobs(target):  # makes its defaults and its schema, which every command of a configuration needs
        pass
    return ""


def _result_problem(target: Any) -> str:
    from townlet_core.dto.base import TrainingResultBase

    is_result = isinstance(target, type) and issubclass(target, TrainingResultBase)
    return "" if is_result else "it is no subclass of townlet_core.dto.base.TrainingResultBase"


_CHECKS: Final[Mapping[str, Callable[[Any], str]]] = {"settings": _settings_problem, "result": _result_problem}


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
        cause = f"{type(error).__name__}: {error}"
        raise PluginError(f"{offer.title} is broken: '{target}' cannot be imported ({cause})") from error


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
