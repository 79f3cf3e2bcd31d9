"""``townlet plugins``: every plugin with its distribution, version, API, what it offers and its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from townlet_core.cli.state import CliState
from townlet_core.errors import ExitCode
from townlet_core.plugins import status
from townlet_core.plugins.hookspecs import PLUGIN_API

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.plugins.status import OfferStatus, PluginStatus

_HEADER = ("DISTRIBUTION", "VERSION", "PLUGIN", "API", "STATE", "OFFERS")


def _list_options(function: Callable[..., None]) -> Callable[..., None]:
    check_help = "Import every target; end with code 69 if a plugin is broken, incompatible or in conflict."
    for option in (
        click.option("--check", is_flag=True, help=check_help),
        click.option("-v", "--verbose", is_flag=True, help="Show each entry with its targets, and tracebacks."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):
        function = option(function)
    return function


@click.group("plugins", invoke_without_command=True)
@_list_options
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool, check: bool) -> None:
    """List plugins, what they offer and their state."""
    if ctx.invoked_subcommand is None:
        _list(ctx, as_json=as_json, verbose=verbose, check=check)
    elif as_json or verbose or check:
        raise click.UsageError(f"options stand after '{ctx.invoked_subcommand}'", ctx=ctx)


@command.command("list")
@_list_options
@click.pass_context
def list_command(ctx: click.Context, as_json: bool, verbose: bool, check: bool) -> None:
    """List plugins; the same as 'townlet plugins' alone."""
    _list(ctx, as_json=as_json, verbose=verbose, check=check)


def _list(ctx: click.Context, *, as_json: bool, verbose: bool, check: bool) -> None:
    registry = ctx.ensure_object(CliState).any_registry
    plugins = status.describe(registry, resolve=check)
    if as_json:
        import json

        click.echo(json.dumps({"api": list(PLUGIN_API), "plugins": [plugin.to_json() for plugin in plugins]}, indent=2))
    else:
        click.echo("\n".join(table(plugins, verbose=verbose)))
    for name in status.unknown_switches(registry):
        click.echo(f"warning: TOWNLET_DISABLE_PLUGINS names '{name}', which is no installed plugin", err=True)
    if check and any(plugin.state in status.FAULTY for plugin in plugins):
        ctx.exit(ExitCode.UNAVAILABLE)


def table(plugins: Sequence[PluginStatus], *, verbose: bool) -> list[str]:
    """Return the lines of an aligned table, with the cause of each state that is not ok below its row."""
    if not plugins:
        return ['no plugins are installed; for PPO: pip install "townlet-core[ppo]"']
    rows = [_row(plugin) for plugin in plugins]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    lines = [_aligned(_HEADER, widths)]
    for plugin, row in zip(plugins, rows, strict=True):
        lines.append(_aligned(row, widths))
        if plugin.cause and plugin.state != "needs":
            lines.append(f"    {plugin.cause}")
        if verbose:
            lines += _details(plugin)
    return lines


def _row(plugin: PluginStatus) -> tuple[str, ...]:
    state = f"needs {plugin.cause}" if plugin.state == "needs" else plugin.state
    offers = ", ".join(f"{offer.kind} {offer.name}" for offer in plugin.offers) or "-"
    return plugin.distribution, plugin.version, plugin.plugin, plugin.api or "-", state, offers


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _details(plugin: PluginStatus) -> list[str]:
    lines = [f"    module: {plugin.module}"]
    for offer in plugin.offers:
        lines += _offer_details(offer)
    if plugin.traceback:
        lines += [f"    {line}" for line in plugin.traceback.rstrip().splitlines()]
    return lines


def _offer_details(offer: OfferStatus) -> list[str]:
    title = f"    {offer.kind} {offer.name}: {offer.summary}".rstrip(": ")
    needs = [f"      needs: {' '.join(offer.missing)}"] if offer.missing else []
    return [title, *(f"      {field}: {target}" for field, target in offer.targets.items()), *needs]
