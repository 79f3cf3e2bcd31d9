"""Load every plugin under its own guard: a broken one becomes a record, and all others work."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from townlet_core.plugins import hookspecs
from townlet_core.plugins.discovery import installed_sources, normalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from townlet_core.plugins.discovery import Source
    from townlet_core.plugins.entries import Entry

Stage = Literal["import", "api", "register", "collect", "observe"]


class IncompatiblePluginError(Exception):
    """A plugin was written for another plugin API than the one of this townlet-core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFailure:
    """What went wrong in one plugin.

    Attributes:
        stage: what was being done: import, api, register, collect, or observe.
        cause: the error in one line, its type first.
        traceback: the whole traceback, as text.
    """

    stage: Stage
    cause: str
    traceback: str


@dataclass(slots=True, kw_only=True)
class Plugin:
    """One entry point and what became of it.

    Attributes:
        source: where it comes from.
        disabled: the switch that keeps it from being loaded, or an empty string.
        api: its ``TOWNLET_PLUGIN_API``, once known.
        offers: its entries; empty when anything failed, because half a plugin is not what its author tested.
        failure: why it could not be loaded.
        observer_failures: what its observers raised; they do not make the plugin unusable.
    """

    source: Source
    disabled: str = ""
    api: tuple[int, int] | None = None
    offers: tuple[Entry, ...] = ()
    failure: PluginFailure | None = None
    observer_failures: list[PluginFailure] = field(default_factory=list)
    hooks: pluggy.PluginManager | None = None

    @property
    def incompatible(self) -> bool:
        """Whether it failed because it was written for another plugin API."""
        return self.failure is not None and self.failure.cause.startswith(IncompatiblePluginError.__name__)

    @property
    def title(self) -> str:
        """What messages call it: the entry point, and the distribution that it comes from."""
        return f"plugin '{self.source.name}' of {self.source.distribution} {self.source.version}"


class PluginManager:
    """All plugins of this process, loaded once, in the order (distribution, entry point).

    Each plugin has a pluggy manager of its own. So a hook is called on one plugin at a time, an unknown hook is known
    to be this plugin's, and no plugin can wrap or block the hooks of another.

    Args:
        sources: the plugins to load; all installed ones when None.
        disabled: distributions or entry points that are listed and not imported.
        no_plugins: list all of them and import none.
    """

    def __init__(
        self, sources: Iterable[Source] | None = None, *, disabled: Iterable[str] = (), no_plugins: bool = False
    ) -> None:
        self.disabled = frozenset(disabled)
        names = {normalized(name) for name in self.disabled}
        ordered = sorted(installed_sources() if sources is None else sources, key=_order)
        self.plugins = tuple(Plugin(source=source, disabled=_switch(source, names, no_plugins)) for source in ordered)
        for plugin in self.plugins:
            if not plugin.disabled:
                _load(plugin)

    def notify(self, hook: str, **event: object) -> list[tuple[Plugin, PluginFailure]]:
        """Call one observer hook on every working plugin, one at a time.

        Args:
            hook: one of `hookspecs.OBSERVERS`.
            **event: its arguments; mappings and lists in them are handed over read-only.

        Returns:
            What failed, with the plugin that it failed in; also kept in `Plugin.observer_failures`. Nothing that an
            observer raises gets through, `KeyboardInterrupt` excepted.
        """
        if hook not in hookspecs.OBSERVERS:
            raise ValueError(f"{hook!r} is not an observer; observers are {', '.join(hookspecs.OBSERVERS)}")
        frozen = {name: _frozen(value) for name, value in event.items()}
        failed = []
        for plugin in self.plugins:
            if plugin.hooks is None:
                continue
            failure = _guarded("observe", getattr(plugin.hooks.hook, hook), **frozen)
            if failure is not None:
                plugin.observer_failures.append(failure)
                failed.append((plugin, failure))
        return failed


def _order(source: Source) -> tuple[str, str]:
    return normalized(source.distribution), source.name


