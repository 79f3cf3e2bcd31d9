"""One record per plugin for `townlet plugins` and `townlet doctor`: where it is from, what it offers, its state."""

from __future__ import annotations

import contextlib
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.errors import UnavailableError
from townlet_core.plugins import requirements
from townlet_core.plugins.discovery import normalized
from townlet_core.plugins.offers import KINDS, load_target

if TYPE_CHECKING:
    from townlet_core.plugins.manager import Plugin
    from townlet_core.plugins.offers import Offer
    from townlet_core.plugins.registry import Registry

State = Literal["ok", "needs", "broken", "incompatible", "disabled", "conflict"]
"""``needs``: works once a package that an entry requires is installed. The others speak for themselves."""

FAULTY: frozenset[State] = frozenset({"broken", "incompatible", "conflict"})
"""The states that somebody has to repair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferStatus:
    """One entry of a plugin.

    Attributes:
        kind: strategy, environment, encoder, tracker or command.
        name: its plain name.
        summary: its one-line description.
        targets: field -> ``"module:Attribute"``.
        missing: required packages that are not installed.
        conflict: why the plain name does not mean this entry, or an empty string.
    """

    kind: str
    name: str
    summary: str
    targets: dict[str, str]
    missing: tuple[str, ...]
    conflict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginStatus:
    """One plugin.

    Attributes:
        distribution: the installed distribution that it comes from.
        version: its version.
        plugin: name of its entry point.
        module: what the entry point names.
        api: the plugin API that it was written for, ``"1.0"``; None if it was not loaded or does not say.
        state: one word.
        cause: why it is not ok, in one line.
        stage: where a broken plugin failed: import, api, register, collect, or resolve (a target).
        traceback: of a broken plugin.
        offers: what it offers; empty if it was not loaded.
    """

    distribution: str
    version: str
    plugin: str
    module: str
    api: str | None
    state: State
    cause: str
    stage: str | None
    traceback: str | None
    offers: tuple[OfferStatus, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-like data."""
        return asdict(self)


def describe(registry: Registry, *, resolve: bool = False) -> list[PluginStatus]:
    """Return the status of every plugin, in the order in which they were loaded.

    Args:
        registry: the plugins.
        resolve: import and check every target as well, in this process; one that fails makes its plugin broken.
    """
    return [_describe(registry, plugin, resolve=resolve) for plugin in registry.manager.plugins]


def unknown_switches(registry: Registry) -> list[str]:
    """Return the names in ``TOWNLET_DISABLE_PLUGINS`` that are no plugin: misspelt, or no longer installed."""
    sources = [plugin.source for plugin in registry.manager.plugins]
    known = {normalized(name) for source in sources for name in (source.distribution, source.name)}
    return sorted(name for name in registry.manager.disabled if normalized(name) not in known)


def _describe(registry: Registry, plugin: Plugin, *, resolve: bool) -> PluginStatus:
    offered = [offer for offer in registry.offers if offer.plugin is plugin]
    offers = tuple(_offer(registry, offer) for offer in offered)
    state, cause = _state(plugin, offers)
    stage: str | None = plugin.failure.stage if plugin.failure else None
    text = plugin.failure.traceback if plugin.failure else None
    errors = [error for offer in offered for error in _unresolved(offer)] if resolve else []
    if errors:
        state, cause, stage = "broken", "; ".join(f"resolve: {error}" for error in errors), "resolve"
        text = "".join("".join(traceback.format_exception(error)) for error in errors)
    return PluginStatus(
        distribution=plugin.source.distribution,
        version=plugin.source.version,
        plugin=plugin.source.name,
        module=plugin.source.value,
        api=".".join(map(str, plugin.api)) if plugin.api else None,
        state=state,
        cause=cause,
        stage=stage,
        traceback=text,
        offers=offers,
    )


def _offer(registry: Registry, offer: Offer) -> OfferStatus:
    entry = offer.entry
    return OfferStatus(
        kind=offer.kind,
        name=entry.name,
        summary=entry.summary,
        targets=offer.targets,
        missing=requirements.missing(entry.requires),
        conflict=registry.conflict(offer),
    )


def _unresolved(offer: Offer) -> list[UnavailableError]:
    """Return what is wrong with the targets of an entry; of a missing package the state `needs` tells."""
    errors = []
    for field in offer.targets:
        if field == KINDS[offer.kind][1] and requirements.missing(offer.entry.requires):
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may be read by a program
                load_target(offer, field)
        except UnavailableError as error:
            errors.append(error)
    return errors


def _state(plugin: Plugin, offers: tuple[OfferStatus, ...]) -> tuple[State, str]:
    if plugin.disabled:
        return "disabled", f"by {plugin.disabled}"
    if plugin.failure is not None:
        state: State = "incompatible" if plugin.incompatible else "broken"
        return state, f"{plugin.failure.stage}: {plugin.failure.cause}"
    conflicts = [offer.conflict for offer in offers if offer.conflict]
    if conflicts:
        return "conflict", "; ".join(conflicts)
    missing = sorted({package for offer in offers for package in offer.missing})
    return ("needs", " ".join(missing)) if missing else ("ok", "")
