"""Whose code raised: a traceback's innermost frame that is in a plugin's code says which plugin it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.plugins.discovery import normalized
from townlet_core.plugins.offers import KINDS
from townlet_core.plugins.requirements import FIRST_PARTY_DISTRIBUTIONS

if TYPE_CHECKING:
    from types import TracebackType

    from townlet_core.plugins.manager import Plugin
    from townlet_core.plugins.registry import Registry


def culprit(registry: Registry, trace: TracebackType | None) -> Plugin | None:
    """Return the plugin whose code was running when an exception was raised; None if no plugin's was.

    A plugin's code is the package of its entry point and those of its main targets. What a library raises, or core
    itself, when a plugin calls it counts as the plugin's: it is the one to look at first.
    """
    owners: dict[str, Plugin] = {plugin.source.value.partition(".")[0]: plugin for plugin in registry.manager.plugins}
    for offer in registry.offers:
        owners.setdefault(offer.targets[KINDS[offer.kind][1]].partition(":")[0].partition(".")[0], offer.plugin)
    owners.pop("townlet_core", None)
    found = None
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        found = owners.get(package, found)
        trace = trace.tb_next
    return found


def is_ours(plugin: Plugin) -> bool:
    """Return whether a plugin is of one of Townlet's own distributions."""
    return normalized(plugin.source.distribution) in FIRST_PARTY_DISTRIBUTIONS