def _switch(source: Source, names: set[str], no_plugins: bool) -> str:  # noqa: FBT001  (private, called once)
    if no_plugins:
        return "--no-plugins"
    return "TOWNLET_DISABLE_PLUGINS" if names & {normalized(source.distribution), normalized(source.name)} else ""


def _guarded(stage: Stage, action: Callable[..., object], /, *args: object, **kwargs: object) -> PluginFailure | None:
    """Run one step of one plugin; what it prints goes to stderr, because stdout may be read by a program."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            action(*args, **kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (a plugin may raise SystemExit, or a foreign runtime's panic)
        lines = traceback.format_exception(error)
        return PluginFailure(stage=stage, cause=_one_line(error), traceback="".join(lines))
    return None


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  (an exception whose text cannot be made is still an exception)
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _load(plugin: Plugin) -> None:
    """Take one plugin through import, api, register and collect, up to the first failure."""
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    module: list[object] = []
    steps: tuple[tuple[Stage, Callable[[], None]], ...] = (
        ("import", lambda: module.append(plugin.source.load())),
        ("api", lambda: _negotiate(plugin, module[0])),
        ("register", lambda: _register(hooks, plugin.source.name, module[0])),
        ("collect", lambda: _collect(plugin, hooks)),
    )
    for stage, step in steps:
        plugin.failure = _guarded(stage, step)
        if plugin.failure is not None:
            return
    plugin.hooks = hooks


def _negotiate(plugin: Plugin, module: object) -> None:
    """Refuse a plugin that was written for hooks which this townlet-core does not have."""
    api = getattr(module, "TOWNLET_PLUGIN_API", None)
    ours = ".".join(map(str, hookspecs.PLUGIN_API))
    if api is None:
        raise AttributeError(f"TOWNLET_PLUGIN_API is missing; add 'TOWNLET_PLUGIN_API = {hookspecs.PLUGIN_API}'")
    if not (isinstance(api, tuple) and len(api) == 2 and all(type(part) is int for part in api)):
        raise TypeError(f"TOWNLET_PLUGIN_API must be two whole numbers such as {hookspecs.PLUGIN_API}, not {api!r}")
    plugin.api = (api[0], api[1])
    theirs = f"{api[0]}.{api[1]}"
    if api > hookspecs.PLUGIN_API:
        raise IncompatiblePluginError(
            f"it needs plugin API {theirs}, this townlet-core has {ours}: pip install --upgrade townlet-core"
        )
    if api[0] != hookspecs.PLUGIN_API[0]:
        upgrade = f"pip install --upgrade {plugin.source.distribution}"
        raise IncompatiblePluginError(
            f"it was written for plugin API {theirs}, this townlet-core has {ours}: {upgrade}"
        )


def _register(hooks: pluggy.PluginManager, name: str, module: object) -> None:
    """Register with pluggy, which checks arguments; then refuse hooks that do not exist."""
    hooks.add_hookspecs(hookspecs)
    hooks.register(module, name)
    hooks.check_pending()


def _collect(plugin: Plugin, hooks: pluggy.PluginManager) -> None:
    """Call the hooks that offer something, and check what they return."""
    offers: list[Entry] = []
    for hook, kind in hookspecs.OFFERS.items():
        caller: Any = getattr(hooks.hook, hook)
        results = caller()
        if len(results) < len(caller.get_hookimpls()):  # pluggy leaves out None
            raise TypeError(f"{hook} must return a list of {kind.__name__}, got None")
        for result in results:
            if not isinstance(result, (list, tuple)):
                raise TypeError(f"{hook} must return a list of {kind.__name__}, got {type(result).__name__}")
            for entry in result:
                if type(entry) is not kind:
                    raise TypeError(
                        f"{hook} must return a list of {kind.__name__}, got a list with {_described(entry)}"
                    )
            offers.extend(result)
    plugin.offers = tuple(offers)


def _described(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _frozen(value: object) -> object:
    """Return a read-only view of JSON-like data: mappings as proxies of copies, lists as tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value
