"""Find what plugins offer by name, and import it when it is asked for; never fall back to something else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from townlet_core.errors import ConfigError, PluginError, TownletWarning, UnavailableError, suggestion
from townlet_core.plugins import requirements
from townlet_core.plugins.discovery import normalized
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.offers import KINDS, Kind, Offer, load_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.config.root import SimulationConfig
    from townlet_core.plugins.entries import Entry
    from townlet_core.plugins.manager import Plugin

RESERVED: Final[Mapping[Kind, frozenset[str]]] = {
    "strategy": frozenset(),
    "environment": frozenset({"town", "gymnasium", "pettingzoo", "python", "plugin"}),
    "encoder": frozenset({"flatten"}),
    "tracker": frozenset({"jsonl", "console"}),
    "command": frozenset(
        {
            *("bench", "capture", "config", "doctor", "evaluate", "plugins", "replay", "runs", "scenarios", "train"),
            *("promote", "releases", "rollback", "view", "watch"),
        }
    ),
}
"""Plain names that always mean the built-in one; a plugin's is reached as ``plugin:DIST:NAME``."""


class Registry:
    """Everything that the plugins of one manager offer.

    Args:
        manager: the loaded plugins.
    """

    def __init__(self, manager: PluginManager) -> None:
        self.manager = manager
        kinds = {entry_class: kind for kind, (entry_class, _) in KINDS.items()}
        self.offers = tuple(
            Offer(kinds[type(entry)], entry, plugin) for plugin in manager.plugins for entry in plugin.offers
        )

    @classmethod
    def discover(cls, environ: Mapping[str, str], *, no_plugins: bool = False) -> Registry:
        """Load the installed plugins, as the switches in `environ` say.

        Args:
            environ: ``TOWNLET_DISABLE_PLUGINS`` is a comma-separated list of distributions or entry points to leave
                out; ``TOWNLET_STRICT_PLUGINS=1`` makes any failure an error.
            no_plugins: load none.

        Raises:
            PluginError: in strict mode, with every problem.
            ConfigError: a switch has a value that it cannot have.
        """
        registry = cls.discover_tolerantly(environ, no_plugins=no_plugins)
        strict = environ.get("TOWNLET_STRICT_PLUGINS", "")
        if strict not in {"", "0", "1"}:
            raise ConfigError(f"TOWNLET_STRICT_PLUGINS must be 0 or 1, not {strict!r}")
        problems = registry.problems()
        if strict == "1" and problems:
            raise PluginError("TOWNLET_STRICT_PLUGINS=1, and not every plugin works:\n  " + "\n  ".join(problems))
        return registry

    @classmethod
    def discover_tolerantly(cls, environ: Mapping[str, str], *, no_plugins: bool = False) -> Registry:
        """Do what `discover` does, without the strict mode: for the commands that show what is wrong."""
        names = (name.strip() for name in environ.get("TOWNLET_DISABLE_PLUGINS", "").split(","))
        return cls(PluginManager(disabled=[name for name in names if name], no_plugins=no_plugins))

    def plain(self, kind: Kind) -> dict[str, Entry]:
        """Return the entries of one kind whose plain name means exactly them, sorted by name."""
        offers = sorted((offer for offer in self.offers if offer.kind == kind), key=lambda offer: offer.entry.name)
        return {offer.entry.name: offer.entry for offer in offers if not self.conflict(offer)}

    @property
    def strategies(self) -> dict[str, Entry]:
        """Strategies by plain name."""
        return self.plain("strategy")

    @property
    def commands(self) -> dict[str, Entry]:
        """Commands by plain name."""
        return self.plain("command")

    def conflict(self, offer: Offer) -> str:
        """Return why the plain name of an offer does not mean it, or an empty string."""
        if offer.entry.name in RESERVED[offer.kind]:
            return f"{offer.kind} '{offer.entry.name}' is a built-in name; this one is '{offer.qualified_name}'"
        others = [other for other in self.named(offer.kind, offer.entry.name) if other is not offer]
        if not others:
            return ""
        titles = " and by ".join(other.plugin.title for other in others)
        return f"{offer.kind} '{offer.entry.name}' is also offered by {titles}; this one is '{offer.qualified_name}'"

    def problems(self) -> list[str]:
        """Return one line for every plugin that failed and every name that two own."""
        failed = [f"{p.title}: {p.failure.stage}: {p.failure.cause}" for p in self.manager.plugins if p.failure]
        conflicts = [f"{offer.plugin.title}: {text}" for offer in self.offers if (text := self.conflict(offer))]
        return failed + conflicts

    def named(self, kind: Kind, name: str) -> list[Offer]:
        """Return every offer of one kind and plain name, whoever makes it."""
        return [offer for offer in self.offers if offer.kind == kind and offer.entry.name == name]

    def find(self, kind: Kind, name: str) -> Offer:
        """Return what `name` means: a plain name, or ``plugin:DIST:NAME``.

        Raises:
            PluginError: nothing has this name, more than one has it, or the plugin that may have it is broken,
                disabled or not installed; the text says which, and what to do.
        """
        distribution, plain = _split(name)
        offers = self.named(kind, plain)
        if distribution:
            offers = [o for o in offers if normalized(o.plugin.source.distribution) == normalized(distribution)]
        elif plain in RESERVED[kind]:
            offers = []
        if not offers:
            raise PluginError(self._explain_absence(kind, name))
        if len(offers) > 1:
            owners = " and by ".join(offer.plugin.title for offer in offers)
            names = " or ".join(sorted({f"'{offer.qualified_name}'" for offer in offers}))
            raise PluginError(f"{kind} '{name}' is offered by {owners}; say {names}, or disable one of them")
        return offers[0]

    def _explain_absence(self, kind: Kind, name: str) -> str:
        distribution, plain = _split(name)
        suspects = [p for p in self.manager.plugins if (p.failure or p.disabled) and _may_offer(p, distribution, plain)]
        if suspects:
            return f"{kind} '{name}' cannot be used: " + "; ".join(_trouble(plugin) for plugin in suspects)
        known = sorted(self.plain(kind))
        parts = [f"unknown {kind} '{name}'{suggestion(plain, known)}; installed: {', '.join(known) or 'none'}"]
        command = requirements.install_command(plain) if kind == "strategy" else ""
        if command:
            parts = [f"{kind} '{name}' is not installed: {command}"]
        parts += [_trouble(plugin) for plugin in self.manager.plugins if plugin.failure or plugin.disabled]
        return "; ".join(parts)

    def resolve(self, kind: Kind, name: str, *, field: str = "") -> Any:
        """Import and return the target of what `name` means.

        Args:
            kind: what is looked for.
            name: a plain name, or ``plugin:DIST:NAME``.
            field: which target of the entry; by default its main one.

        Raises:
            PluginError: as in `find`; or the target cannot be imported, or is not what this field has to be.
            TorchNotAvailableError: the main target needs torch, which is not installed or cannot be imported.
            UnavailableError: the same for any other required package.
        """
        return load_target(self.find(kind, name), field or KINDS[kind][1])

    def environment_factory(self, name: str) -> Any | None:
        """Return the factory of a plugin's environment, or None where no plugin may have that name.

        Raises:
            UnavailableError: as in `resolve`, if a plugin has, or may have, that name.
        """
        distribution, plain = _split(name)
        suspects = (p for p in self.manager.plugins if p.failure or p.disabled)
        if self.named("environment", plain) or any(_may_offer(p, distribution, plain) for p in suspects):
            return self.resolve("environment", name)
        return None

    def resolve_config(self, config: SimulationConfig) -> SimulationConfig:
        """Return `config` with every section of an installed strategy validated and its defaults filled in.

        The section of the selected strategy is always there afterwards. A section whose strategy is not installed, or
        does not work, is kept as it is, with a warning.

        Raises:
            ConfigError: a section has a field that its settings do not have, or a value that they refuse.
            UnavailableError: the selected strategy is not installed, or does not work.
        """
        from townlet_core.config.base import settings_from

        selected = config.training.strategy
        sections: dict[str, dict[str, Any]] = dict(config.strategies)
        sections.setdefault(selected, sections.get(_split(selected)[1], {}))
        for name, section in sections.items():
            try:
                model = self.resolve("strategy", name, field="settings")
            except UnavailableError as error:
                if name == selected:
                    raise
                warnings.warn(f"strategies.{name} is kept and not checked: {error}", TownletWarning, stacklevel=2)
                continue
            sections[name] = settings_from(model, section, path=f"strategies.{name}").model_dump()
        return config.model_copy(update={"strategies": sections})


def _split(name: str) -> tuple[str, str]:
    """Split ``plugin:DIST:NAME`` into its distribution and name; a plain name has no distribution."""
    parts = name.split(":")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "plugin" else ("", name)


def _may_offer(plugin: Plugin, distribution: str, name: str) -> bool:
    """Return whether a plugin that was not loaded is likely to be the one that offers `name`."""
    own = normalized(plugin.source.distribution)
    if distribution:
        return own == normalized(distribution)
    return name == plugin.source.name or own.endswith(f"-{normalized(name)}")


def _trouble(plugin: Plugin) -> str:
    if plugin.failure is None:
        return f"{plugin.title} is disabled by {plugin.disabled}"
    return f"{plugin.title} is broken ({plugin.failure.stage}: {plugin.failure.cause})"
