"""What all commands of one invocation share: the global options, and one discovery of plugins."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from townlet_core.plugins.registry import Registry


class CliState:
    """The object of click's context; commands take it with `pass_state`.

    Attributes:
        no_plugins: ``--no-plugins`` was given.
    """

    def __init__(self) -> None:
        self.no_plugins = False

    @cached_property
    def registry(self) -> Registry:
        """The plugins; in strict mode a `PluginError` if any of them does not work."""
        from townlet_core.plugins.registry import Registry

        registry = Registry.discover(os.environ, no_plugins=self.no_plugins)
        self.__dict__.setdefault("any_registry", registry)
        return registry

    @cached_property
    def any_registry(self) -> Registry:
        """The plugins, strict mode or not: for ``--help`` and for the commands that show what is wrong."""
        from townlet_core.plugins.registry import Registry

        return Registry.discover_tolerantly(os.environ, no_plugins=self.no_plugins)


pass_state = click.make_pass_decorator(CliState, ensure=True)
