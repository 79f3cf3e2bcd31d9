"""Everything that a plugin imports: the `hookimpl` marker and the entries that hooks return.

A plugin is one light module, named by an entry point of the group ``townlet``::

    # pyproject.toml of the plugin
    [project.entry-points.townlet]
    mine = "my_package.plugin"

    # my_package/plugin.py
    from townlet_core.plugins import StrategyEntry, hookimpl

    TOWNLET_PLUGIN_API = (1, 0)

    @hookimpl
    def townlet_strategies():
        return [StrategyEntry(name="mine", strategy="my_package.strategy:Mine", ...)]

Targets are strings, so that listing plugins imports nothing heavy. All hooks are in `townlet_core.plugins.hookspecs`.
"""

from townlet_core.plugins.entries import (
    CommandEntry,
    EncoderEntry,
    Entry,
    EnvironmentEntry,
    StrategyEntry,
    TrackerEntry,
)
from townlet_core.plugins.hookspecs import hookimpl

__all__ = [
    "CommandEntry",
    "EncoderEntry",
    "Entry",
    "EnvironmentEntry",
    "StrategyEntry",
    "TrackerEntry",
    "hookimpl",
]
